//! `/v1/sessions/{id}/threads`: a session has its primary thread and no other yet. These routes
//! exist for clients that name a `managed-agents` beta only.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use ostler_core::error::Refusal;
use ostler_core::ids::{SessionId, ThreadId};
use ostler_core::resources::session::{Session, SessionAgent, SessionStats, SessionStatus, SessionUsage};
use ostler_core::time::Timestamp;
use ostler_runtime::view::{session_resource, thread_id};
use ostler_store::{EventQuery, Order, SessionRow};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{events, sessions, stream};
use crate::api::Api;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::limits;
use crate::pagination::{List, ListPage};
use crate::path::{Id, Ids, PathId as _};
use crate::query::Params;

const BETA: &str = "anthropic-beta";
const BETA_FAMILY: &str = "managed-agents-";

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .routes(routes!(archive))
        .routes(routes!(list_events))
        .routes(routes!(stream_events))
}

/// One context inside a session.
#[derive(Debug, Serialize, ToSchema)]
struct SessionThread {
    /// Its id.
    id: ThreadId,
    /// Always `session_thread`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// Its agent.
    agent: SessionAgent,
    /// When it was archived.
    archived_at: Option<Timestamp>,
    /// When it was created.
    created_at: Timestamp,
    /// The thread that made it; null for the primary one.
    parent_thread_id: Option<ThreadId>,
    /// Its session.
    session_id: SessionId,
    /// Times.
    stats: SessionStats,
    /// What it does.
    status: SessionStatus,
    /// When it last changed.
    updated_at: Timestamp,
    /// What it used.
    usage: SessionUsage,
}

impl SessionThread {
    fn primary(row: &SessionRow, now: Timestamp) -> ApiResult<Self> {
        let session: Session = session_resource(row, now)?;
        Ok(Self {
            id: thread_id(row)?,
            kind: "session_thread",
            agent: session.agent,
            archived_at: session.archived_at,
            created_at: session.created_at,
            parent_thread_id: None,
            session_id: session.id,
            stats: session.stats,
            status: session.status,
            updated_at: session.updated_at,
            usage: session.usage,
        })
    }
}

/// The client named a `managed-agents` beta.
#[derive(Debug)]
struct Beta;

impl<S: Send + Sync> FromRequestParts<S> for Beta {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if named(&parts.headers) {
            return Ok(Self);
        }
        Err(Refusal::not_found("threads need the header \"anthropic-beta: managed-agents-2026-04-01\"").into())
    }
}

fn named(headers: &HeaderMap) -> bool {
    let values = headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|beta| beta.trim().starts_with(BETA_FAMILY))
}

/// The row of a session whose primary thread this is.
async fn row_of(api: &Api, caller: &Caller, session: &SessionId, thread: &ThreadId) -> ApiResult<SessionRow> {
    let row = sessions::row(api, caller, session).await?;
    if &thread_id(&row)? == thread { Ok(row) } else { Err(ThreadId::missing(thread.as_str()).into()) }
}

/// Lists the threads of a session.
///
/// A session has its primary thread and no other yet. Answers 404 without a `managed-agents` beta.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/threads", operation_id = "list_threads", tag = "threads",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("statuses[]" = Option<Vec<SessionStatus>>, Query, description = "In one of these states."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 1000 when left out.", minimum = 1, maximum = 1000),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<SessionThread>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    _: Beta,
    Id(id): Id<SessionId>,
    params: Params,
) -> ApiResult<Json<ListPage<SessionThread>>> {
    let statuses = params.all("statuses").into_iter().map(sessions::status).collect::<Result<Vec<_>, _>>()?;
    let kind = format!("thread:{id}");
    List { kind: &kind, order: Order::Ascending }.request(&params, limits::LONG_PAGE_MOST, limits::LONG_PAGE_MOST)?;
    let row = sessions::row(&api, &caller, &id).await?;
    let thread = SessionThread::primary(&row, api.now())?;
    let data = if statuses.is_empty() || statuses.contains(&thread.status) { vec![thread] } else { Vec::new() };
    Ok(Json(ListPage { data, next_page: None }))
}

/// Reads a thread.
///
/// Answers 404 without a `managed-agents` beta.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/threads/{thread_id}", operation_id = "read_thread", tag = "threads",
    params(("session_id" = SessionId, Path, description = "The session."), ("thread_id" = ThreadId, Path, description = "The thread.")),
    responses((status = 200, body = SessionThread)))]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    _: Beta,
    Ids(session, thread): Ids<SessionId, ThreadId>,
) -> ApiResult<Json<SessionThread>> {
    let row = row_of(&api, &caller, &session, &thread).await?;
    Ok(Json(SessionThread::primary(&row, api.now())?))
}

/// Archives a thread.
///
/// The primary one is archived with its session only, and there is no other yet: this is always refused.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/threads/{thread_id}/archive", operation_id = "archive_thread", tag = "threads",
    params(("session_id" = SessionId, Path, description = "The session."), ("thread_id" = ThreadId, Path, description = "The thread.")),
    responses((status = 200, body = SessionThread)))]
async fn archive(
    State(api): State<Api>,
    caller: Caller,
    _: Beta,
    Ids(session, thread): Ids<SessionId, ThreadId>,
) -> ApiResult<Json<SessionThread>> {
    row_of(&api, &caller, &session, &thread).await?;
    Err(Refusal::invalid("the primary thread cannot be archived; archive the session").into())
}

/// Lists the events of a thread, oldest first.
///
/// Those of the session, because it has one thread. Answers 404 without a `managed-agents` beta.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/threads/{thread_id}/events", operation_id = "list_thread_events", tag = "threads",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("thread_id" = ThreadId, Path, description = "The thread."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 100 when left out.", minimum = 1, maximum = 1000),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<ostler_core::events::wire::Event>)))]
async fn list_events(
    State(api): State<Api>,
    caller: Caller,
    _: Beta,
    Ids(session, thread): Ids<SessionId, ThreadId>,
    params: Params,
) -> ApiResult<Response> {
    row_of(&api, &caller, &session, &thread).await?;
    events::history(&api, &caller, &session, &params, EventQuery::after(0, 0)).await
}

/// Streams the events of a thread from now on, or from a position on.
///
/// As the session's stream. Answers 404 without a `managed-agents` beta.
#[utoipa::path(get, path = "/v1/sessions/{session_id}/threads/{thread_id}/stream", operation_id = "stream_thread_events", tag = "threads",
    params(
        ("session_id" = SessionId, Path, description = "The session."),
        ("thread_id" = ThreadId, Path, description = "The thread."),
        ("event_deltas[]" = Option<Vec<String>>, Query, description = "Previews while they are made: agent.message, agent.thinking."),
        ("after" = Option<u64>, Query, description = "Start behind this position. An extension."),
        ("last-event-id" = Option<u64>, Header, description = "The same; wins over after."),
    ),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Frames as on the session's stream.")))]
async fn stream_events(
    State(api): State<Api>,
    caller: Caller,
    _: Beta,
    Ids(session, thread): Ids<SessionId, ThreadId>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult<Response> {
    row_of(&api, &caller, &session, &thread).await?;
    stream::follow(api, caller, &session, &params, &headers).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_managed_agents_beta_counts() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(BETA, value.parse().unwrap());
            }
            named(&headers)
        };
        assert!(with(&["managed-agents-2026-04-01"]) && with(&["a, managed-agents-2027-01-01"]) && with(&["a", "managed-agents-x"]));
        assert!(!with(&[]) && !with(&["files-api-2025-04-14"]) && !with(&["x-managed-agents-1"]));
    }
}
