//! `/v1/agents`: definitions in immutable versions.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::{AgentId, IdSource};
use ostler_core::resources::agent::{AgentBody, AgentCreateParams, AgentUpdateParams};
use ostler_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::documents::{self, Resource, Stored};
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::ListPage;
use crate::path::Id;
use crate::query::Params;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update)).routes(routes!(archive)).routes(routes!(versions))
}

/// An agent, in one version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Agent {
    /// Its id.
    id: AgentId,
    /// Always `agent`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The version; 1 at first, one more with every change.
    version: u64,
    /// When the agent was created.
    created_at: Timestamp,
    /// When this version was made.
    updated_at: Timestamp,
    /// When it was archived.
    archived_at: Option<Timestamp>,
    /// What it is.
    #[serde(flatten)]
    body: AgentBody,
}

impl Resource for AgentBody {
    type Id = AgentId;
    type Wire = Agent;

    const KIND: &'static str = "agent";
    const KEEPS_VERSIONS: bool = true;
    const ARCHIVED_CODE: Option<&'static str> = None;
    const PAGE_MOST: usize = limits::PAGE_MOST;

    fn mint(source: &mut IdSource) -> AgentId {
        AgentId::mint(source)
    }

    fn wire(stored: Stored<Self>) -> Agent {
        let Stored { id, version, created_at, updated_at, archived_at, body, .. } = stored;
        Agent { id, kind: "agent", version, created_at, updated_at, archived_at, body: *body }
    }
}

/// Creates an agent.
///
/// Stores version 1 of a definition of model, prompt and tools. `skills`, `multiagent` and other execution
/// identities than `service_account` are refused with 400: they are not built yet.
#[utoipa::path(post, path = "/v1/agents", operation_id = "create_agent", tag = "agents", request_body = AgentCreateParams, responses((status = 200, body = Agent)))]
async fn create(State(api): State<Api>, caller: Caller, JsonBody(params, _room): JsonBody<AgentCreateParams>) -> ApiResult<Json<Agent>> {
    Ok(Json(documents::create(&api, &caller, AgentBody::create(params)?).await?))
}

/// Lists agents, newest first.
///
/// Each agent in its latest version. Send `next_page` as `page` for more, with the same filters.
#[utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", tag = "agents",
    params(
        ("created_at[gte]" = Option<Timestamp>, Query, description = "Created at or after; also gt, lte and lt."),
        ("include_archived" = Option<bool>, Query, description = "Archived ones as well."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 when left out.", minimum = 1, maximum = 100),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Agent>)))]
async fn list(State(api): State<Api>, caller: Caller, params: Params) -> ApiResult<Json<ListPage<Agent>>> {
    Ok(Json(documents::list::<AgentBody>(&api, &caller, &params, None).await?))
}

/// Reads an agent, as it is or in a version.
///
/// Every version stays readable, also after the agent was archived.
#[utoipa::path(get, path = "/v1/agents/{agent_id}", operation_id = "read_agent", tag = "agents",
    params(("agent_id" = AgentId, Path, description = "The agent."), ("version" = Option<u64>, Query, description = "The latest when left out.")),
    responses((status = 200, body = Agent)))]
async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<AgentId>, params: Params) -> ApiResult<Json<Agent>> {
    let stored = documents::read::<AgentBody>(&api, &caller, &id, params.number("version")?).await?;
    Ok(Json(AgentBody::wire(stored)))
}

/// Changes an agent, which makes a new version if it changes anything.
///
/// Fields that are left out stay. With `version`, another current version is answered with 409; without, the
/// last update wins. Sessions that exist keep the version that they were made with.
#[utoipa::path(post, path = "/v1/agents/{agent_id}", operation_id = "update_agent", tag = "agents",
    params(("agent_id" = AgentId, Path, description = "The agent.")), request_body = AgentUpdateParams, responses((status = 200, body = Agent)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<AgentId>,
    JsonBody(params, _room): JsonBody<AgentUpdateParams>,
) -> ApiResult<Json<Agent>> {
    let change = |body: &AgentBody| body.updated(params.clone());
    Ok(Json(documents::update(&api, &caller, &id, params.version, change).await?))
}

/// Archives an agent, for good.
///
/// Its sessions go on; new ones cannot be made from it. Archiving it again changes nothing.
#[utoipa::path(post, path = "/v1/agents/{agent_id}/archive", operation_id = "archive_agent", tag = "agents",
    params(("agent_id" = AgentId, Path, description = "The agent.")), responses((status = 200, body = Agent)))]
async fn archive(State(api): State<Api>, caller: Caller, Id(id): Id<AgentId>) -> ApiResult<Json<Agent>> {
    Ok(Json(documents::archive::<AgentBody>(&api, &caller, &id).await?))
}

/// Lists the versions of an agent, newest first.
///
/// `archived_at` is that of the agent, in all its versions.
#[utoipa::path(get, path = "/v1/agents/{agent_id}/versions", operation_id = "list_agent_versions", tag = "agents",
    params(
        ("agent_id" = AgentId, Path, description = "The agent."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 when left out.", minimum = 1, maximum = 100),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Agent>)))]
async fn versions(State(api): State<Api>, caller: Caller, Id(id): Id<AgentId>, params: Params) -> ApiResult<Json<ListPage<Agent>>> {
    Ok(Json(documents::versions::<AgentBody>(&api, &caller, &id, &params).await?))
}
