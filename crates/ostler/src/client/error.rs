//! What goes wrong between the command line and a server, with the remedy.

use reqwest::StatusCode;
use serde_json::Value;

use super::request::Object;
use crate::limits;
use crate::terminal::one_line;

/// The command was used wrongly: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A request without the answer that was wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens there.
    #[error("no server answers at {url} ({cause}); start one with `ostler serve`, or name another with --url or OSTLER_URL")]
    Unreachable {
        /// The server.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s; try again, or look at the server's log", limits::REQUEST.as_secs())]
    TimedOut {
        /// The server.
        url: String,
    },
    /// The connection broke.
    #[error("the connection to {url} broke: {cause}")]
    Broken {
        /// The server.
        url: String,
        /// What the system said.
        cause: String,
    },
    /// The key opens nothing.
    #[error("{url} refuses the API key {key_from}: {message}; {remedy}")]
    Unauthorized {
        /// The server.
        url: String,
        /// Where the key was found.
        key_from: String,
        /// The server's words.
        message: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The thing does not exist, or not for this key.
    #[error("there is no {} {} at {url}; `ostler {} list` shows what this key sees", about.name(), about.id, about.collection())]
    Missing {
        /// What was asked for.
        about: Object,
        /// The server.
        url: String,
    },
    /// Anything else the server said.
    #[error("{message} ({status}{})", request_id.as_ref().map_or_else(String::new, |id| format!(", request {id}")))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The server's words.
        message: String,
        /// Under which its log has more.
        request_id: Option<String>,
    },
    /// The answer is not what this API answers.
    #[error("{url} does not answer like an Ostler server ({what}); check --url")]
    Strange {
        /// The server.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
}

impl ClientError {
    /// Of a request that got no response.
    pub(super) fn of_request(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = cause.to_string();
        match error {
            error if error.is_connect() => Self::Unreachable { url, cause },
            error if error.is_timeout() => Self::TimedOut { url },
            _ => Self::Broken { url, cause },
        }
    }

    /// Of a response that is no success.
    pub(super) fn of_response(
        url: &str,
        key_from: &str,
        status: StatusCode,
        body: &str,
        header_id: Option<&str>,
        about: Option<&Object>,
    ) -> Self {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let words = value.pointer("/error/message").and_then(Value::as_str);
        let message = one_line(words.unwrap_or("the server gives no reason"), limits::MESSAGE_CHARS);
        let request_id = header_id.or_else(|| value["request_id"].as_str()).map(|id| one_line(id, limits::CELL_CHARS));
        match (status, about) {
            (StatusCode::UNAUTHORIZED, _) => {
                Self::Unauthorized { url: url.to_owned(), key_from: key_from.to_owned(), message, remedy: remedy(key_from) }
            }
            (StatusCode::NOT_FOUND, Some(about)) if words.is_some() => Self::Missing { about: about.clone(), url: url.to_owned() },
            (StatusCode::NOT_FOUND, _) if words.is_none() => Self::Strange { url: url.to_owned(), what: "404 without a reason".to_owned() },
            _ => Self::Refused { status, message, request_id },
        }
    }
}

fn remedy(key_from: &str) -> &'static str {
    if key_from.starts_with("kept in") {
        "the data directory may have been replaced, or the key revoked"
    } else {
        "give a valid one in OSTLER_API_KEY or with --api-key-file"
    }
}

/// Whether the error says that the thing asked for does not exist.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ClientError>(), Some(ClientError::Missing { .. }))
}

/// Whether asking again later cannot help.
pub(super) fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Missing { .. } | ClientError::Unauthorized { .. }) => true,
        Some(ClientError::Refused { status, .. }) => status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::request::Kind;

    const REFUSAL: &str = r#"{"type":"error","error":{"type":"x","message":"too\nmany \u001b[31mthings"},"request_id":"req_1"}"#;

    fn told(status: u16, body: &str, about: Option<&Object>) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        ClientError::of_response("http://h", "in OSTLER_API_KEY", status, body, None, about).to_string()
    }

    #[test]
    fn a_refusal_has_the_servers_harmless_words_and_the_request() {
        assert_eq!(told(429, REFUSAL, None), "too many ␛[31mthings (429 Too Many Requests, request req_1)");
        assert_eq!(told(502, "<html>", None), "the server gives no reason (502 Bad Gateway)");
    }

    #[test]
    fn each_error_names_its_remedy() {
        let about = Object { kind: Kind::Session, id: "sesn_1".to_owned() };
        assert_eq!(
            told(404, REFUSAL, Some(&about)),
            "there is no session sesn_1 at http://h; `ostler sessions list` shows what this key sees"
        );
        assert!(told(404, "<html>", Some(&about)).contains("check --url"));
        assert!(told(401, REFUSAL, Some(&about)).contains("OSTLER_API_KEY"));
    }
}
