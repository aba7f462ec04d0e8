//! `/v1/sessions`: creating, reading, changing, listing and ending sessions.

use axum::Json;
use axum::extract::State;
use ostler_core::error::Refusal;
use ostler_core::events::client;
use ostler_core::ids::{AgentId, EnvironmentId, SessionId, VaultId};
use ostler_core::resources::agent::AgentBody;
use ostler_core::resources::environment::{Config, EnvironmentBody};
use ostler_core::resources::session::{
    AgentRef, Session, SessionAgent, SessionCreateParams, SessionStatus, SessionUpdateParams, check_create,
};
use ostler_core::resources::vault::VaultBody;
use ostler_core::time::Timestamp;
use ostler_runtime::error::RuntimeError;
use ostler_runtime::router::{Command, NewSession, Reply};
use ostler_runtime::view::session_resource;
use ostler_store::{Cursor, Direction, Order, SessionFilter, SessionRow};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::documents;
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::{self, List, TwoWayPage, check_span};
use crate::path::{self, Id, PathId as _};
use crate::query::Params;

const STATUSES: [SessionStatus; 4] = [SessionStatus::Idle, SessionStatus::Running, SessionStatus::Rescheduling, SessionStatus::Terminated];

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete)).routes(routes!(archive))
}

/// A deleted session.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedSession {
    /// Its id.
    id: SessionId,
    /// Always `session_deleted`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
}

/// Creates a session, and starts it if it comes with messages.
///
/// The session keeps a copy of the agent in the version that is named, or the latest. It may use the credentials of
/// the vaults it names. `resources` must be empty.
#[utoipa::path(post, path = "/v1/sessions", operation_id = "create_session", tag = "sessions", request_body = SessionCreateParams, responses((status = 200, body = Session)))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(params, _room): JsonBody<SessionCreateParams>,
) -> ApiResult<Json<Session>> {
    check_create(&params)?;
    let events = match params.initial_events {
        Some(values) if !values.is_empty() => client::parse_initial(values)?,
        _ => Vec::new(),
    };
    let agent = agent(&api, &caller, params.agent).await?;
    let environment_id = environment(&api, &caller, &params.environment_id).await?;
    let vaults = vaults(&api, &caller, params.vault_ids.unwrap_or_default()).await?;
    let new = NewSession {
        agent,
        environment_id,
        title: params.title,
        metadata: params.metadata.unwrap_or_default(),
        vaults,
        budget: params.budget,
        events,
    };
    let row = api.state.router.create(&caller.scope, new).await?;
    resource(&api, &row)
}

/// The agent of a new session.
async fn agent(api: &Api, caller: &Caller, wanted: AgentRef) -> ApiResult<SessionAgent> {
    let (id, version) = wanted.target();
    let id: AgentId = path::parse(id)?;
    let stored = documents::read::<AgentBody>(api, caller, &id, version).await?;
    if stored.archived_at.is_some() {
        return Err(Refusal::invalid(format!("agent: {:?} is archived; new sessions need another agent", id.as_str())).into());
    }
    Ok(wanted.snapshot(id, stored.version, *stored.body)?)
}

/// The environment of a new session.
async fn environment(api: &Api, caller: &Caller, id: &str) -> ApiResult<EnvironmentId> {
    let id: EnvironmentId = path::parse(id)?;
    let stored = documents::read::<EnvironmentBody>(api, caller, &id, None).await?;
    if stored.archived_at.is_some() {
        let refusal = Refusal::invalid(format!("environment_id: {:?} is archived; new sessions need another environment", id.as_str()));
        return Err(refusal.with_code("environment_archived").into());
    }
    if matches!(stored.body.config, Config::SelfHosted {}) {
        return Err(Refusal::invalid(
            "environment_id: sessions in self-hosted environments are not supported by this server yet; use one with config.type \"cloud\"",
        )
        .into());
    }
    Ok(id)
}

/// The vaults of a new session.
async fn vaults(api: &Api, caller: &Caller, ids: Vec<String>) -> ApiResult<Vec<VaultId>> {
    let mut vaults: Vec<VaultId> = Vec::with_capacity(ids.len());
    for id in &ids {
        let id: VaultId = path::parse(id)?;
        if vaults.contains(&id) {
            return Err(Refusal::invalid(format!("vault_ids: {:?} is named twice", id.as_str())).into());
        }
        if documents::read::<VaultBody>(api, caller, &id, None).await?.archived_at.is_some() {
            return Err(Refusal::invalid(format!("vault_ids: {:?} is archived; new sessions need another vault", id.as_str())).into());
        }
        vaults.push(id);
    }
    Ok(vaults)
}

/// Lists sessions, newest first.
///
/// `order` turns that round. Send `next_page` or `prev_page` as `page`, with the same filters and the same
/// order.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions",
    params(
        ("agent_id" = Option<String>, Query, description = "Made from this agent."),
        ("agent_version" = Option<u64>, Query, description = "Made from this version of it."),
        ("environment_id" = Option<String>, Query, description = "In this environment. An extension."),
        ("deployment_id" = Option<String>, Query, description = "Made by this deployment."),
        ("memory_store_id" = Option<String>, Query, description = "With this memory store; none has one yet."),
        ("statuses[]" = Option<Vec<SessionStatus>>, Query, description = "In one of these states."),
        ("created_at[gte]" = Option<Timestamp>, Query, description = "Created at or after; also gt, lte and lt."),
        ("include_archived" = Option<bool>, Query, description = "Archived ones as well."),
        ("order" = Option<String>, Query, description = "desc (usual) or asc."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 20 when left out.", minimum = 1, maximum = 1000),
        ("page" = Option<String>, Query, description = "next_page or prev_page of an answer before."),
    ),
    responses((status = 200, body = TwoWayPage<Session>)))]
async fn list(State(api): State<Api>, caller: Caller, params: Params) -> ApiResult<Json<TwoWayPage<Session>>> {
    let order = pagination::order(&params, Order::Descending)?;
    let cursors = List { kind: "session", order };
    let request = cursors.request(&params, limits::PAGE, limits::LONG_PAGE_MOST)?;
    let Some(filter) = filter(&params)? else {
        return Ok(Json(TwoWayPage { data: Vec::new(), next_page: None, prev_page: None }));
    };
    check_span(&request, &filter.created)?;
    let page = api.state.store.sessions(&caller.scope, &filter, order, &request).await?;
    let now = api.now();
    let data = page.rows.iter().map(|row| session_resource(row, now)).collect::<Result<Vec<_>, _>>()?;
    let token = |row: &SessionRow, direction| cursors.token(Cursor::of_session(row), direction);
    Ok(Json(TwoWayPage {
        data,
        next_page: page.rows.last().filter(|_| page.has_next).map(|row| token(row, Direction::Forward)),
        prev_page: page.rows.first().filter(|_| page.has_prev).map(|row| token(row, Direction::Backward)),
    }))
}

/// What to list; `None` when nothing can match.
fn filter(params: &Params) -> Result<Option<SessionFilter>, Refusal> {
    let statuses = params.all("statuses").into_iter().map(status).collect::<Result<Vec<_>, _>>()?;
    let mut filter = SessionFilter {
        agent_version: params.number("agent_version")?,
        deployment_id: params.one("deployment_id").map(str::to_owned),
        statuses: statuses.into_iter().map(|status| status.as_str().to_owned()).collect(),
        created: params.span("created_at")?,
        include_archived: params.flag("include_archived")?,
        ..SessionFilter::default()
    };
    if params.one("memory_store_id").is_some() {
        return Ok(None);
    }
    if let Some(text) = params.one("agent_id") {
        let Ok(id) = text.parse() else { return Ok(None) };
        filter.agent_id = Some(id);
    }
    if let Some(text) = params.one("environment_id") {
        let Ok(id) = text.parse() else { return Ok(None) };
        filter.environment_id = Some(id);
    }
    Ok(Some(filter))
}

pub(super) fn status(text: &str) -> Result<SessionStatus, Refusal> {
    STATUSES
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| Refusal::invalid("statuses: must be idle, running, rescheduling or terminated"))
}

/// Reads a session.
///
/// As it is at this moment; to follow it, read its stream.
#[utoipa::path(get, path = "/v1/sessions/{session_id}", operation_id = "read_session", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = Session)))]
async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<Session>> {
    let row = row(&api, &caller, &id).await?;
    resource(&api, &row)
}

/// The row of a session of this caller.
pub(super) async fn row(api: &Api, caller: &Caller, id: &SessionId) -> ApiResult<SessionRow> {
    let found = api.state.store.session(&caller.scope, id).await?;
    Ok(found.ok_or_else(|| SessionId::missing(id.as_str()))?)
}

pub(super) fn resource(api: &Api, row: &SessionRow) -> ApiResult<Json<Session>> {
    Ok(Json(session_resource(row, api.now())?))
}

pub(super) fn updated(api: &Api, reply: Reply) -> ApiResult<Json<Session>> {
    resource(api, &reply.row.ok_or(RuntimeError::SessionFailed)?)
}

/// Changes a session.
///
/// Title, metadata and budget at any time, tools and MCP servers while it is idle. Fields that are left out
/// stay.
#[utoipa::path(post, path = "/v1/sessions/{session_id}", operation_id = "update_session", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session.")), request_body = SessionUpdateParams, responses((status = 200, body = Session)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<SessionId>,
    JsonBody(params, _room): JsonBody<SessionUpdateParams>,
) -> ApiResult<Json<Session>> {
    let reply = api.state.router.submit(&caller.scope, &id, Command::Update(Box::new(params))).await?;
    updated(&api, reply)
}

/// Deletes a session with its history and its sandbox.
///
/// Refused with 400 while it runs: send `user.interrupt` and wait until it is idle.
#[utoipa::path(delete, path = "/v1/sessions/{session_id}", operation_id = "delete_session", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = DeletedSession)))]
async fn delete(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<DeletedSession>> {
    api.state.router.delete(&caller.scope, &id).await?;
    Ok(Json(DeletedSession { id, kind: "session_deleted" }))
}

/// Ends a session for good and keeps its history.
///
/// Its sandbox goes. Refused with 400 while it runs: send `user.interrupt` and wait until it is idle.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/archive", operation_id = "archive_session", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session.")), responses((status = 200, body = Session)))]
async fn archive(State(api): State<Api>, caller: Caller, Id(id): Id<SessionId>) -> ApiResult<Json<Session>> {
    let reply = api.state.router.submit(&caller.scope, &id, Command::Archive).await?;
    updated(&api, reply)
}
