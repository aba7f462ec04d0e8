//! `/v1/x/sessions/{id}/retry`: a session that was set aside after repeated failures goes on.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::SessionId;
use ostler_core::resources::session::Session;
use ostler_runtime::router::Command;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions;
use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::path::Id;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(retry))
}

/// Lets a session go on that was set aside.
///
/// A session is set aside when it was taken up three times in a row and died each time without getting on;
/// a `session.error` says so. For other sessions this is refused with 400. An extension.
#[utoipa::path(post, path = "/v1/x/sessions/{session_id}/retry", operation_id = "retry_session", tag = "platform",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = Session)))]
async fn retry(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<Session>> {
    let reply = api.state.router.submit(&caller.scope, &id, Command::Retry).await?;
    sessions::updated(&api, reply)
}
