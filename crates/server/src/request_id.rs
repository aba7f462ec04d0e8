//! The outermost layer: gives every request an id, writes it on every response, and turns every
//! error, ours or the HTTP library's, into the one envelope.

use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ostler_core::ids::RequestId;

use crate::api::Api;
use crate::error::{ApiError, ErrorEnvelope, Retry};

/// The header that carries the id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The layer; see the module.
pub(crate) async fn identify(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = RequestId::mint(&mut api.state.ambient.ids());
    // The path alone: keys do not belong into URLs, and if one is there it is not logged.
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(error) = error_of(&response) {
        response = envelope(&response, &error, &id);
    }
    tracing::debug!(%id, %method, path, status = response.status().as_u16(), "request");
    if response.status().is_server_error() {
        tracing::warn!(%id, %method, path, status = response.status().as_u16(), "a request failed");
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn error_of(response: &Response) -> Option<ApiError> {
    let marked = response.extensions().get::<ApiError>().cloned();
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    marked.or_else(|| (failed && !json).then(|| ApiError::of_status(status)))
}

fn envelope(before: &Response, error: &ApiError, id: &RequestId) -> Response {
    let mut response = (error.status, Json(ErrorEnvelope::new(error, id.clone()))).into_response();
    let headers = response.headers_mut();
    if let Some(allow) = before.headers().get(header::ALLOW) {
        headers.insert(header::ALLOW, allow.clone());
    }
    if error.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    match error.retry {
        Retry::AsUsual => {}
        Retry::Never => {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        Retry::After(seconds) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
    response
}
