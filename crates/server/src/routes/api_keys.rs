//! `/v1/x/api_keys`: the keys of a workspace. A secret is shown once, when its key is made.

use axum::Json;
use axum::extract::State;
use ostler_core::error::{Refusal, check_chars};
use ostler_core::ids::ApiKeyId;
use ostler_core::limits::NAME_CHARS;
use ostler_core::time::Timestamp;
use ostler_store::NewApiKey;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::keys::ApiKeySecret;
use crate::pagination::ListPage;
use crate::path::{Id, PathId as _};

pub(crate) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
struct ApiKeyCreateParams {
    /// What people call it.
    name: String,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct ApiKey {
    /// Its id.
    id: ApiKeyId,
    /// Always `api_key`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: &'static str,
    /// What people call it.
    name: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
}

/// A new key, with its secret.
#[derive(Debug, Serialize, ToSchema)]
struct CreatedApiKey {
    /// The key itself; it is not shown again.
    secret: String,
    /// What it is.
    #[serde(flatten)]
    key: ApiKey,
}

/// Makes a key for the caller's workspace.
///
/// The answer has the key itself, once: only its hash is stored. An extension.
#[utoipa::path(post, path = "/v1/x/api_keys", operation_id = "create_api_key", tag = "platform", request_body = ApiKeyCreateParams, responses((status = 200, body = CreatedApiKey)))]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    JsonBody(params, _room): JsonBody<ApiKeyCreateParams>,
) -> ApiResult<Json<CreatedApiKey>> {
    if params.name.trim().is_empty() {
        return Err(Refusal::invalid("name: must not be empty").into());
    }
    check_chars("name", &params.name, NAME_CHARS)?;
    let secret = ApiKeySecret::generate(&api.state.ambient).map_err(|error| {
        tracing::error!(%error, "an API key could not be made");
        ApiError::internal()
    })?;
    let created_at = api.now();
    let new = NewApiKey { id: secret.id.clone(), sha256: secret.sha256, name: params.name.clone(), created_at };
    api.state.store.add_api_key(&caller.scope, new).await?;
    let key = ApiKey { id: secret.id.clone(), kind: "api_key", name: params.name, created_at, revoked_at: None };
    Ok(Json(CreatedApiKey { secret: secret.text().to_owned(), key }))
}

/// Lists the keys of the caller's workspace, newest first.
///
/// All on one page, revoked ones included; without the keys themselves. An extension.
#[utoipa::path(get, path = "/v1/x/api_keys", operation_id = "list_api_keys", tag = "platform", responses((status = 200, body = ListPage<ApiKey>)))]
async fn list(State(api): State<Api>, caller: Caller) -> ApiResult<Json<ListPage<ApiKey>>> {
    let keys = api.state.store.api_keys(&caller.scope).await?;
    Ok(Json(ListPage { data: keys.into_iter().map(wire).collect(), next_page: None }))
}

fn wire(key: ostler_store::ApiKey) -> ApiKey {
    ApiKey { id: key.id, kind: "api_key", name: key.name, created_at: key.created_at, revoked_at: key.revoked_at }
}

/// Revokes a key, for good.
///
/// Requests with it are refused at once; its streams end within seconds. An extension.
#[utoipa::path(post, path = "/v1/x/api_keys/{api_key_id}/revoke", operation_id = "revoke_api_key", tag = "platform",
    params(("api_key_id" = ApiKeyId, Path, description = "The key.")), responses((status = 200, body = ApiKey)))]
async fn revoke(State(api): State<Api>, caller: Caller, Id(id): Id<ApiKeyId>) -> ApiResult<Json<ApiKey>> {
    let missing = || ApiError::from(ApiKeyId::missing(id.as_str()));
    if !api.state.store.revoke_api_key(&caller.scope, &id, api.now()).await? {
        return Err(missing());
    }
    api.keys.forget(&id);
    let key = api.state.store.api_key(&caller.scope, &id).await?.ok_or_else(missing)?;
    Ok(Json(wire(key)))
}
