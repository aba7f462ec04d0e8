//! The routes of the model server: the Messages API, Chat Completions, and a look inside.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::limits::{BODY_BYTES, QUEUED_EVENTS};
use crate::plan::Plan;
use crate::playing::{self, Dialect, Ending};
use crate::recording::{Outcome, Recording};
use crate::{chat_request, chat_validate, validate};

pub(crate) fn router(recording: Arc<Recording>) -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/models", get(models))
        .route("/healthz", get(async || Json(json!({"ok": true}))))
        .route("/_requests", get(requests))
        .route("/_violations", get(violations))
        .route("/_gates/{name}/open", post(open_gate))
        .route("/_reset", post(reset))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(recording)
}

async fn messages(State(recording): State<Arc<Recording>>, uri: Uri, headers: HeaderMap, raw: Bytes) -> Response {
    let check = |body: &Value| check_headers(&headers).and_then(|()| validate::check(body));
    answered(recording, uri.path(), &headers, &raw, check, Dialect::Messages).await
}

async fn chat_completions(State(recording): State<Arc<Recording>>, uri: Uri, headers: HeaderMap, raw: Bytes) -> Response {
    let check = |body: &Value| check_chat_headers(&headers).and_then(|()| chat_validate::check(body));
    answered(recording, uri.path(), &headers, &raw, check, Dialect::Chat { with_usage: false }).await
}

async fn answered(
    recording: Arc<Recording>,
    path: &str,
    headers: &HeaderMap,
    raw: &Bytes,
    check: impl Fn(&Value) -> Result<(), String>,
    dialect: Dialect,
) -> Response {
    let parsed: Result<Value, _> = serde_json::from_slice(raw);
    let body = parsed.as_ref().cloned().unwrap_or_default();
    let number = recording.begin(path, readable(headers), body.clone());
    let ending = Ending::new(recording.clone(), number);
    let sound = match &parsed {
        Ok(body) => check(body),
        Err(error) => Err(format!("the body is no JSON: {error}")),
    };
    if let Err(why) = sound {
        ending.is(Outcome::Refused { why: why.clone() });
        return failure(dialect, 400, &why, number, None);
    }
    let plan = match dialect {
        Dialect::Messages => Plan::of(&body, raw.len()),
        Dialect::Chat { .. } => Plan::of(&chat_request::as_messages(&body), raw.len()),
    };
    recording.at_step(number, plan.step);
    if let Some(fail) = plan.fail().cloned()
        && recording.fails_again(&plan.key, plan.step, fail.times)
    {
        ending.is(Outcome::Failed { status: fail.status });
        return failure(dialect, fail.status, "scripted failure", number, fail.retry_after.as_deref());
    }
    let model = body["model"].clone();
    if body["stream"] == true {
        let with_usage = body["stream_options"]["include_usage"] == true;
        let dialect = if dialect == Dialect::Messages { dialect } else { Dialect::Chat { with_usage } };
        return streamed(plan, model, dialect, ending);
    }
    let message = playing::whole(&plan, &model, dialect, &recording, number).await;
    if plan.manner.disconnect {
        ending.is(Outcome::Disconnected);
        let cut = stream::iter([Err::<Bytes, _>(io::Error::new(io::ErrorKind::ConnectionAborted, "cut, as scripted"))]);
        return Response::new(Body::from_stream(cut));
    }
    ending.is(Outcome::Answered);
    Json(message).into_response()
}

fn streamed(plan: Plan, model: Value, dialect: Dialect, ending: Ending) -> Response {
    let (sink, events) = mpsc::channel(QUEUED_EVENTS);
    tokio::spawn(playing::stream(plan, model, dialect, sink, ending));
    let body = stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        Some((event, events))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn check_headers(headers: &HeaderMap) -> Result<(), String> {
    if !headers.contains_key("anthropic-version") {
        return Err("anthropic-version: header is required".to_owned());
    }
    if headers.contains_key("x-api-key") && headers.contains_key(header::AUTHORIZATION) {
        return Err("authorization: not together with x-api-key".to_owned());
    }
    Ok(())
}

fn check_chat_headers(headers: &HeaderMap) -> Result<(), String> {
    if headers.contains_key("x-api-key") || headers.contains_key("anthropic-version") {
        return Err("x-api-key, anthropic-version: headers of another dialect".to_owned());
    }
    let key = headers.get(header::AUTHORIZATION);
    if key.is_some_and(|key| !key.as_bytes().starts_with(b"Bearer ")) {
        return Err("authorization: must be a bearer token".to_owned());
    }
    Ok(())
}

fn failure(dialect: Dialect, status: u16, message: &str, number: u64, retry_after: Option<&str>) -> Response {
    let kind = match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let body = match dialect {
        Dialect::Messages => {
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": format!("req_tk_{number}")})
        }
        Dialect::Chat { .. } => {
            let (kind, code) = match status {
                401 => ("invalid_request_error", Some("invalid_api_key")),
                404 => ("invalid_request_error", Some("model_not_found")),
                429 => ("requests", Some("rate_limit_exceeded")),
                500.. => ("server_error", None),
                _ => ("invalid_request_error", None),
            };
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    if let Some(value) = retry_after.and_then(|after| HeaderValue::from_str(after).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let pair =
        |(name, value): (&header::HeaderName, &HeaderValue)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    headers.iter().map(pair).collect()
}

async fn count_tokens(raw: Bytes) -> Json<Value> {
    Json(json!({"input_tokens": (raw.len() / 4).max(1)}))
}

/// The list in both dialects at once; each reads its own fields.
async fn models() -> Json<Value> {
    let model = |id: &str| {
        json!({
            "id": id, "type": "model", "display_name": id, "created_at": "2026-01-01T00:00:00Z",
            "object": "model", "created": 1_767_225_600, "owned_by": "testkit",
        })
    };
    let data = [model("scripted-model")];
    Json(json!({"object": "list", "data": data, "has_more": false, "first_id": "scripted-model", "last_id": "scripted-model"}))
}

async fn requests(State(recording): State<Arc<Recording>>, Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let wanted = query.get("contains");
    let fits = |body: &Value| wanted.is_none_or(|text| body.to_string().contains(text.as_str()));
    let data: Vec<_> = recording.requests().into_iter().filter(|request| fits(&request.body)).collect();
    Json(json!({ "data": data }))
}

async fn violations(State(recording): State<Arc<Recording>>) -> Json<Value> {
    Json(json!({"data": recording.violations()}))
}

async fn open_gate(State(recording): State<Arc<Recording>>, Path(name): Path<String>) -> Json<Value> {
    recording.open(&name);
    Json(json!({"ok": true}))
}

async fn reset(State(recording): State<Arc<Recording>>) -> Json<Value> {
    recording.reset();
    Json(json!({"ok": true}))
}
