//! From what went wrong to what the client gets: the one place that chooses a status. The envelope
//! itself is written in `request_id`, where the request's id is known.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ostler_core::error::{Refusal, RefusalKind};
use ostler_core::ids::RequestId;
use ostler_core::limits::ERROR_MESSAGE_CHARS;
use ostler_runtime::error::RuntimeError;
use ostler_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the client should send the same request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// As the status says.
    AsUsual,
    /// It cannot help.
    Never,
    /// After so many seconds.
    After(u32),
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) code: Option<&'static str>,
    pub(crate) retry: Retry,
}

/// What a handler returns.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), code: None, retry: Retry::AsUsual }
    }

    pub(crate) fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "a valid API key is needed: send it as \"Authorization: Bearer <key>\" or \"x-api-key: <key>\"",
        )
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the request body is larger than {} MiB", limit >> 20);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message).retry(Retry::After(5))
    }

    pub(crate) fn unavailable(message: impl Into<String>, seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "api_error", message).retry(Retry::After(seconds))
    }

    /// Our fault; the details are in the log only.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api_error",
            "an internal error; the server's log has the details under this request id",
        )
    }

    /// An error that was made outside of our handlers, such as by the HTTP library.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let message = status.canonical_reason().unwrap_or("the request failed").to_lowercase();
        match status {
            StatusCode::NOT_FOUND => Self::new(status, "not_found_error", message),
            status if status.is_server_error() => Self::new(status, "api_error", message),
            status => Self::new(status, "invalid_request_error", message),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (status, kind, retry) = match refusal.kind {
            RefusalKind::Invalid => (StatusCode::BAD_REQUEST, "invalid_request_error", Retry::AsUsual),
            RefusalKind::NotFound => (StatusCode::NOT_FOUND, "not_found_error", Retry::AsUsual),
            RefusalKind::Conflict => (StatusCode::CONFLICT, "conflict_error", Retry::Never),
            RefusalKind::Forbidden => (StatusCode::FORBIDDEN, "permission_error", Retry::AsUsual),
            RefusalKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "api_error", Retry::After(5)),
        };
        Self { status, kind, message: refusal.message, code: refusal.code, retry }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Refusal::not_found("there is no such thing").into(),
            StoreError::Conflict(why) => Refusal::conflict(why).into(),
            StoreError::Invalid(why) => Refusal::invalid(why).into(),
            StoreError::CapReached | StoreError::CapNeedsPrice => Refusal::invalid(error.to_string()).into(),
            StoreError::Stale => Self::unavailable("another process has taken this session over; try again in a moment", 1),
            StoreError::Full => Self::unavailable("the disk of the server's data directory is full; free some space, then try again", 30),
            StoreError::Unavailable(why) => {
                tracing::error!(%why, "the store is unavailable");
                Self::unavailable("the store cannot answer now; try again in a moment", 2)
            }
            error @ (StoreError::OutOfScope(_) | StoreError::Incompatible { .. } | StoreError::Corrupt(_)) => {
                tracing::error!(%error, "the store refused what should be possible");
                Self::internal()
            }
        }
    }
}

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Refused(refusal) => refusal.into(),
            RuntimeError::Store(error) => error.into(),
            RuntimeError::Sandboxes(_) => Self::unavailable(error.to_string(), 5),
            RuntimeError::SessionFailed => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "api_error", error.to_string()).retry(Retry::Never),
            RuntimeError::TimedOut => Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", error.to_string()).retry(Retry::Never),
            RuntimeError::Stopping => Self::unavailable(error.to_string(), 2),
        }
    }
}

impl IntoResponse for ApiError {
    /// Only marks the response; the envelope around it is written where the request's id is known.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What the body of every error is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorEnvelope {
    /// Always `error`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// What went wrong.
    error: ErrorBody,
    /// The request's id, as in the header `request-id`.
    #[schema(value_type = String)]
    request_id: RequestId,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// The class of errors, such as `invalid_request_error`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// For people; says what to do where something can be done.
    message: String,
    /// A stable name of the reason, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<ErrorDetails>,
}

/// A stable name of the reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetails {
    /// Such as `environment_archived`.
    #[schema(value_type = String)]
    error_code: &'static str,
}

impl ErrorEnvelope {
    pub(crate) fn new(error: &ApiError, request_id: RequestId) -> Self {
        let message = match error.message.char_indices().nth(ERROR_MESSAGE_CHARS) {
            Some((end, _)) => format!("{}...", &error.message[..end]),
            None => error.message.clone(),
        };
        let details = error.code.map(|error_code| ErrorDetails { error_code });
        Self { kind: "error", error: ErrorBody { kind: error.kind, message, details }, request_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_status() {
        let table = [
            (RefusalKind::Invalid, 400, "invalid_request_error"),
            (RefusalKind::NotFound, 404, "not_found_error"),
            (RefusalKind::Conflict, 409, "conflict_error"),
            (RefusalKind::Forbidden, 403, "permission_error"),
            (RefusalKind::Unavailable, 503, "api_error"),
        ];
        for (kind, status, name) in table {
            let error = ApiError::from(Refusal { kind, message: "m".into(), code: None });
            assert_eq!((error.status.as_u16(), error.kind), (status, name));
        }
    }

    #[test]
    fn damage_in_the_store_is_not_told_to_clients() {
        let error = ApiError::from(StoreError::Corrupt("row of sesn_secret".into()));
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.message.contains("sesn_secret"));
        let full = ApiError::from(StoreError::Full);
        assert_eq!((full.status.as_u16(), full.retry), (503, Retry::After(30)));
        assert!(full.message.contains("free some space"));
    }

    #[test]
    fn a_command_that_may_have_taken_effect_is_not_to_be_repeated() {
        assert_eq!(ApiError::from(RuntimeError::TimedOut).retry, Retry::Never);
        assert_eq!(ApiError::from(RuntimeError::SessionFailed).retry, Retry::Never);
        assert_eq!(ApiError::from(RuntimeError::Stopping).retry, Retry::After(2));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let error = ApiError::from(Refusal::invalid("é".repeat(5_000)));
        let id: RequestId = "req_1".parse().unwrap();
        assert_eq!(ErrorEnvelope::new(&error, id).error.message.chars().count(), ERROR_MESSAGE_CHARS + 3);
    }
}
