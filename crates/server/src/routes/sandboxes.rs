//! `/v1/x/sandboxes`: the sandboxes that live, and ending one by hand.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ostler_core::ids::SessionId;
use ostler_runtime::sandbox::Living;
use serde::Serialize;
use tokio_util::io::ReaderStream;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::ListPage;
use crate::path::Id;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(kill)).routes(routes!(archive))
}

/// A sandbox that lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sandbox {
    /// Always `sandbox`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// Whose it is.
    session_id: SessionId,
    /// For how long it has lived, in milliseconds.
    age_ms: u64,
    /// Bytes of memory of all its processes, `/tmp` included; null where they are not counted.
    memory_bytes: Option<u64>,
    /// Processes and threads; null where they are not counted.
    processes: Option<u64>,
    /// Processor time in milliseconds; null where it is not counted.
    cpu_ms: Option<u64>,
}

impl From<Living> for Sandbox {
    fn from(living: Living) -> Self {
        let Living { session, age_ms, memory_bytes, processes, cpu_ms } = living;
        Self { kind: "sandbox", session_id: session, age_ms, memory_bytes, processes, cpu_ms }
    }
}

/// A sandbox that was ended.
#[derive(Debug, Serialize, ToSchema)]
struct KilledSandbox {
    /// Always `sandbox_killed`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// Whose it was.
    session_id: SessionId,
}

/// Lists the sandboxes of the workspace that live.
///
/// With what each uses now. Sessions whose sandbox is parked are not in it. All on one page. An extension.
#[utoipa::path(get, path = "/v1/x/sandboxes", operation_id = "list_sandboxes", tag = "platform", responses((status = 200, body = ListPage<Sandbox>)))]
async fn list(State(api): State<Api>, caller: Caller) -> ApiResult<Json<ListPage<Sandbox>>> {
    let living = api.state.router.sandboxes(&caller.scope).await?;
    Ok(Json(ListPage { data: living.into_iter().map(Sandbox::from).collect(), next_page: None }))
}

/// Ends the sandbox of a session at once.
///
/// When the answer comes, none of its processes is left, whatever they do about it. Files stay, the next call
/// starts another sandbox, and of a call that ran the model is told that its outcome is unknown. The same answer
/// when none lived. An extension.
#[utoipa::path(delete, path = "/v1/x/sandboxes/{session_id}", operation_id = "kill_sandbox", tag = "platform",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = KilledSandbox)))]
async fn kill(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<KilledSandbox>> {
    api.state.router.kill_sandbox(&caller.scope, &id).await?;
    Ok(Json(KilledSandbox { kind: "sandbox_killed", session_id: id }))
}

/// The files of a session, as an archive.
///
/// A tar archive of `workspace/`, `home/`, `outputs/`, `uploads/` and `shell/`, made inside the sandbox; one that is
/// parked is started for it. Files that change meanwhile are as they were when they were read. 404 for a session
/// that has had no sandbox yet. An extension.
#[utoipa::path(get, path = "/v1/x/sandboxes/{session_id}/archive", operation_id = "archive_sandbox", tag = "platform",
    params(("session_id" = SessionId, Path, description = "The session.")),
    responses((status = 200, description = "The archive.", content_type = "application/x-tar", body = Vec<u8>)))]
async fn archive(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Response> {
    let archive = api.state.router.archive_sandbox(&caller.scope, &id).await?;
    let length = archive.metadata().map_or(0, |meta| meta.len());
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(archive), limits::ARCHIVE_PIECE);
    let headers = [(CONTENT_TYPE, "application/x-tar".to_owned()), (CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(stream)).into_response())
}
