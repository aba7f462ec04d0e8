//! `/v1/environments`: what sandboxes offer.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::{EnvironmentId, IdSource};
use ostler_core::resources::environment::{EnvironmentBody, EnvironmentCreateParams, EnvironmentUpdateParams};
use ostler_core::time::Timestamp;
use ostler_runtime::network::Changed;
use ostler_store::SessionRef;
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
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete)).routes(routes!(archive))
}

/// An environment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Environment {
    /// Its id.
    id: EnvironmentId,
    /// Always `environment`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// When it was created.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
    /// When it was archived.
    archived_at: Option<Timestamp>,
    /// What this server does not do as the settings say, for people. An extension.
    notices: Vec<String>,
    /// What it is.
    #[serde(flatten)]
    body: EnvironmentBody,
}

/// A deleted environment.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedEnvironment {
    /// Its id.
    id: EnvironmentId,
    /// Always `environment_deleted`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
}

impl Resource for EnvironmentBody {
    type Id = EnvironmentId;
    type Wire = Environment;

    const KIND: &'static str = "environment";
    const KEEPS_VERSIONS: bool = false;
    const ARCHIVED_CODE: Option<&'static str> = Some("environment_archived");
    const PAGE_MOST: usize = limits::LONG_PAGE_MOST;

    fn mint(source: &mut IdSource) -> EnvironmentId {
        EnvironmentId::mint(source)
    }

    fn wire(stored: Stored<Self>) -> Environment {
        let Stored { id, created_at, updated_at, archived_at, body, .. } = stored;
        Environment { id, kind: "environment", created_at, updated_at, archived_at, notices: body.notices(), body: *body }
    }
}

/// Creates an environment.
///
/// What is left out of `config` is filled in. `notices` in the answer say what this server does not do as the
/// settings say, such as that packages are not installed.
#[utoipa::path(post, path = "/v1/environments", operation_id = "create_environment", tag = "environments", request_body = EnvironmentCreateParams, responses((status = 200, body = Environment)))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(params, _room): JsonBody<EnvironmentCreateParams>,
) -> ApiResult<Json<Environment>> {
    let body = EnvironmentBody::create(params)?;
    api.state.router.check_environment(&body)?;
    Ok(Json(documents::create(&api, &caller, body).await?))
}

/// Lists environments, newest first.
///
/// Send `next_page` as `page` for more, with the same filters.
#[utoipa::path(get, path = "/v1/environments", operation_id = "list_environments", tag = "environments",
    params(
        ("created_at[gte]" = Option<Timestamp>, Query, description = "Created at or after; also gt, lte and lt."),
        ("include_archived" = Option<bool>, Query, description = "Archived ones as well."),
        ("limit" = Option<u32>, Query, description = "1 to 1000; 20 when left out.", minimum = 1, maximum = 1000),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Environment>)))]
async fn list(State(api): State<Api>, caller: Caller, params: Params) -> ApiResult<Json<ListPage<Environment>>> {
    Ok(Json(documents::list::<EnvironmentBody>(&api, &caller, &params, None).await?))
}

/// Reads an environment.
///
/// Archived ones can be read, too.
#[utoipa::path(get, path = "/v1/environments/{environment_id}", operation_id = "read_environment", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), responses((status = 200, body = Environment)))]
async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<EnvironmentId>) -> ApiResult<Json<Environment>> {
    Ok(Json(EnvironmentBody::wire(documents::read(&api, &caller, &id, None).await?)))
}

/// Changes an environment.
///
/// Fields that are left out stay, also inside `config`, whose type cannot change. Sessions that exist keep
/// their sandboxes.
#[utoipa::path(post, path = "/v1/environments/{environment_id}", operation_id = "update_environment", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), request_body = EnvironmentUpdateParams, responses((status = 200, body = Environment)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<EnvironmentId>,
    JsonBody(params, _room): JsonBody<EnvironmentUpdateParams>,
) -> ApiResult<Json<Environment>> {
    let change = |body: &EnvironmentBody| {
        let next = body.updated(params.clone())?;
        // What was allowed when it was asked for stays.
        let mut asked = next.clone();
        asked.sandbox = asked.sandbox.filter(|_| params.sandbox.is_some());
        asked.egress = asked.egress.filter(|_| params.egress.is_some());
        api.state.router.check_environment(&asked)?;
        Ok(next)
    };
    let updated = documents::update(&api, &caller, &id, None, change).await?;
    api.state.router.changed(Changed::Environment(&id)).await;
    Ok(Json(updated))
}

/// Deletes an environment that no session refers to.
///
/// While sessions refer to it the answer is 409: delete those first, or archive the
/// environment.
#[utoipa::path(delete, path = "/v1/environments/{environment_id}", operation_id = "delete_environment", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), responses((status = 200, body = DeletedEnvironment)))]
async fn delete(State(api): State<Api>, caller: Caller, Id(id): Id<EnvironmentId>) -> ApiResult<Json<DeletedEnvironment>> {
    documents::delete::<EnvironmentBody>(&api, &caller, &id, Some(SessionRef::Environment)).await?;
    Ok(Json(DeletedEnvironment { id, kind: "environment_deleted" }))
}

/// Archives an environment, for good.
///
/// Its sessions go on; new ones cannot be made in it. Archiving it again changes nothing.
#[utoipa::path(post, path = "/v1/environments/{environment_id}/archive", operation_id = "archive_environment", tag = "environments",
    params(("environment_id" = EnvironmentId, Path, description = "The environment.")), responses((status = 200, body = Environment)))]
async fn archive(State(api): State<Api>, caller: Caller, Id(id): Id<EnvironmentId>) -> ApiResult<Json<Environment>> {
    Ok(Json(documents::archive::<EnvironmentBody>(&api, &caller, &id).await?))
}
