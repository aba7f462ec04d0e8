//! Probes, and the description of the API. Open to anybody; they tell nothing about tenants.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::asset::Asset;
use crate::{limits, openapi};

static DESCRIPTION: LazyLock<Asset> = LazyLock::new(|| Asset::new("application/json", openapi::pretty()));

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(alive)).routes(routes!(ready)).routes(routes!(description))
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `ok`, or `unavailable`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Why it is not ready, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<&'static str>,
}

/// Whether the process is alive.
///
/// Answers as long as the process can answer anything. Under any host name, without a key.
#[utoipa::path(get, path = "/healthz", operation_id = "alive", tag = "probes", security(()), responses((status = 200, body = Health)))]
async fn alive() -> Json<Health> {
    Json(Health { status: "ok", reason: None })
}

/// Whether the server takes requests.
///
/// It does when it is not stopping and its store answers. Under any host name, without a key.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "probes", security(()), responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn ready(State(api): State<Api>) -> Response {
    match unready(&api).await {
        None => Json(Health { status: "ok", reason: None }).into_response(),
        reason => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable", reason })).into_response(),
    }
}

async fn unready(api: &Api) -> Option<&'static str> {
    if api.stopping.is_cancelled() {
        return Some("the server is stopping");
    }
    match tokio::time::timeout(limits::READY_WAIT, api.state.store.install_id()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            Some("the store does not answer; the server's log says why")
        }
        Err(_) => Some("the store does not answer in time"),
    }
}

/// This description.
///
/// Made from the routes of the running server. `/docs` shows it as a page.
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "probes", security(()),
    responses((status = 200, body = Object, description = "OpenAPI 3.1."), (status = 304, description = "The client has it.")))]
async fn description(headers: HeaderMap) -> Response {
    DESCRIPTION.answer(&headers)
}
