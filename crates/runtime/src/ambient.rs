//! Time and chance: the one place that reads the clock and the system's randomness.

use ostler_core::ids::IdSource;
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::step::{Now, SharedBudget};
use ostler_core::time::Timestamp;

/// Where time and chance come from.
#[derive(Debug, Clone, Default)]
pub struct Ambient {}

impl Ambient {
    /// The system's clock and randomness.
    pub fn system() -> Self {
        Self {}
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        // Randomness only fails where the kernel has none yet, at early boot; ids and jitter from
        // the clock are better than no service, secrets do not come from here.
        getrandom::u64().unwrap_or_else(|_| self.now().0.unsigned_abs())
    }

    /// A source of new ids.
    pub fn ids(&self) -> IdSource {
        IdSource::new(self.now().millis(), self.random())
    }

    /// What one step knows of the world.
    pub(crate) fn step<'a>(&self, plan: &'a ModelPlan, shared_budget: SharedBudget) -> Now<'a> {
        Now { at: self.now(), seed: self.random(), plan, shared_budget }
    }
}
