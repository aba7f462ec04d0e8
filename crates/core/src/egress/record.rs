//! The egress log. Never a query, a header, a body or a secret.

use serde::{Deserialize, Serialize};

use super::policy::Code;
use crate::ids::{CredentialId, EventId, SessionId};

/// One line of the egress log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The sandbox, by its session.
    pub session: SessionId,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The tool call that the server made it for; what programs of a sandbox do, it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<EventId>,
    /// The host that was asked for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The method, where the request could be seen; `CONNECT` for a connection that was passed on closed.
    pub method: String,
    /// The path without the query, where it could be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The status of the answer, where it could be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes that left the sandbox.
    pub sent: u64,
    /// Bytes that came in.
    pub received: u64,
    /// Whether it was allowed.
    pub is_allowed: bool,
    /// The stable name of the reason.
    pub code: Code,
    /// The rule that decided.
    pub rule: String,
    /// The credentials that were put in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialId>,
}

/// Lines of the egress log that were lost, because too many came at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The sandbox, by its session.
    pub session: SessionId,
    /// How many.
    pub count: u64,
}
