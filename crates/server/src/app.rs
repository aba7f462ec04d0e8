//! All routes and the layers around them, outermost first: request id and error envelope, panics,
//! host name, key, route. What changes something is a task of its own inside these.

use std::any::Any;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::Api;
use crate::config::AppState;
use crate::error::ApiError;
use crate::routes::{docs, unbuilt};
use crate::{auth, host, openapi, request_id};

/// Paths that anybody may read, under any host name.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
const OPENAPI: &str = "/openapi.json";

pub(crate) fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

pub(crate) fn is_open(path: &str) -> bool {
    is_probe(path) || path == OPENAPI || docs::PATHS.contains(&path)
}

/// The whole API as a service. [`crate::serve`] is the way to run it on a socket.
pub fn app(state: AppState) -> Router {
    router(Api::new(state, CancellationToken::new()))
}

pub(crate) fn router(api: Api) -> Router {
    openapi::routes()
        .merge(docs::routes())
        .fallback(unbuilt::fallback)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), auth::authenticate))
        .layer(from_fn_with_state(api.clone(), host::check))
        .layer(from_fn(to_its_end))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(api.clone(), request_id::identify))
        .with_state(api)
}

/// What changes something goes on when the client goes away: half of it would be stored and nobody told.
async fn to_its_end(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => ApiError::internal().into_response(),
        },
    }
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} is not possible here; the header Allow names what is", request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no text"), "a handler panicked");
    ApiError::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changes_something_goes_on_without_its_client() {
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        let parts = std::sync::Arc::new(std::sync::Mutex::new(Some((opened, done))));
        let work = move || async move {
            let (opened, done) = parts.lock().unwrap().take().unwrap();
            let _ = opened.await;
            let _ = done.send(());
        };
        let app: Router = Router::new().route("/", axum::routing::post(work)).layer(from_fn(to_its_end));
        let request = http::Request::post("/").body(axum::body::Body::empty()).unwrap();
        let mut asked = Box::pin(tower::ServiceExt::oneshot(app, request));
        assert!(futures::poll!(asked.as_mut()).is_pending());
        drop(asked);
        open.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[test]
    fn a_panic_tells_the_client_nothing() {
        let response = panicked(Box::new("secret".to_owned()));
        let error = response.extensions().get::<ApiError>().unwrap();
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.message.contains("secret"));
    }
}
