//! Why an MCP server was not used.

use std::error::Error;

use rmcp::transport::streamable_http_client::{AuthRequiredError, InsufficientScopeError};
use serde_json::Value;

use crate::limits;

/// Why an MCP server was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or does not speak the protocol. Nothing was run.
    #[error("{0}")]
    Connection(String),
    /// It does not take the credential, or wants one. Nothing was run.
    #[error("{0}")]
    Authentication(String),
    /// It answered that it does not do this.
    #[error("{0}")]
    Refused(String),
    /// Whether it was done is not known.
    #[error("{0}")]
    Unknown(String),
}

impl Failure {
    pub(crate) fn connection(why: impl Into<String>) -> Self {
        Self::Connection(why.into())
    }

    /// The server says how one could be let in.
    pub(crate) fn unauthorized() -> Self {
        Self::Authentication("it does not accept the credential, or wants one".into())
    }

    /// A failure of the transport: of the way, or of who asks.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut texts = Vec::new();
        let mut cause = Some(error);
        while let Some(inner) = cause {
            if inner.is::<AuthRequiredError>() || inner.is::<InsufficientScopeError>() {
                return Self::unauthorized();
            }
            texts.push(inner.to_string());
            cause = inner.source();
        }
        Self::of_texts(&texts)
    }

    fn of_texts(texts: &[String]) -> Self {
        if let Some(refusal) = texts.iter().find_map(|text| of_egress(text)) {
            return Self::Connection(short(&refusal));
        }
        // What stands behind the status is the server's own word.
        let is_authentication = |text: &String| {
            let status = text.split_once("unexpected server response: ").map(|(_, said)| said).unwrap_or_default();
            status.starts_with("HTTP 401") || status.starts_with("HTTP 403")
        };
        let innermost = texts.last().map(String::as_str).unwrap_or_default();
        if texts.iter().any(is_authentication) {
            return Self::Authentication(short(&format!("it does not accept the credential ({})", plain(innermost))));
        }
        let is_other = texts.iter().any(|text| text.contains("unexpected server response: HTTP 4"));
        let hint = if is_other { "; is this the address of an MCP server?" } else { "" };
        Self::Connection(short(plain(innermost)) + hint)
    }
}

/// A text without the names of our own types before it.
fn plain(text: &str) -> &str {
    text.rsplit_once(">] error: ").map_or(text, |(_, rest)| rest)
}

/// What egress said, if it was egress that refused.
fn of_egress(text: &str) -> Option<String> {
    // The words of others stand around it.
    let rest = text.get(text.find("{\"error\"")?..)?;
    let error = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next()?.ok()?;
    let error = &error["error"];
    (error["type"] == "egress_refused").then(|| error["message"].as_str().unwrap_or_default().to_owned())
}

/// A text for people, without what a terminal or a log would act on.
pub(crate) fn short(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(limits::MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let of = |texts: &[&str]| Failure::of_texts(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let status = |text: &str| of(&["send failed", &format!("unexpected server response: {text}")]);
        assert!(matches!(status("HTTP 401 Unauthorized: no"), Failure::Authentication(_)));
        assert!(matches!(status("HTTP 403 Forbidden: no"), Failure::Authentication(_)));
        assert!(matches!(status("HTTP 500 Internal Server Error: HTTP 401"), Failure::Connection(_)));
        assert!(matches!(status("HTTP 500 Error: Auth required; unexpected server response: HTTP 401"), Failure::Connection(_)));
        let refused = r#"HTTP 403 Forbidden: {"error":{"type":"egress_refused","code":"address_not_public","message":"not public"}}"#;
        assert_eq!(status(&format!("{refused}\n, when sending")), Failure::Connection("not public".into()));
        let typed = "Transport [rmcp::Worker<ostler::Way>] error: unexpected server response: HTTP 404 Not Found: no";
        let said = "unexpected server response: HTTP 404 Not Found: no; is this the address of an MCP server?";
        assert_eq!(of(&[typed]), Failure::Connection(said.into()));
        assert_eq!(of(&["a\u{1b}[31mb"]), Failure::Connection("a [31mb".into()));
    }
}
