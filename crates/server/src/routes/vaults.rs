//! `/v1/vaults`: collections of credentials that sessions may use.

use axum::Json;
use axum::extract::State;
use ostler_core::ids::{IdSource, VaultId};
use ostler_core::resources::vault::{VaultBody, VaultCreateParams, VaultUpdateParams};
use ostler_core::time::Timestamp;
use ostler_runtime::network::Changed;
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
use crate::path::{Id, PathId as _};
use crate::query::Params;

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(read, update, delete)).routes(routes!(archive))
}

/// A vault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Vault {
    /// Its id.
    id: VaultId,
    /// Always `vault`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// When it was created.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
    /// When it was archived.
    archived_at: Option<Timestamp>,
    /// What it is.
    #[serde(flatten)]
    body: VaultBody,
}

/// A deleted vault.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedVault {
    /// Its id.
    id: VaultId,
    /// Always `vault_deleted`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
}

impl Resource for VaultBody {
    type Id = VaultId;
    type Wire = Vault;

    const KIND: &'static str = "vault";
    const KEEPS_VERSIONS: bool = false;
    const ARCHIVED_CODE: Option<&'static str> = None;
    const PAGE_MOST: usize = limits::PAGE_MOST;

    fn mint(source: &mut IdSource) -> VaultId {
        VaultId::mint(source)
    }

    fn wire(stored: Stored<Self>) -> Vault {
        let Stored { id, created_at, updated_at, archived_at, body, .. } = stored;
        Vault { id, kind: "vault", created_at, updated_at, archived_at, body: *body }
    }
}

/// Creates a vault.
///
/// It is empty; credentials are put into it one by one. Sessions name the vaults whose credentials they may use.
#[utoipa::path(post, path = "/v1/vaults", operation_id = "create_vault", tag = "vaults", request_body = VaultCreateParams, responses((status = 200, body = Vault)))]
async fn create(State(api): State<Api>, caller: Caller, JsonBody(params, _room): JsonBody<VaultCreateParams>) -> ApiResult<Json<Vault>> {
    Ok(Json(documents::create(&api, &caller, VaultBody::create(params)?).await?))
}

/// Lists vaults, newest first.
///
/// Send `next_page` as `page` for more, with the same filters.
#[utoipa::path(get, path = "/v1/vaults", operation_id = "list_vaults", tag = "vaults",
    params(
        ("include_archived" = Option<bool>, Query, description = "Archived ones as well."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 when left out.", minimum = 1, maximum = 100),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Vault>)))]
async fn list(State(api): State<Api>, caller: Caller, params: Params) -> ApiResult<Json<ListPage<Vault>>> {
    Ok(Json(documents::list::<VaultBody>(&api, &caller, &params, None).await?))
}

/// Reads a vault.
///
/// Without its credentials. Archived ones can be read, too.
#[utoipa::path(get, path = "/v1/vaults/{vault_id}", operation_id = "read_vault", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault.")), responses((status = 200, body = Vault)))]
async fn read(State(api): State<Api>, caller: Caller, Id(id): Id<VaultId>) -> ApiResult<Json<Vault>> {
    Ok(Json(VaultBody::wire(documents::read(&api, &caller, &id, None).await?)))
}

/// Changes a vault.
///
/// Fields that are left out stay.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}", operation_id = "update_vault", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault.")), request_body = VaultUpdateParams, responses((status = 200, body = Vault)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<VaultId>,
    JsonBody(params, _room): JsonBody<VaultUpdateParams>,
) -> ApiResult<Json<Vault>> {
    Ok(Json(documents::update(&api, &caller, &id, None, |body: &VaultBody| body.updated(params.clone())).await?))
}

/// Deletes a vault with its credentials.
///
/// Sessions that used it go on without them.
#[utoipa::path(delete, path = "/v1/vaults/{vault_id}", operation_id = "delete_vault", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault.")), responses((status = 200, body = DeletedVault)))]
async fn delete(State(api): State<Api>, caller: Caller, Id(id): Id<VaultId>) -> ApiResult<Json<DeletedVault>> {
    documents::delete::<VaultBody>(&api, &caller, &id, None).await?;
    api.state.router.changed(Changed::Vault(&id)).await;
    Ok(Json(DeletedVault { id, kind: "vault_deleted" }))
}

/// Archives a vault with its credentials, for good.
///
/// Their secrets are deleted. Sessions that used it go on without them; new ones cannot name it.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}/archive", operation_id = "archive_vault", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault.")), responses((status = 200, body = Vault)))]
async fn archive(State(api): State<Api>, caller: Caller, Id(id): Id<VaultId>) -> ApiResult<Json<Vault>> {
    let at = api.now();
    if !api.state.store.archive_family(&caller.scope, VaultBody::KIND, id.as_str(), at).await? {
        return Err(VaultId::missing(id.as_str()).into());
    }
    api.state.router.changed(Changed::Vault(&id)).await;
    Ok(Json(VaultBody::wire(documents::read(&api, &caller, &id, None).await?)))
}
