//! The credential that a session uses at an MCP server, and renewing it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ostler_core::ids::{CredentialId, OrganizationId, VaultId, WorkspaceId};
use ostler_core::limits::CREDENTIALS_PER_VAULT;
use ostler_core::resources::credential::{ACCESS_TOKEN, Auth, CLIENT_SECRET, CredentialBody, REFRESH_TOKEN, Refresh, TOKEN, mcp_key};
use ostler_core::resources::validation::HttpAnswer;
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::time::Timestamp;
use ostler_seal::{Binding, Bound};
use ostler_store::{Document, DocumentFilter, PageRequest};

use crate::egress::{EgressError, TokenAnswer, TokenToRenew};
use crate::limits;
use crate::session::deps::Deps;

/// The kind of the documents that credentials are.
pub(crate) const CREDENTIAL: &str = "vault_credential";

/// A credential for an MCP server.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    document: Document,
    body: CredentialBody,
    parts: BTreeMap<String, String>,
    pub(crate) vault: VaultId,
    pub(crate) credential: CredentialId,
}

/// Why there is no new token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NotRenewed {
    /// There is nothing to renew it with.
    NoRefreshToken,
    /// The endpoint refused, or could not be reached.
    Failed(Option<HttpAnswer>),
    /// Egress or the store did not do its part.
    Unavailable(String),
}

/// The first credential for this address in the session's vaults, in their order.
pub(crate) async fn find(deps: &Deps, workspace: &WorkspaceId, vaults: &[VaultId], url: &str) -> Result<Option<Found>, String> {
    let wanted = mcp_key(url);
    for vault in vaults {
        let filter = DocumentFilter { parent: Some(vault.to_string()), ..DocumentFilter::default() };
        let page = PageRequest::first(usize::try_from(CREDENTIALS_PER_VAULT).unwrap_or(usize::MAX));
        let found = deps.store.documents(&scope(), CREDENTIAL, &filter, &page).await.map_err(|error| error.to_string())?;
        for document in found.rows.into_iter().filter(|document| document.workspace == *workspace) {
            let Some(found) = Found::of(document) else { continue };
            if found.url().is_some_and(|url| mcp_key(url) == wanted) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn scope() -> Scope {
    Scope::System(SystemReason::Recovery)
}

impl Found {
    /// Reads a credential as it is stored.
    pub(crate) fn of(document: Document) -> Option<Self> {
        let body: CredentialBody = serde_json::from_str(&document.body).ok()?;
        let parts = document.sealed.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let vault = document.family.as_ref()?.parent.parse().ok()?;
        let credential = document.id.parse().ok()?;
        Some(Self { document, body, parts, vault, credential })
    }

    fn url(&self) -> Option<&str> {
        match &self.body.auth {
            Auth::StaticBearer { mcp_server_url } | Auth::McpOauth { mcp_server_url, .. } => Some(mcp_server_url),
            Auth::EnvironmentVariable { .. } => None,
        }
    }

    /// The address that it is for.
    pub(crate) fn address(&self) -> String {
        self.url().unwrap_or_default().to_owned()
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> (OrganizationId, WorkspaceId) {
        (self.document.organization.clone(), self.document.workspace.clone())
    }

    /// The sealed token.
    pub(crate) fn token(&self) -> Option<&String> {
        self.parts.get(TOKEN).or_else(|| self.parts.get(ACCESS_TOKEN))
    }

    /// Whether the token does not hold any more, or hardly.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let margin = i64::try_from(limits::TOKEN_MARGIN.as_micros()).unwrap_or(i64::MAX);
        matches!(&self.body.auth, Auth::McpOauth { expires_at: Some(until), .. } if until.micros_since(now) < margin)
    }

    fn refresh(&self) -> Option<(&Refresh, &String)> {
        let Auth::McpOauth { refresh: Some(refresh), .. } = &self.body.auth else { return None };
        Some((refresh, self.parts.get(REFRESH_TOKEN)?))
    }

    /// Whether it can be renewed.
    pub(crate) fn can_renew(&self) -> bool {
        self.refresh().is_some()
    }

    /// Whether it says the same as before, and at most its seals are others.
    fn is_only_resealed(&self, before: &Self) -> bool {
        self.document.updated_at == before.document.updated_at
            && self.document.body == before.document.body
            && self.parts.keys().eq(before.parts.keys())
    }

    fn question(&self) -> Option<TokenToRenew> {
        let (refresh, refresh_token) = self.refresh()?;
        let bound = Bound::McpOauth { url: self.address(), token_endpoint: Some(refresh.token_endpoint.clone()) };
        let owner = Binding {
            organization: self.document.organization.clone(),
            workspace: self.document.workspace.clone(),
            vault: self.vault.clone(),
            credential: self.credential.clone(),
            part: ACCESS_TOKEN.to_owned(),
            version: self.document.lock + 1,
            bound,
        };
        let client_secret = self.parts.get(CLIENT_SECRET).cloned();
        Some(TokenToRenew { owner, refresh: refresh.clone(), refresh_token: refresh_token.clone(), client_secret })
    }
}

/// Has a new token made and stores it; then only is it used. One at a time for each credential: an endpoint that rotates refresh
/// tokens takes each of them once. Whoever waited finds what another one stored.
/// It goes on when nobody waits any more: an endpoint that has given new tokens takes the former ones no more.
pub(crate) async fn renew(deps: &Arc<Deps>, found: &Found) -> Result<Found, NotRenewed> {
    let (deps, found) = (Arc::clone(deps), found.clone());
    let renewed = deps.work.spawn({
        let deps = Arc::clone(&deps);
        async move { renewed(&deps, &found).await }
    });
    renewed.await.unwrap_or_else(|_| Err(NotRenewed::Unavailable("renewing it failed".into())))
}

async fn renewed(deps: &Deps, found: &Found) -> Result<Found, NotRenewed> {
    // No key is taken away meanwhile, and nobody closes these secrets for another one: that would look like a new token.
    let _sealing = deps.sealing.read().await;
    let turn = deps.mcp.turn(&found.credential);
    let _turn = turn.lock().await;
    let now = again(deps, found).await?;
    if now.parts != found.parts && !now.is_only_resealed(found) {
        return Ok(now);
    }
    let question = now.question().ok_or(NotRenewed::NoRefreshToken)?;
    let answer = deps.egress.renew_token(question).await.map_err(|error| match error {
        EgressError::Unavailable(why) | EgressError::Refused(why) => NotRenewed::Unavailable(why),
    })?;
    let (access, refresh, expires_in) = match answer {
        TokenAnswer::Renewed { access_token, refresh_token, expires_in } => (access_token, refresh_token, expires_in),
        TokenAnswer::Failed(answer) => return Err(NotRenewed::Failed(answer)),
    };
    let used = now.parts.get(REFRESH_TOKEN).cloned();
    let mut newest = now;
    for _ in 0..limits::TOKEN_STORES {
        newest.parts.insert(ACCESS_TOKEN.to_owned(), access.clone());
        if let Some(refresh) = &refresh {
            newest.parts.insert(REFRESH_TOKEN.to_owned(), refresh.clone());
        }
        let at = deps.ambient.now();
        if let Auth::McpOauth { expires_at, .. } = &mut newest.body.auth {
            let micros =
                |seconds: u64| i64::try_from(Duration::from_secs(seconds.min(limits::TOKEN_SECONDS)).as_micros()).unwrap_or(i64::MAX);
            *expires_at = expires_in.map(|seconds| at.plus_micros(micros(seconds)));
        }
        let unwritable = |error: serde_json::Error| NotRenewed::Unavailable(error.to_string());
        let lock = newest.document.lock;
        let next = Document {
            body: serde_json::to_string(&newest.body).map_err(unwritable)?,
            sealed: Some(serde_json::to_string(&newest.parts).map_err(unwritable)?),
            lock: lock + 1,
            updated_at: at.max(newest.document.updated_at),
            ..newest.document.clone()
        };
        match deps.store.replace_document(&scope(), &next, lock, false).await {
            Ok(true) => {
                newest.document = next;
                tracing::info!(credential = %newest.credential, "a token was renewed");
                return Ok(newest);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(credential = %newest.credential, %error, "a new token could not be stored; the credential may have to be set again");
                return Err(NotRenewed::Unavailable(error.to_string()));
            }
        }
        newest = again(deps, &newest).await?;
        // Somebody set it meanwhile: what a person sent counts more.
        if newest.parts.get(REFRESH_TOKEN) != used.as_ref() {
            return Ok(newest);
        }
    }
    Err(NotRenewed::Unavailable("the credential is being changed by others".into()))
}

/// The credential as it is now.
async fn again(deps: &Deps, found: &Found) -> Result<Found, NotRenewed> {
    let document = deps.store.document(&scope(), CREDENTIAL, found.credential.as_str()).await;
    let document = document.map_err(|error| NotRenewed::Unavailable(error.to_string()))?;
    let gone = || NotRenewed::Unavailable("the credential is gone".into());
    document.filter(|document| document.archived_at.is_none()).and_then(Found::of).ok_or_else(gone)
}
