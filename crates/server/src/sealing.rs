//! From the secrets of a request to what is stored: closed for egress, bound to where they may go.

use std::collections::BTreeMap;

use ostler_core::error::Refusal;
use ostler_core::ids::{CredentialId, VaultId};
use ostler_core::resources::credential::{Auth, CredentialNetworking, SecretParts};
use ostler_runtime::egress::{EgressError, Owner, SealedParts};
use ostler_seal::{Binding, Bound, Hosts, Places, seal};
use ostler_store::StoreError;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};

/// Whose secrets are closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) vault: &'a VaultId,
    pub(crate) credential: &'a CredentialId,
}

impl Whose<'_> {
    pub(crate) fn owner(self) -> Owner {
        Owner { workspace: self.caller.tenant.workspace.clone(), vault: self.vault.clone(), credential: self.credential.clone() }
    }

    fn binding(self, part: &str, version: u64, auth: &Auth) -> Binding {
        Binding {
            organization: self.caller.tenant.organization.clone(),
            workspace: self.caller.tenant.workspace.clone(),
            vault: self.vault.clone(),
            credential: self.credential.clone(),
            part: part.to_owned(),
            version,
            bound: bound(auth),
        }
    }
}

/// Where the secrets of such a credential may go.
fn bound(auth: &Auth) -> Bound {
    match auth {
        Auth::StaticBearer { mcp_server_url } => Bound::StaticBearer { url: mcp_server_url.clone() },
        Auth::McpOauth { mcp_server_url, refresh, .. } => {
            Bound::McpOauth { url: mcp_server_url.clone(), token_endpoint: refresh.as_ref().map(|refresh| refresh.token_endpoint.clone()) }
        }
        Auth::EnvironmentVariable { secret_name, networking, injection_location } => Bound::EnvironmentVariable {
            name: secret_name.clone(),
            hosts: match networking {
                CredentialNetworking::Unrestricted {} => Hosts::Any,
                CredentialNetworking::Limited { allowed_hosts } => Hosts::Only(allowed_hosts.clone()),
            },
            places: Places { header: injection_location.header, body: injection_location.body },
        },
    }
}

/// Closes what is new, in the version that is to be stored, and binds what was there to where it may go now.
pub(crate) async fn sealed(
    api: &Api,
    whose: Whose<'_>,
    version: u64,
    auth: &Auth,
    secrets: &SecretParts,
    before: SealedParts,
) -> ApiResult<SealedParts> {
    let egress = api.state.router.egress();
    let mut parts = SealedParts::new();
    for (part, kept) in before {
        if secrets.contains_key(part.as_str()) {
            continue;
        }
        let binding = whose.binding(&part, version, auth);
        let is_bound_so = kept.claimed().is_some_and(|claimed| claimed.bound == binding.bound);
        let kept = if is_bound_so { kept } else { egress.reseal(&whose.owner(), &kept, &binding).await.map_err(refused)? };
        parts.insert(part, kept);
    }
    for (part, secret) in secrets {
        let closed = seal(&egress.public_key(), &whose.binding(part, version, auth), secret.expose().as_bytes());
        let closed = closed.map_err(|error| {
            tracing::error!(%error, part, "a secret could not be sealed");
            ApiError::internal()
        })?;
        parts.insert((*part).to_owned(), closed);
    }
    Ok(parts)
}

/// What egress said, to a client.
pub(crate) fn refused(error: EgressError) -> ApiError {
    match error {
        EgressError::Unavailable(_) => {
            Refusal::unavailable(format!("{error}; try again, and see the server's log if that does not help")).into()
        }
        EgressError::Refused(_) => Refusal::invalid(format!("{error}; send the secret again")).into(),
    }
}

/// The stored form.
pub(crate) fn to_text(parts: &SealedParts) -> Option<String> {
    let texts: BTreeMap<&str, String> = parts.iter().map(|(part, sealed)| (part.as_str(), sealed.to_string())).collect();
    serde_json::to_string(&texts).ok()
}

/// Reads the stored form.
pub(crate) fn from_text(text: Option<&str>) -> Result<SealedParts, StoreError> {
    let Some(text) = text else { return Ok(SealedParts::new()) };
    let corrupt = |_: &dyn std::fmt::Display| StoreError::Corrupt("the sealed parts of a credential cannot be read".to_owned());
    let texts: BTreeMap<String, String> = serde_json::from_str(text).map_err(|error| corrupt(&error))?;
    texts.into_iter().map(|(part, text)| Ok((part, text.parse().map_err(|error| corrupt(&error))?))).collect()
}
