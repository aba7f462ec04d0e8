//! What fuzzing needs: numbers that can be repeated, and time.

use std::time::{Duration, Instant};

/// A generator of numbers (Knuth's MMIX).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Seeded by the clock, or by OSTLER_FUZZ_SEED to repeat a run; says which under this name.
    #[expect(clippy::print_stderr, reason = "who repeats a run needs the seed")]
    pub fn new(name: &str) -> Self {
        let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.subsec_nanos());
        let seed = std::env::var("OSTLER_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(clock));
        eprintln!("{name}: OSTLER_FUZZ_SEED={seed}");
        Self(seed)
    }

    /// A number below this one, or 0.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % most.max(1)
    }

    /// One of them.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// When fuzzing that begins now ends: after OSTLER_FUZZ_SECONDS, or one second.
pub fn until() -> Instant {
    let seconds = std::env::var("OSTLER_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    Instant::now() + Duration::from_secs(seconds)
}
