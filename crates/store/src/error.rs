//! What can go wrong in the store. HTTP statuses are chosen elsewhere.

/// Why a store operation did not happen. Unless said otherwise nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The row does not exist, or belongs to another workspace.
    #[error("no such row")]
    NotFound,
    /// Another epoch owns the session, or its journal has moved on.
    #[error("the session is owned by another epoch or its journal has moved on")]
    Stale,
    /// The workspace's budget is used up; nothing new is admitted until it is raised.
    #[error("the budget of the workspace is reached")]
    CapReached,
    /// The workspace has a budget, and what the request costs is not known.
    #[error("the workspace has a budget and the price of the model is not known")]
    CapNeedsPrice,
    /// The row exists already, or contradicts another.
    #[error("conflict with stored data: {0}")]
    Conflict(String),
    /// The scope may not do this.
    #[error("out of scope: {0}")]
    OutOfScope(&'static str),
    /// The request breaks a rule of the store: a gap in a sequence, a body over its limit.
    #[error("refused by the store: {0}")]
    Invalid(String),
    /// The disk is full. Free space on the data directory; appends then succeed again.
    #[error("the disk of the data directory is full; free some space")]
    Full,
    /// The database was written by a newer version of the program.
    #[error(
        "the database has schema {found}, this binary knows up to {known}: start the newer version, or restore a backup made before the upgrade"
    )]
    Incompatible {
        /// The schema of the database.
        found: u32,
        /// The newest schema of this binary.
        known: u32,
    },
    /// The store cannot answer now.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Stored data cannot be read; restore a backup.
    #[error("stored data is damaged, restore a backup: {0}")]
    Corrupt(String),
}
