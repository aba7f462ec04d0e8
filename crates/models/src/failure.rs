//! What a provider's failure means to a session. Pure: a status, headers and a body in, a
//! classified error out. Whether to try again is decided elsewhere.

use http::HeaderMap;
use ostler_core::model::{ModelError, ModelErrorKind, TokenUsage};
use serde_json::Value;

use crate::limits::{MESSAGE_CHARS, RETRY_AFTER_MAX_MS};
use crate::transport::TransportError;

/// An error with a bounded message and nothing else known.
pub fn failure(kind: ModelErrorKind, message: &str) -> ModelError {
    ModelError { kind, message: bounded(message, MESSAGE_CHARS), retry_after_ms: None, usage: TokenUsage::default() }
}

/// The failure behind an HTTP status other than success. `now_ms` (since the Unix epoch) is what a
/// `retry-after` date counts from.
pub fn from_status(status: u16, headers: &HeaderMap, body: &[u8], now_ms: u64) -> ModelError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = Said::of(&parsed);
    let text = match said.message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let kind = status_kind(status, said.kind, &text);
    let mut message = format!("the model provider answered {status}");
    if let Some(word) = said.kind {
        message.push_str(&format!(" ({word})"));
    }
    if !text.trim().is_empty() {
        message.push_str(&format!(": {}", text.trim()));
    }
    if (300..400).contains(&status) {
        message = format!("the model provider answered {status}, a redirect, which is not followed; configure the final base_url");
    }
    ModelError { retry_after_ms: retry_after_ms(headers, now_ms), ..failure(kind, &message) }
}

/// The failure behind an `error` event in a stream: `{"type":"error","error":{"type","message"}}`.
pub fn from_stream_error(event: &Value) -> ModelError {
    let said = Said::of(event);
    let word = said.kind.unwrap_or("unknown error");
    let text = said.message.unwrap_or_default();
    let kind = type_kind(word, text).unwrap_or(ModelErrorKind::Unavailable);
    failure(kind, &format!("the model provider broke off its answer ({word}): {text}"))
}

/// The failure behind a request that got no answer, or not all of it.
pub fn from_transport(error: &TransportError) -> ModelError {
    let kind = match error {
        TransportError::UnknownProvider { .. } => ModelErrorKind::Rejected,
        TransportError::Connect { .. } | TransportError::Broken { .. } => ModelErrorKind::Unavailable,
    };
    failure(kind, &error.to_string())
}

struct Said<'a> {
    kind: Option<&'a str>,
    message: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn of(body: &'a Value) -> Self {
        let error = &body["error"];
        Self { kind: error["type"].as_str(), message: error["message"].as_str().or_else(|| error.as_str()) }
    }
}

fn status_kind(status: u16, word: Option<&str>, text: &str) -> ModelErrorKind {
    use ModelErrorKind as Kind;
    match status {
        401 | 403 => Kind::Authentication,
        402 => Kind::Billing,
        408 | 425 => Kind::Unavailable,
        // The request's bytes are over the provider's limit, which only a long conversation reaches.
        413 => Kind::ContextOverflow,
        429 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        500.. if word == Some("overloaded_error") => Kind::Overloaded,
        500.. => Kind::Unavailable,
        400 | 422 => rejected_kind(text),
        300..500 => Kind::Rejected,
        _ => Kind::Protocol,
    }
}

fn type_kind(word: &str, text: &str) -> Option<ModelErrorKind> {
    use ModelErrorKind as Kind;
    Some(match word {
        "overloaded_error" => Kind::Overloaded,
        "rate_limit_error" => Kind::RateLimited,
        "api_error" | "timeout_error" => Kind::Unavailable,
        "authentication_error" | "permission_error" => Kind::Authentication,
        "billing_error" => Kind::Billing,
        "request_too_large" => Kind::ContextOverflow,
        "invalid_request_error" => rejected_kind(text),
        "not_found_error" | "conflict_error" => Kind::Rejected,
        _ => return None,
    })
}

/// Providers tell these apart only by their words.
fn rejected_kind(text: &str) -> ModelErrorKind {
    const OVERFLOW: [&str; 7] = [
        "prompt is too long",
        "context_window",
        "context window",
        "context length",
        "context_length",
        "maximum context",
        "exceed context limit",
    ];
    let text = text.to_ascii_lowercase();
    if OVERFLOW.iter().any(|words| text.contains(words)) {
        ModelErrorKind::ContextOverflow
    } else if text.contains("credit balance is too low") {
        ModelErrorKind::Billing
    } else {
        ModelErrorKind::Rejected
    }
}

/// `retry-after-ms`, or `retry-after` in seconds or as a date; bounded, nonsense ignored.
fn retry_after_ms(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = header("retry-after-ms")
        .and_then(|text| text.parse::<f64>().ok())
        .or_else(|| header("retry-after").and_then(|text| text.parse::<f64>().ok()).map(|seconds| seconds * 1_000.0));
    if let Some(ms) = asked.filter(|ms| ms.is_finite() && *ms >= 0.0) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, and bounded just before")]
        return Some(ms.min(RETRY_AFTER_MAX_MS as f64).ceil() as u64);
    }
    let date = jiff::fmt::rfc2822::parse(header("retry-after")?).ok()?;
    let at = u64::try_from(date.timestamp().as_millisecond()).ok()?;
    Some(at.saturating_sub(now_ms).min(RETRY_AFTER_MAX_MS))
}

/// `text` on one line, without control characters, at most `chars` long.
pub fn bounded(text: &str, chars: usize) -> String {
    let mut out = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == chars {
            out.push('…');
            break;
        }
        out.push(if char.is_control() { ' ' } else { char });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ModelErrorKind as Kind;

    fn body(kind: &str, message: &str) -> Vec<u8> {
        serde_json::json!({"type": "error", "error": {"type": kind, "message": message}}).to_string().into_bytes()
    }

    #[test]
    fn kinds_by_status_and_words() {
        let table = [
            (400, body("invalid_request_error", "max_tokens: field required"), Kind::Rejected),
            (400, body("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), Kind::ContextOverflow),
            (400, body("invalid_request_error", "model_context_window_exceeded"), Kind::ContextOverflow),
            (400, body("invalid_request_error", "input length and `max_tokens` exceed context limit: 9"), Kind::ContextOverflow),
            (400, body("invalid_request_error", "Your credit balance is too low to access the API."), Kind::Billing),
            (401, body("authentication_error", "invalid x-api-key"), Kind::Authentication),
            (402, body("billing_error", "pay"), Kind::Billing),
            (403, body("permission_error", "no"), Kind::Authentication),
            (404, body("not_found_error", "model: x"), Kind::Rejected),
            (408, Vec::new(), Kind::Unavailable),
            (409, Vec::new(), Kind::Rejected),
            (413, body("request_too_large", "too large"), Kind::ContextOverflow),
            (418, Vec::new(), Kind::Rejected),
            (429, body("rate_limit_error", "slow down"), Kind::RateLimited),
            (500, body("api_error", "oops"), Kind::Unavailable),
            (500, body("overloaded_error", "busy"), Kind::Overloaded),
            (502, b"<html>bad gateway</html>".to_vec(), Kind::Unavailable),
            (503, Vec::new(), Kind::Overloaded),
            (504, body("timeout_error", "late"), Kind::Unavailable),
            (529, body("overloaded_error", "busy"), Kind::Overloaded),
            (302, Vec::new(), Kind::Rejected),
            (204, Vec::new(), Kind::Protocol),
        ];
        for (status, body, expected) in table {
            let error = from_status(status, &HeaderMap::new(), &body, 0);
            assert_eq!(error.kind, expected, "{status} {}", String::from_utf8_lossy(&body));
            assert!(error.message.contains(&status.to_string()), "{}", error.message);
        }
    }

    #[test]
    fn kinds_of_errors_in_a_stream() {
        let table = [
            ("overloaded_error", "x", Kind::Overloaded),
            ("rate_limit_error", "x", Kind::RateLimited),
            ("api_error", "x", Kind::Unavailable),
            ("timeout_error", "x", Kind::Unavailable),
            ("authentication_error", "x", Kind::Authentication),
            ("permission_error", "x", Kind::Authentication),
            ("billing_error", "x", Kind::Billing),
            ("invalid_request_error", "x", Kind::Rejected),
            ("invalid_request_error", "prompt is too long", Kind::ContextOverflow),
            ("request_too_large", "x", Kind::ContextOverflow),
            ("not_found_error", "x", Kind::Rejected),
            ("a_new_error", "x", Kind::Unavailable),
        ];
        for (word, text, expected) in table {
            let event = serde_json::json!({"type": "error", "error": {"type": word, "message": text}});
            assert_eq!(from_stream_error(&event).kind, expected, "{word} {text}");
        }
        assert_eq!(from_stream_error(&Value::Null).kind, Kind::Unavailable);
    }

    #[test]
    fn waits_that_a_provider_asks_for() {
        let now = 1_445_412_480_000; // 2015-10-21T07:28:00Z
        let table: [(&str, &str, Option<u64>); 11] = [
            ("retry-after", "3", Some(3_000)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after-ms", "1250", Some(1_250)),
            ("retry-after", "Wed, 21 Oct 2015 07:28:05 GMT", Some(5_000)),
            ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("retry-after", "Wed, 21 Oct 2037 07:00:00 GMT", Some(RETRY_AFTER_MAX_MS)),
            ("retry-after", "1e300", Some(RETRY_AFTER_MAX_MS)),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after", "soon", None),
            ("x-other", "3", None),
        ];
        for (name, value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            assert_eq!(from_status(429, &headers, b"", now).retry_after_ms, expected, "{name}: {value}");
        }
    }

    #[test]
    fn messages_are_bounded_and_clean() {
        let error = from_status(500, &HeaderMap::new(), &body("api_error", &"\u{1b}[31mx\n".repeat(1_000)), 0);
        assert!(error.message.chars().count() <= MESSAGE_CHARS + 1);
        assert!(!error.message.chars().any(char::is_control), "{}", error.message);
        let binary = from_status(500, &HeaderMap::new(), &[0xff; 4_000], 0);
        assert!(binary.message.chars().count() <= MESSAGE_CHARS + 1);
    }

    #[test]
    fn transport_failures() {
        let unknown = from_transport(&TransportError::UnknownProvider { name: "x".into() });
        assert_eq!(unknown.kind, Kind::Rejected);
        let broken = from_transport(&TransportError::Broken { provider: "x".into(), reason: "reset".into() });
        assert_eq!(broken.kind, Kind::Unavailable);
    }
}
