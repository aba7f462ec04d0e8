//! What a provider's failure means to a session. Pure: a status, headers and a body in, a
//! classified error out. Whether to try again is decided elsewhere.

use http::HeaderMap;
use ostler_core::model::{ModelError, ModelErrorKind, TokenUsage};
use serde_json::Value;

use crate::limits::{MESSAGE_CHARS, RETRY_AFTER_MAX_MS};
use crate::transport::TransportError;

/// An error with a bounded message and nothing else known.
pub fn failure(kind: ModelErrorKind, message: &str) -> ModelError {
    ModelError { kind, message: bounded(message, MESSAGE_CHARS), retry_after_ms: None, usage: TokenUsage::default(), billed: false }
}

/// The failure behind an HTTP status other than success. `now_ms` (since the Unix epoch) is what a
/// `retry-after` date counts from.
pub fn from_status(status: u16, headers: &HeaderMap, body: &[u8], now_ms: u64) -> ModelError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = Said::of(&parsed);
    let text = if said.message.is_empty() { String::from_utf8_lossy(body).into_owned() } else { said.message.clone() };
    let kind = status_kind(status, &said, &text);
    let mut message = format!("the model provider answered {status}");
    if let Some(word) = said.word() {
        message.push_str(&format!(" ({word})"));
    }
    if !text.trim().is_empty() {
        message.push_str(&format!(": {}", text.trim()));
    }
    if (300..400).contains(&status) {
        message = format!("the model provider answered {status}, a redirect, which is not followed; configure the final base_url");
    }
    let wait = retry_after_ms(headers, now_ms).or_else(|| wait_in_words(kind, &text));
    ModelError { retry_after_ms: wait, ..failure(kind, &message) }
}

/// The failure behind an error inside a stream, or in a body that came with status 200:
/// `{"error": {"type", "code", "message"}}`, or the inner object by itself. A `code` that is an HTTP
/// status, as a number or as text, counts as that status.
pub fn from_stream_error(event: &Value) -> ModelError {
    let said = Said::of(event);
    let kind = match said.status {
        Some(status) => status_kind(status, &said, &said.message),
        None => said
            .words()
            .find_map(|word| word_kind(word, &said.message))
            .unwrap_or_else(|| if is_overflow(&said.message) { ModelErrorKind::ContextOverflow } else { ModelErrorKind::Unavailable }),
    };
    let word = said.word().map(str::to_owned).or_else(|| said.status.map(|status| status.to_string()));
    let word = word.unwrap_or_else(|| "unknown error".to_owned());
    let wait = wait_in_words(kind, &said.message);
    let message = format!("the model provider broke off its answer ({word}): {}", said.message);
    ModelError { retry_after_ms: wait, ..failure(kind, &message) }
}

/// The failure behind a request that got no answer, or not all of it.
pub fn from_transport(error: &TransportError) -> ModelError {
    let kind = match error {
        TransportError::UnknownProvider { .. } => ModelErrorKind::Rejected,
        TransportError::Connect { .. } | TransportError::Broken { .. } => ModelErrorKind::Unavailable,
    };
    failure(kind, &error.to_string())
}

/// What the body of an error says, in any of the shapes that servers give it.
struct Said<'a> {
    kind: Option<&'a str>,
    code: Option<&'a str>,
    status: Option<u16>,
    message: String,
}

impl<'a> Said<'a> {
    fn of(body: &'a Value) -> Self {
        // Google's servers put the error into a list; others leave out the envelope.
        let body = body.get(0).unwrap_or(body);
        let error = if body["error"].is_object() { &body["error"] } else { body };
        let code = &error["code"];
        let number = code.as_u64().or_else(|| code.as_str()?.parse().ok());
        let status = number.and_then(|number| u16::try_from(number).ok()).filter(|status| (400..600).contains(status));
        let code = code.as_str().filter(|_| number.is_none());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let detail = |value: &Value| if value.is_array() { Some(value.to_string()) } else { text(value) };
        let message = text(&error["message"]).or_else(|| text(&body["error"])).or_else(|| detail(&body["detail"])).unwrap_or_default();
        // OpenRouter only says that the provider behind it failed; its words are beside.
        let message = match error["metadata"]["raw"].as_str() {
            Some(raw) => format!("{message}: {raw}"),
            None => message,
        };
        Self { kind: error["type"].as_str(), code, status, message }
    }

    /// The words that say what it is, the most telling first.
    fn words(&self) -> impl Iterator<Item = &'a str> {
        self.code.into_iter().chain(self.kind).filter(|word| *word != "None")
    }

    fn word(&self) -> Option<&'a str> {
        self.words().next()
    }
}

fn status_kind(status: u16, said: &Said<'_>, text: &str) -> ModelErrorKind {
    use ModelErrorKind as Kind;
    // Money and size are told by words, under one status or another.
    let told = said.words().find_map(|word| word_kind(word, text)).filter(|kind| matches!(kind, Kind::Billing | Kind::ContextOverflow));
    if let Some(kind) = told {
        return kind;
    }
    match status {
        401 | 403 => Kind::Authentication,
        402 => Kind::Billing,
        408 | 409 | 425 => Kind::Unavailable,
        // The request's bytes are over the provider's limit, which only a long conversation reaches.
        413 => Kind::ContextOverflow,
        429 => Kind::RateLimited,
        503 | 529 => Kind::Overloaded,
        500.. if said.words().any(|word| word_kind(word, text) == Some(Kind::Overloaded)) => Kind::Overloaded,
        500 if is_overflow(text) => Kind::ContextOverflow,
        500.. => Kind::Unavailable,
        400 | 422 => rejected_kind(text),
        300..500 => Kind::Rejected,
        _ => Kind::Protocol,
    }
}

/// What the `type` or the `code` of an error means.
fn word_kind(word: &str, text: &str) -> Option<ModelErrorKind> {
    use ModelErrorKind as Kind;
    Some(match word {
        "overloaded_error" | "overloaded" | "engine_overloaded" | "service_unavailable" | "service_unavailable_error" => Kind::Overloaded,
        "rate_limit_error" | "rate_limit_exceeded" | "too_many_requests" | "throttling_error" => Kind::RateLimited,
        "api_error" | "timeout_error" | "conflict_error" | "server_error" | "internal_server_error" => Kind::Unavailable,
        "authentication_error" | "permission_error" | "invalid_api_key" | "auth_error" => Kind::Authentication,
        "billing_error" | "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "budget_exceeded" => Kind::Billing,
        "request_too_large" | "context_length_exceeded" | "exceed_context_size_error" => Kind::ContextOverflow,
        "invalid_request_error" | "BadRequestError" => rejected_kind(text),
        "not_found_error" | "model_not_found" => Kind::Rejected,
        _ => return None,
    })
}

/// Providers tell these apart only by their words.
fn rejected_kind(text: &str) -> ModelErrorKind {
    if is_overflow(text) {
        ModelErrorKind::ContextOverflow
    } else if text.to_ascii_lowercase().contains("credit balance is too low") {
        ModelErrorKind::Billing
    } else {
        ModelErrorKind::Rejected
    }
}

fn is_overflow(text: &str) -> bool {
    const OVERFLOW: [&str; 13] = [
        "prompt is too long",
        "context_window",
        "context window",
        "contextwindowexceeded",
        "context length",
        "context_length",
        "context size",
        "maximum context",
        "maximum prompt length",
        "maximum model length",
        "exceed context limit",
        "exceeds the maximum number of tokens",
        "exceed_context_size",
    ];
    let text = text.to_ascii_lowercase();
    OVERFLOW.iter().any(|words| text.contains(words))
}

/// The wait of "Try again in 60 seconds", "in 1.5s", "in 6m0s", "in 800ms": proxies like LiteLLM say
/// it only there.
fn wait_in_words(kind: ModelErrorKind, text: &str) -> Option<u64> {
    if kind != ModelErrorKind::RateLimited {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let (_, mut rest) = text.split_once("try again in ").or_else(|| text.split_once("retry in "))?;
    let mut total = None;
    while let Some(end) = rest.find(|char: char| !char.is_ascii_digit() && char != '.').filter(|end| *end > 0) {
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.trim_start().find(|char: char| !char.is_ascii_alphabetic());
        let tail = tail.trim_start();
        let (unit, after) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let factor = match unit {
            "ms" | "milliseconds" => 1.0,
            "s" | "sec" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "minute" | "minutes" => 60_000.0,
            _ => break,
        };
        total = Some(total.unwrap_or(0.0) + number.parse::<f64>().ok()? * factor);
        rest = after;
    }
    bounded_wait(total?)
}

fn bounded_wait(ms: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "finite, not negative, and bounded just before")]
    (ms.is_finite() && ms >= 0.0).then(|| ms.min(RETRY_AFTER_MAX_MS as f64).ceil() as u64)
}

/// `retry-after-ms`, or `retry-after` in seconds or as a date; bounded, nonsense ignored.
fn retry_after_ms(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = header("retry-after-ms")
        .and_then(|text| text.parse::<f64>().ok())
        .or_else(|| header("retry-after").and_then(|text| text.parse::<f64>().ok()).map(|seconds| seconds * 1_000.0));
    if let Some(wait) = asked.and_then(bounded_wait) {
        return Some(wait);
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
            (409, Vec::new(), Kind::Unavailable),
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
    fn kinds_by_the_words_of_chat_completions_servers() {
        let table: [(u16, &str, Kind, &str); 22] = [
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                Kind::ContextOverflow,
                "(context_length_exceeded)",
            ),
            (
                400,
                r#"{"object":"error","message":"The prompt is longer than the maximum model length of 4096","type":"BadRequestError","param":null,"code":400}"#,
                Kind::ContextOverflow,
                "longer",
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":4390,"n_ctx":4096}}"#,
                Kind::ContextOverflow,
                "4390",
            ),
            (
                500,
                r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#,
                Kind::ContextOverflow,
                "exceeded",
            ),
            (
                400,
                r#"{"error":{"message":"litellm.ContextWindowExceededError: too much","type":null,"param":null,"code":"400"}}"#,
                Kind::ContextOverflow,
                "litellm",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                Kind::ContextOverflow,
                "1100000",
            ),
            (
                400,
                r#"{"error":{"message":"Invalid 'messages[0]'","type":"invalid_request_error","code":null}}"#,
                Kind::Rejected,
                "messages[0]",
            ),
            (
                400,
                r#"{"error":{"message":"Billing hard limit has been reached","type":"insufficient_quota","code":"billing_hard_limit_reached"}}"#,
                Kind::Billing,
                "Billing",
            ),
            (
                400,
                r#"{"error":{"message":"Budget has been exceeded! Current cost: 2, Max budget: 1","type":"budget_exceeded","param":null,"code":"400"}}"#,
                Kind::Billing,
                "Budget",
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                Kind::Authentication,
                "Incorrect",
            ),
            (402, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#, Kind::Billing, "credits"),
            (
                403,
                r#"{"error":{"message":"Project does not have access to model","type":"invalid_request_error","code":"model_not_found"}}"#,
                Kind::Authentication,
                "Project",
            ),
            (
                404,
                r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#,
                Kind::Rejected,
                "(model_not_found)",
            ),
            (404, r#"{"detail":"Not Found"}"#, Kind::Rejected, "Not Found"),
            (409, r#"{"error":{"message":"conflict"}}"#, Kind::Unavailable, "conflict"),
            (422, r#"{"detail":[{"loc":["body","messages"],"msg":"Field required"}]}"#, Kind::Rejected, "Field required"),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Kind::Billing,
                "quota",
            ),
            (
                429,
                r#"{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}"#,
                Kind::RateLimited,
                "Rate limit",
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"x is temporarily rate-limited upstream","provider_name":"P"}}}"#,
                Kind::RateLimited,
                "upstream",
            ),
            (500, r#"{"error":"llama runner process has terminated"}"#, Kind::Unavailable, "llama runner"),
            (502, r#"{"error":{"message":"busy","type":"overloaded","code":null}}"#, Kind::Overloaded, "busy"),
            (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Kind::Overloaded, "Loading model"),
        ];
        for (status, body, expected, words) in table {
            let error = from_status(status, &HeaderMap::new(), body.as_bytes(), 0);
            assert_eq!(error.kind, expected, "{status} {body}");
            assert!(error.message.contains(words), "{}", error.message);
        }
    }

    #[test]
    fn errors_in_streams_of_chat_completions() {
        let table = [
            (r#"{"error":{"message":"slow down","type":"None","param":"None","code":"429"}}"#, Kind::RateLimited),
            (r#"{"error":{"message":"upstream","type":null,"code":502},"choices":[{"finish_reason":"error"}]}"#, Kind::Unavailable),
            (r#"{"error":{"message":"no money","code":402}}"#, Kind::Billing),
            (r#"{"code":500,"message":"boom","type":"server_error"}"#, Kind::Unavailable),
            (
                r#"{"code":400,"message":"request exceeds the available context size","type":"exceed_context_size_error"}"#,
                Kind::ContextOverflow,
            ),
            (r#"{"error":{"message":"slots","type":"server_error","code":"server_error"}}"#, Kind::Unavailable),
            (r#"{"error":"an error was encountered while running the model"}"#, Kind::Unavailable),
            (r#"{"error":"the context window is full"}"#, Kind::ContextOverflow),
            (r#"{"object":"error","message":"bad","type":"BadRequestError","code":400}"#, Kind::Rejected),
        ];
        for (event, expected) in table {
            assert_eq!(from_stream_error(&serde_json::from_str(event).unwrap()).kind, expected, "{event}");
        }
    }

    #[test]
    fn waits_told_in_words_count_only_without_a_header() {
        let litellm = "No deployments available for selected model, Try again in 60 seconds. Passed model=x. pre-call-checks=False";
        let table: [(u16, &str, Option<u64>); 10] = [
            (429, litellm, Some(60_000)),
            (429, "Please try again in 1.5s. Visit", Some(1_500)),
            (429, "Please try again in 6m0.5s.", Some(RETRY_AFTER_MAX_MS)),
            (429, "Please try again in 2m0.5s.", Some(120_500)),
            (429, "try again in 800ms", Some(800)),
            (429, "Please retry in 3.1s.", Some(3_100)),
            (429, "try again in a while", None),
            (429, "try again in 5 days", None),
            (429, "try again in 1.2.3s", None),
            (500, "try again in 5 seconds", None),
        ];
        for (status, text, expected) in table {
            let error = from_status(status, &HeaderMap::new(), &body("x", text), 0);
            assert_eq!(error.retry_after_ms, expected, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        assert_eq!(from_status(429, &headers, &body("x", litellm), 0).retry_after_ms, Some(7_000));
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
