//! Who calls: from the key of a request to the scope of every query. Missing, unknown, revoked and
//! wrong keys are answered alike. Keys in URLs are never looked at.

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use ostler_core::ids::ApiKeyId;
use ostler_core::scope::{Principal, Scope, SystemReason, Tenant};
use ostler_store::{ApiKey, StoreError};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::api::Api;
use crate::app::is_open;
use crate::error::{ApiError, ApiResult};
use crate::keys::ApiKeySecret;
use crate::limits;
use crate::routes::metrics;

/// The caller of a request; a handler that takes none serves anybody.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What may be touched.
    pub(crate) scope: Scope,
    /// The workspace and the principal.
    pub(crate) tenant: Tenant,
    /// The key.
    pub(crate) key: ApiKeyId,
}

impl Caller {
    fn of(key: &ApiKey) -> Self {
        let tenant = Tenant {
            organization: key.organization.clone(),
            workspace: key.workspace.clone(),
            principal: Principal::ApiKey { id: key.id.clone() },
        };
        Self { scope: Scope::Tenant(tenant.clone()), tenant, key: key.id.clone() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::unauthorized)
    }
}

/// The layer that refuses requests without a valid key before anything else is looked at.
pub(crate) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let has_own_key = path == metrics::PATH && api.state.config.metrics_token.is_some();
    if is_open(path) || has_own_key {
        return next.run(request).await;
    }
    match caller(&api, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn caller(api: &Api, headers: &HeaderMap) -> ApiResult<Caller> {
    let text = key_text(headers).ok_or_else(ApiError::unauthorized)?;
    let given = ApiKeySecret::from_preset(text);
    let known = live_key(api, &given.id).await?;
    // The comparison happens for unknown keys, too, so that both take the same time.
    let expected = known.as_ref().map_or([0; 32], |key| key.sha256);
    let same = bool::from(given.sha256.ct_eq(&expected));
    known.filter(|_| same).as_ref().map(Caller::of).ok_or_else(ApiError::unauthorized)
}

/// Whether a request brings the key that has this SHA-256.
pub(crate) fn has_token(headers: &HeaderMap, sha256: &[u8; 32]) -> bool {
    key_text(headers).is_some_and(|text| bool::from(ApiKeySecret::from_preset(text).sha256.ct_eq(sha256)))
}

/// Whether a key that was good a while ago still is.
pub(crate) async fn is_live(api: &Api, id: &ApiKeyId) -> bool {
    matches!(live_key(api, id).await, Ok(Some(_)))
}

async fn live_key(api: &Api, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
    let now = Instant::now();
    if let Some(key) = api.keys.get(id, now) {
        return Ok(Some(key));
    }
    let found = api.state.store.api_key(&Scope::System(SystemReason::Authentication), id).await?;
    let live = found.filter(|key| key.revoked_at.is_none());
    if let Some(key) = &live {
        api.keys.put(key.clone(), now);
    }
    Ok(live)
}

/// The key of a request: `Authorization: Bearer` first, `x-api-key` otherwise.
fn key_text(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(bearer);
    let text = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))?.trim();
    (!text.is_empty() && text.len() <= limits::KEY_BYTES).then_some(text)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn both_headers_are_read() {
        let table: [(Headers, Option<&str>); 9] = [
            (&[], None),
            (&[("authorization", "Bearer abc")], Some("abc")),
            (&[("authorization", "bearer  abc ")], Some("abc")),
            (&[("x-api-key", "abc")], Some("abc")),
            (&[("authorization", "Bearer a"), ("x-api-key", "b")], Some("a")),
            (&[("authorization", "Basic a"), ("x-api-key", "b")], Some("b")),
            (&[("authorization", "Basic a")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("x-api-key", "")], None),
        ];
        for (headers, expected) in table {
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect();
            assert_eq!(key_text(&map), expected, "{headers:?}");
        }
        let mut long = HeaderMap::new();
        long.insert("x-api-key", "k".repeat(limits::KEY_BYTES + 1).parse().unwrap());
        assert_eq!(key_text(&long), None);
    }
}
