//! What a person is asked about requests, and answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request about which a person is asked. The same question again is the same request again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The method; `CONNECT` for a connection of which the requests are not seen.
    pub method: String,
    /// The path without the query, where it is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The rule that asks.
    pub rule: String,
}

/// A question that has its answer for as long as the session lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The question.
    pub question: Question,
    /// Whether such requests may go.
    pub is_allowed: bool,
}
