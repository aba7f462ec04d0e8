//! What a caller of the runtime can get instead of an answer.

use ostler_core::error::Refusal;
use ostler_store::StoreError;

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The command is refused as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not take or give something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session failed while it worked on the command; whether it took effect is not known.
    #[error("the session failed while it worked on this; read its events before repeating it")]
    SessionFailed,
    /// The session did not answer in time; the command may still take effect.
    #[error("the session did not answer in time; read its events before repeating the command")]
    TimedOut,
    /// Sandboxes cannot be listed or ended.
    #[error("sandboxes: {0}")]
    Sandboxes(String),
    /// The server is stopping.
    #[error("the server is stopping; try again in a moment")]
    Stopping,
}

impl RuntimeError {
    /// A session that does not exist, or not for this caller.
    pub fn no_session(id: &str) -> Self {
        Self::Refused(Refusal::not_found(format!("no session {id:?}")))
    }
}
