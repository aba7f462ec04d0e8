//! A sandbox in its lives: takes every call at most once per life, keeps results until they are
//! acknowledged, survives the server, and can die at any moment.

use std::collections::BTreeMap;

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::ids::{EventId, IncarnationId};

use super::chance::Chance;

#[derive(Default)]
pub(crate) struct Sandbox {
    life: Option<Life>,
}

struct Life {
    id: IncarnationId,
    calls: BTreeMap<EventId, Progress>,
}

enum Progress {
    Received { cancelled: bool },
    Running { cancelled: bool },
    Done(CallOutcome),
    Acknowledged,
}

/// What a call that was asked about is up to.
pub(crate) enum Found {
    Working,
    Done(CallOutcome),
    /// Its result was thrown away before it was journalled.
    Forgotten,
    LifeOver,
}

impl Sandbox {
    /// The next life; the last one is over.
    pub(crate) fn create(&mut self, id: IncarnationId) {
        self.life = Some(Life { id, calls: BTreeMap::new() });
    }

    pub(crate) fn kill(&mut self) {
        self.life = None;
    }

    pub(crate) fn lives(&self, id: &IncarnationId) -> bool {
        self.life.as_ref().is_some_and(|life| &life.id == id)
    }

    /// Takes a call, or remembers that it has it. False: that life is over.
    pub(crate) fn give(&mut self, id: &IncarnationId, call: &EventId) -> bool {
        let Some(life) = self.life.as_mut().filter(|life| &life.id == id) else { return false };
        life.calls.entry(call.clone()).or_insert(Progress::Received { cancelled: false });
        true
    }

    pub(crate) fn find(&self, id: &IncarnationId, call: &EventId) -> Found {
        match self.life.as_ref().filter(|life| &life.id == id).map(|life| &life.calls[call]) {
            None => Found::LifeOver,
            Some(Progress::Received { .. } | Progress::Running { .. }) => Found::Working,
            Some(Progress::Done(outcome)) => Found::Done(outcome.clone()),
            Some(Progress::Acknowledged) => Found::Forgotten,
        }
    }

    pub(crate) fn cancel(&mut self, call: &EventId) {
        let progress = self.life.as_mut().and_then(|life| life.calls.get_mut(call));
        if let Some(Progress::Received { cancelled } | Progress::Running { cancelled }) = progress {
            *cancelled = true;
        }
    }

    pub(crate) fn acknowledge(&mut self, call: &EventId) {
        if let Some(progress) = self.life.as_mut().and_then(|life| life.calls.get_mut(call))
            && matches!(progress, Progress::Done(_))
        {
            *progress = Progress::Acknowledged;
        }
    }

    /// Lets one call get on; names it and its life if it began to run just now.
    pub(crate) fn get_on(&mut self, chance: &mut Chance) -> Option<(EventId, IncarnationId)> {
        let life = self.life.as_mut()?;
        let mut open: Vec<_> = life
            .calls
            .iter_mut()
            .filter(|(_, progress)| matches!(progress, Progress::Received { .. } | Progress::Running { .. }))
            .collect();
        if open.is_empty() {
            return None;
        }
        let index = chance.below(open.len());
        let (call, progress) = &mut open[index];
        match **progress {
            Progress::Received { cancelled: true } => **progress = Progress::Done(CallOutcome::text("cancelled", true, CallEnd::Cancelled)),
            Progress::Received { cancelled: false } => {
                **progress = Progress::Running { cancelled: false };
                return Some(((*call).clone(), life.id.clone()));
            }
            Progress::Running { cancelled } => {
                let end = if cancelled {
                    CallEnd::Cancelled
                } else if chance.one_in(10) {
                    CallEnd::TimedOut
                } else {
                    CallEnd::Finished
                };
                let text = if chance.one_in(5) { "" } else { "done" };
                **progress = Progress::Done(CallOutcome::text(text, end != CallEnd::Finished, end));
            }
            Progress::Done(_) | Progress::Acknowledged => {}
        }
        None
    }
}
