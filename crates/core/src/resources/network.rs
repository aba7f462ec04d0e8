//! What a session's sandbox did in the network, as clients read it. Never a query, a header, a body or a secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::egress::Record;
use crate::egress::policy::Code;
use crate::ids::{CredentialId, EventId};

/// One line of a session's network log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkEntry {
    /// A request, or a connection that was passed on closed.
    NetworkRequest(Box<NetworkRequest>),
    /// So many came at once that some were not written down.
    NetworkDropped {
        /// How many.
        count: u64,
    },
}

/// A request, or a connection that was passed on closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkRequest {
    /// The host that was asked for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The method where the request could be seen; `CONNECT` for a connection that was passed on closed.
    pub method: String,
    /// The path without the query; null where it could not be seen.
    pub path: Option<String>,
    /// The status of the answer; null where it could not be seen.
    pub status: Option<u16>,
    /// Bytes that left the sandbox.
    pub bytes_sent: u64,
    /// Bytes that came in.
    pub bytes_received: u64,
    /// Whether it was allowed.
    pub decision: NetworkDecision,
    /// The stable name of the reason.
    #[schema(value_type = String)]
    pub code: Code,
    /// The rule that decided.
    pub rule: String,
    /// The credentials whose secrets were put in.
    pub credential_ids: Vec<CredentialId>,
    /// The tool call that it belongs to; null for what a program of the sandbox did, unless exactly one ran at that time.
    pub tool_use_id: Option<EventId>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkDecision {
    /// It went out.
    Allowed,
    /// It did not, or failed.
    Denied,
}

impl NetworkEntry {
    /// The line of a record, which belongs to the call that it names, or else to the one that ran at that time.
    pub fn of(record: Record, running: Option<EventId>) -> Self {
        let Record { session: _, at_ms: _, call, host, port, method, path, status, sent, received, is_allowed, code, rule, credentials } =
            record;
        let decision = if is_allowed { NetworkDecision::Allowed } else { NetworkDecision::Denied };
        Self::NetworkRequest(Box::new(NetworkRequest {
            host,
            port,
            method,
            path,
            status,
            bytes_sent: sent,
            bytes_received: received,
            decision,
            code,
            rule,
            credential_ids: credentials,
            tool_use_id: call.or(running),
        }))
    }
}
