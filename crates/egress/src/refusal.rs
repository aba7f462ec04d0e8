//! What a sandbox is told when something is not done: which host, which rule, and what to do.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use serde_json::json;

use crate::body::{self, Body};
use ostler_core::egress::calls::REFUSED;
use ostler_core::egress::policy::{Code, Decision, TRANSFER_RULE};

/// The status of a refusal.
fn status(decision: &Decision) -> StatusCode {
    match decision.code {
        Code::TooMuch if decision.rule == TRANSFER_RULE => StatusCode::FORBIDDEN,
        Code::NoAddress | Code::Unreachable => StatusCode::BAD_GATEWAY,
        Code::BadHost | Code::BadRequest | Code::NotUnderstood => StatusCode::BAD_REQUEST,
        Code::NamesDiffer => StatusCode::MISDIRECTED_REQUEST,
        Code::TooMuch => StatusCode::TOO_MANY_REQUESTS,
        Code::Revoked => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

/// The answer to a request that is not passed on.
pub(crate) fn answer(host: &str, decision: &Decision, detail: &str) -> Response<Body> {
    let message = match detail {
        "" => format!("Ostler egress: {host} was not reached ({}). Remedy: {}.", decision.rule, decision.remedy()),
        detail => format!("Ostler egress: {host} was not reached ({}: {detail}). Remedy: {}.", decision.rule, decision.remedy()),
    };
    let error = json!({
        "type": "egress_refused",
        "code": decision.code,
        "host": host,
        "rule": decision.rule,
        "remedy": decision.remedy(),
        "message": message,
    });
    let text = format!("{}\n", json!({"error": error}));
    let mut response = Response::new(body::full(Bytes::from(text)));
    *response.status_mut() = status(decision);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    // Where a connection was asked for, most programs show no more than these words, or not even them.
    let code = json!(decision.code);
    let words = format!("{} ({})", code.as_str().unwrap_or_default(), decision.remedy());
    if let Ok(words) = ReasonPhrase::try_from(words.into_bytes()) {
        response.extensions_mut().insert(words);
    }
    response.headers_mut().insert(REFUSED, header::HeaderValue::from_static("refused"));
    response
}
