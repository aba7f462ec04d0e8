//! Seeded chance: the same seed gives the same history.

use ostler_core::ids::{EventId, IdSource, IncarnationId, ThreadId};

/// A source of choices and of ids.
pub(crate) struct Chance {
    bits: IdSource,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { bits: IdSource::new(1_000_000, seed) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.bits.next_u64()
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn event(&mut self) -> EventId {
        EventId::mint(&mut self.bits)
    }

    pub(crate) fn thread(&mut self) -> ThreadId {
        ThreadId::mint(&mut self.bits)
    }

    pub(crate) fn incarnation(&mut self) -> IncarnationId {
        IncarnationId::mint(&mut self.bits)
    }
}
