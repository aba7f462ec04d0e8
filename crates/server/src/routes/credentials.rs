//! `/v1/vaults/{vault_id}/credentials`: what a vault holds. Secrets go in and never come out.

use axum::Json;
use axum::extract::State;
use ostler_core::error::Refusal;
use ostler_core::ids::{CredentialId, IdSource, VaultId};
use ostler_core::limits::CREDENTIALS_PER_VAULT;
use ostler_core::resources::credential::{Auth, CredentialBody, CredentialCreateParams, CredentialUpdateParams};
use ostler_core::resources::validation::{CredentialValidation, ValidationStatus};
use ostler_core::resources::vault::VaultBody;
use ostler_core::time::Timestamp;
use ostler_runtime::egress::EgressError;
use ostler_runtime::mcp::Tried;
use ostler_runtime::network::Changed;
use ostler_store::{ChildInsertion, Document, Family, StoreError};
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
use crate::path::{Id, Ids, PathId as _};
use crate::query::Params;
use crate::sealing::{self, Whose};

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(read, update, delete))
        .routes(routes!(archive))
        .routes(routes!(validate))
}

/// A credential, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Credential {
    /// Its id.
    id: CredentialId,
    /// Always `vault_credential`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// The vault that holds it.
    #[schema(value_type = VaultId)]
    vault_id: String,
    /// When it was created.
    created_at: Timestamp,
    /// When it last changed.
    updated_at: Timestamp,
    /// When it was archived.
    archived_at: Option<Timestamp>,
    /// Why its secrets cannot be used, and what to do; absent where they can be. An extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    unusable: Option<&'static str>,
    /// What it is.
    #[serde(flatten)]
    body: CredentialBody,
    #[serde(skip)]
    sealed: Option<String>,
}

const UNUSABLE: &str = "its secrets are sealed for a key that this server does not have; update it with all of them";

impl Credential {
    /// Says so where its secrets cannot be used.
    fn judged(self, api: &Api) -> Self {
        let known = api.state.router.egress().key_ids();
        // What cannot be read is found by whoever needs it.
        let parts = sealing::from_text(self.sealed.as_deref()).unwrap_or_default();
        let unusable = parts.values().any(|sealed| !known.contains(sealed.key())).then_some(UNUSABLE);
        Self { unusable, ..self }
    }
}

/// A deleted credential.
#[derive(Debug, Serialize, ToSchema)]
struct DeletedCredential {
    /// Its id.
    id: CredentialId,
    /// Always `vault_credential_deleted`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
}

impl Resource for CredentialBody {
    type Id = CredentialId;
    type Wire = Credential;

    const KIND: &'static str = "vault_credential";
    const KEEPS_VERSIONS: bool = false;
    const ARCHIVED_CODE: Option<&'static str> = None;
    const PAGE_MOST: usize = limits::PAGE_MOST;

    fn mint(source: &mut IdSource) -> CredentialId {
        CredentialId::mint(source)
    }

    fn wire(stored: Stored<Self>) -> Credential {
        let Stored { id, created_at, updated_at, archived_at, body, parent, sealed, .. } = stored;
        let vault_id = parent.unwrap_or_default();
        Credential { id, kind: "vault_credential", vault_id, created_at, updated_at, archived_at, unusable: None, body: *body, sealed }
    }
}

/// Puts a credential into a vault.
///
/// Its secrets are sealed at once and never read back; what is in them is not tried. A vault holds at most 20, and one for each MCP
/// server and each name of a variable: another one is a conflict.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}/credentials", operation_id = "create_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault.")), request_body = CredentialCreateParams, responses((status = 200, body = Credential)))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    Id(vault): Id<VaultId>,
    JsonBody(params, _room): JsonBody<CredentialCreateParams>,
) -> ApiResult<Json<Credential>> {
    let now = api.now();
    let change = CredentialBody::create(params, now)?;
    let _sealing = api.state.router.sealing().await;
    let id = CredentialId::mint(&mut api.state.ambient.ids());
    let whose = Whose { caller: &caller, vault: &vault, credential: &id };
    let parts = sealing::sealed(&api, whose, 1, &change.body.auth, &change.secrets, Default::default()).await?;
    let document = Document {
        kind: CredentialBody::KIND.to_owned(),
        id: id.to_string(),
        organization: caller.tenant.organization.clone(),
        workspace: caller.tenant.workspace.clone(),
        version: 1,
        lock: 1,
        created_at: now,
        updated_at: now,
        archived_at: None,
        family: Some(Family { parent: vault.to_string(), key: change.body.key() }),
        body: documents::text(&change.body)?,
        sealed: sealing::to_text(&parts),
    };
    let refusal = match api.state.store.insert_child(&caller.scope, &document, VaultBody::KIND, CREDENTIALS_PER_VAULT).await? {
        ChildInsertion::Inserted => {
            api.state.router.changed(Changed::Vault(&vault)).await;
            return Ok(Json(CredentialBody::wire(documents::read_stored(&document)?)));
        }
        ChildInsertion::NoParent => VaultId::missing(vault.as_str()),
        ChildInsertion::ParentArchived => Refusal::invalid("the vault is archived and takes no credentials"),
        ChildInsertion::KeyTaken => Refusal::conflict(taken(&change.body.auth)),
        ChildInsertion::Full => Refusal::invalid(format!(
            "the vault holds {CREDENTIALS_PER_VAULT} credentials, which is the most; archive one, or use another vault"
        )),
    };
    Err(refusal.into())
}

fn taken(auth: &Auth) -> String {
    match auth {
        Auth::StaticBearer { mcp_server_url } | Auth::McpOauth { mcp_server_url, .. } => {
            format!("auth.mcp_server_url: the vault has a credential for {mcp_server_url:?}; change or archive that one")
        }
        Auth::EnvironmentVariable { secret_name, .. } => {
            format!("auth.secret_name: the vault has a credential for {secret_name:?}; change or archive that one")
        }
    }
}

/// Lists the credentials of a vault, newest first.
///
/// Without their secrets. Send `next_page` as `page` for more, with the same filters.
#[utoipa::path(get, path = "/v1/vaults/{vault_id}/credentials", operation_id = "list_credentials", tag = "vaults",
    params(
        ("vault_id" = VaultId, Path, description = "The vault."),
        ("include_archived" = Option<bool>, Query, description = "Archived ones as well."),
        ("limit" = Option<u32>, Query, description = "1 to 100; 20 when left out.", minimum = 1, maximum = 100),
        ("page" = Option<String>, Query, description = "next_page of the answer before."),
    ),
    responses((status = 200, body = ListPage<Credential>)))]
async fn list(State(api): State<Api>, caller: Caller, Id(vault): Id<VaultId>, params: Params) -> ApiResult<Json<ListPage<Credential>>> {
    documents::read::<VaultBody>(&api, &caller, &vault, None).await?;
    let page = documents::list::<CredentialBody>(&api, &caller, &params, Some(vault.as_str())).await?;
    Ok(Json(ListPage { data: page.data.into_iter().map(|credential| credential.judged(&api)).collect(), ..page }))
}

/// A credential of this vault.
async fn found(api: &Api, caller: &Caller, vault: &VaultId, id: &CredentialId) -> ApiResult<(Document, Stored<CredentialBody>)> {
    let document = api.state.store.document(&caller.scope, CredentialBody::KIND, id.as_str()).await?;
    let is_here = |document: &Document| document.family.as_ref().is_some_and(|family| family.parent == vault.as_str());
    let document = document.filter(is_here).ok_or_else(|| CredentialId::missing(id.as_str()))?;
    let stored = documents::read_stored(&document)?;
    Ok((document, stored))
}

/// Reads a credential.
///
/// Without its secrets. Archived ones can be read, too.
#[utoipa::path(get, path = "/v1/vaults/{vault_id}/credentials/{credential_id}", operation_id = "read_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault."), ("credential_id" = CredentialId, Path, description = "The credential.")),
    responses((status = 200, body = Credential)))]
async fn read(State(api): State<Api>, caller: Caller, Ids(vault, id): Ids<VaultId, CredentialId>) -> ApiResult<Json<Credential>> {
    Ok(Json(CredentialBody::wire(found(&api, &caller, &vault, &id).await?.1).judged(&api)))
}

/// Changes a credential.
///
/// Fields that are left out stay, secrets too. What names it and its type cannot change. Running sessions use what is new without a restart.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}/credentials/{credential_id}", operation_id = "update_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault."), ("credential_id" = CredentialId, Path, description = "The credential.")),
    request_body = CredentialUpdateParams, responses((status = 200, body = Credential)))]
async fn update(
    State(api): State<Api>,
    caller: Caller,
    Ids(vault, id): Ids<VaultId, CredentialId>,
    JsonBody(params, _room): JsonBody<CredentialUpdateParams>,
) -> ApiResult<Json<Credential>> {
    let _sealing = api.state.router.sealing().await;
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let (before, stored) = found(&api, &caller, &vault, &id).await?;
        if before.archived_at.is_some() {
            return Err(Refusal::invalid("the credential is archived and cannot be changed").into());
        }
        let change = stored.body.updated(params.clone(), api.now())?;
        if change.body == *stored.body && change.secrets.is_empty() {
            return Ok(Json(CredentialBody::wire(stored).judged(&api)));
        }
        let whose = Whose { caller: &caller, vault: &vault, credential: &id };
        let parts = sealing::from_text(before.sealed.as_deref())?;
        let parts = sealing::sealed(&api, whose, before.lock + 1, &change.body.auth, &change.secrets, parts).await?;
        let next = Document { body: documents::text(&change.body)?, sealed: sealing::to_text(&parts), ..before };
        if let Some(next) = replaced(&api, &caller, next).await? {
            api.state.router.changed(Changed::Vault(&vault)).await;
            return Ok(Json(CredentialBody::wire(documents::read_stored(&next)?).judged(&api)));
        }
    }
    Err(Refusal::conflict("the credential is being changed by others; read it again and repeat the change").into())
}

/// Stores a change of what was read; nothing when somebody was faster.
async fn replaced(api: &Api, caller: &Caller, changed: Document) -> Result<Option<Document>, StoreError> {
    let lock = changed.lock;
    let next = Document { lock: lock + 1, updated_at: api.now().max(changed.updated_at), ..changed };
    Ok(api.state.store.replace_document(&caller.scope, &next, lock, false).await?.then_some(next))
}

/// Deletes a credential.
///
/// Running sessions lose it within a second.
#[utoipa::path(delete, path = "/v1/vaults/{vault_id}/credentials/{credential_id}", operation_id = "delete_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault."), ("credential_id" = CredentialId, Path, description = "The credential.")),
    responses((status = 200, body = DeletedCredential)))]
async fn delete(State(api): State<Api>, caller: Caller, Ids(vault, id): Ids<VaultId, CredentialId>) -> ApiResult<Json<DeletedCredential>> {
    found(&api, &caller, &vault, &id).await?;
    documents::delete::<CredentialBody>(&api, &caller, &id, None).await?;
    api.state.router.changed(Changed::Vault(&vault)).await;
    Ok(Json(DeletedCredential { id, kind: "vault_credential_deleted" }))
}

/// Archives a credential, for good.
///
/// Its secrets are deleted, and what named it is free for another. Running sessions lose it within a second.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}/credentials/{credential_id}/archive", operation_id = "archive_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault."), ("credential_id" = CredentialId, Path, description = "The credential.")),
    responses((status = 200, body = Credential)))]
async fn archive(State(api): State<Api>, caller: Caller, Ids(vault, id): Ids<VaultId, CredentialId>) -> ApiResult<Json<Credential>> {
    found(&api, &caller, &vault, &id).await?;
    let archived = documents::archive::<CredentialBody>(&api, &caller, &id).await?;
    api.state.router.changed(Changed::Vault(&vault)).await;
    Ok(Json(archived))
}

/// Tries an OAuth credential at its MCP server.
///
/// Renews the token where it has ended and can be renewed. `unknown` means that nobody could say: a server that does not answer, or
/// that is at fault itself.
#[utoipa::path(post, path = "/v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate", operation_id = "validate_credential", tag = "vaults",
    params(("vault_id" = VaultId, Path, description = "The vault."), ("credential_id" = CredentialId, Path, description = "The credential.")),
    responses((status = 200, body = CredentialValidation)))]
async fn validate(
    State(api): State<Api>,
    caller: Caller,
    Ids(vault, id): Ids<VaultId, CredentialId>,
) -> ApiResult<Json<CredentialValidation>> {
    let (before, stored) = found(&api, &caller, &vault, &id).await?;
    let Auth::McpOauth { refresh, .. } = &stored.body.auth else {
        return Err(Refusal::invalid("only credentials of the type mcp_oauth can be tried").into());
    };
    if before.archived_at.is_some() {
        return Err(Refusal::invalid("the credential is archived and has no secrets any more").into());
    }
    let has_refresh_token = refresh.is_some();
    let tried = match api.state.router.try_credential(before).await {
        Err(EgressError::Unavailable(reason)) => {
            tracing::warn!(credential = %id, reason, "a credential could not be tried");
            Tried { status: ValidationStatus::Unknown, mcp_probe: None, refresh: None }
        }
        tried => tried.map_err(sealing::refused)?,
    };
    Ok(Json(CredentialValidation {
        credential_id: id,
        has_refresh_token,
        mcp_probe: tried.mcp_probe,
        refresh: tried.refresh,
        status: tried.status,
        kind: "vault_credential_validation",
        validated_at: api.now(),
        vault_id: vault,
    }))
}
