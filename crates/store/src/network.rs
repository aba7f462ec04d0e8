//! What sandboxes did in the network, line by line. What stands in a body is not known here.

use ostler_core::ids::SessionId;
use ostler_core::time::Timestamp;

/// One new line of a session's network log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNetworkLine {
    /// Whose.
    pub session: SessionId,
    /// When it happened.
    pub at: Timestamp,
    /// The host that was asked for; none where the line is about no host.
    pub host: Option<String>,
    /// Whether it was allowed; none where nothing was decided.
    pub is_allowed: Option<bool>,
    /// Serialised JSON.
    pub body: String,
}

/// One line of a session's network log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLine {
    /// Its place in the log; later ones are larger.
    pub position: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Serialised JSON.
    pub body: String,
}

/// Which lines to list; every condition given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkQuery {
    /// Of this host.
    pub host: Option<String>,
    /// Allowed, or not.
    pub is_allowed: Option<bool>,
    /// Before this position.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}
