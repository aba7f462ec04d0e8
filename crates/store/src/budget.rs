//! The budget that the sessions of a workspace share. Admission and accounting are part of the
//! append: what is committed was admitted, and nothing is admitted twice.

use ostler_core::cost::Cost;

/// What a batch does to its workspace's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// What its requests had set aside and no longer need.
    pub release: Cost,
    /// What is charged.
    pub charge: Cost,
    /// What is set aside for a request that is about to start.
    pub reserve: Reserve,
}

/// What a request that is about to start sets aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// None starts.
    Nothing,
    /// This much. Admitted while what is spent and set aside is below the cap; the batch fails with
    /// [`crate::StoreError::CapReached`] otherwise.
    Amount(Cost),
    /// Nobody knows. Admitted while there is no cap; the batch fails with
    /// [`crate::StoreError::CapNeedsPrice`] otherwise.
    Unpriced,
}

impl Spend {
    /// Whether it changes and asks nothing.
    pub fn is_nothing(&self) -> bool {
        self.release == Cost::ZERO && self.charge == Cost::ZERO && self.reserve == Reserve::Nothing
    }
}

/// The shared budget of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkspaceBudget {
    /// The most that may be spent; none: as much as wanted.
    pub cap: Option<Cost>,
    /// What was charged since the workspace exists, deleted sessions included.
    pub spent: Cost,
    /// What requests under way have set aside.
    pub reserved: Cost,
}
