//! `/v1/x/sessions/{id}/confirmations`: requests of sandboxes about which a person is asked.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::{ConfirmationId, SessionId};
use ostler_core::resources::confirmation::{ConfirmationParams, NetworkConfirmation};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::ApiResult;
use crate::pagination::ListPage;
use crate::path::{Id, Ids};

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(answer))
}

/// Lists the requests of a session's sandbox about which a person is asked.
///
/// Those that wait have `answer` null. Those with an answer that still counts are listed as well: with `remember` `session`, and
/// with `once` until a request has used it. The oldest first, all on one page. An extension.
#[utoipa::path(get, path = "/v1/x/sessions/{session_id}/confirmations", operation_id = "list_confirmations", tag = "platform",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = ListPage<NetworkConfirmation>)))]
async fn list(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<ListPage<NetworkConfirmation>>> {
    let known = api.state.router.confirmations(&caller.scope, &id).await?;
    Ok(Json(ListPage { data: known.into_iter().map(|asked| asked.wire(id.clone())).collect(), next_page: None }))
}

/// Answers whether a request may go.
///
/// With `remember` `once`, the usual, one request with this host, port, method and path may go, or is refused; with `session` all
/// of them until the session is archived. Each is answered once: a second answer is refused with 400. An extension.
#[utoipa::path(post, path = "/v1/x/sessions/{session_id}/confirmations/{confirmation_id}", operation_id = "answer_confirmation", tag = "platform",
    params(("session_id" = SessionId, Path, description = "The session."), ("confirmation_id" = ConfirmationId, Path, description = "The confirmation.")),
    request_body = ConfirmationParams, responses((status = 200, body = NetworkConfirmation)))]
async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Ids(session, id): Ids<SessionId, ConfirmationId>,
    JsonBody(params, _room): JsonBody<ConfirmationParams>,
) -> ApiResult<Json<NetworkConfirmation>> {
    let ConfirmationParams { result, remember } = params;
    let answered = api.state.router.answer_confirmation(&caller.scope, &session, &id, result, remember).await?;
    Ok(Json(answered.wire(session)))
}
