//! Credentials: what a vault holds. What is secret in them is taken out of a request at once, sealed, and never read here again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::hosts;
use super::metadata::{self, EmptyValue, Metadata, MetadataSchema};
use super::vault::check_display_name;
use crate::error::{Refusal, check_chars, check_count};
use crate::limits;
use crate::time::Timestamp;

mod params;

pub use params::{
    AuthCreateParams, AuthUpdateParams, CredentialCreateParams, CredentialUpdateParams, InjectionLocationParams, RefreshCreateParams,
    RefreshUpdateParams, SecretText, TokenEndpointAuthParams, TokenEndpointAuthUpdateParams,
};

/// The secrets of a credential, by the name of the part.
pub type SecretParts = BTreeMap<&'static str, SecretText>;

/// A bearer token.
pub const TOKEN: &str = "token";
/// The token of an OAuth grant that opens the door.
pub const ACCESS_TOKEN: &str = "access_token";
/// The token of an OAuth grant that renews it.
pub const REFRESH_TOKEN: &str = "refresh_token";
/// The secret of the OAuth client.
pub const CLIENT_SECRET: &str = "client_secret";
/// The value behind a placeholder.
pub const SECRET_VALUE: &str = "secret_value";
/// The hosts that a secret may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialNetworking {
    /// Every one that the sandbox may reach.
    Unrestricted {},
    /// These alone.
    Limited {
        /// Bare host names, IPv4 addresses, or `*.` and a host name.
        allowed_hosts: Vec<String>,
    },
}

/// The places of a request that a secret may go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InjectionLocation {
    /// Into the body.
    pub body: bool,
    /// Into headers and the query.
    pub header: bool,
}

/// What a credential opens, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Auth {
    /// A token for one MCP server.
    StaticBearer {
        /// The MCP server.
        mcp_server_url: String,
    },
    /// An OAuth grant for one MCP server.
    McpOauth {
        /// The MCP server.
        mcp_server_url: String,
        /// When the token ends, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// How it is renewed, if it can be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh: Option<Refresh>,
    },
    /// A secret behind a placeholder in an environment variable of the sandbox.
    EnvironmentVariable {
        /// The name of the variable.
        secret_name: String,
        /// The hosts that the secret may go to.
        networking: CredentialNetworking,
        /// The places of a request that it may go into.
        injection_location: InjectionLocation,
    },
}

/// How an OAuth grant is renewed, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refresh {
    /// The OAuth client.
    pub client_id: String,
    /// Where.
    pub token_endpoint: String,
    /// How the client proves who it is.
    pub token_endpoint_auth: TokenEndpointAuth,
    /// The resource that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The scope that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// How an OAuth client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenEndpointAuth {
    /// Not at all.
    None {},
    /// By HTTP Basic authentication.
    ClientSecretBasic {},
    /// In the body of the request.
    ClientSecretPost {},
}

/// What a credential is, without its identity and its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialBody {
    /// What it opens.
    pub auth: Auth,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Key-value pairs.
    #[schema(value_type = MetadataSchema)]
    pub metadata: Metadata,
}

/// A credential after a change.
#[derive(Debug, Clone)]
pub struct CredentialChange {
    /// What it is now.
    pub body: CredentialBody,
    /// The secrets that are new.
    pub secrets: SecretParts,
}

impl CredentialBody {
    /// A new credential from what a client sent.
    pub fn create(params: CredentialCreateParams, now: Timestamp) -> Result<CredentialChange, Refusal> {
        let mut secrets = SecretParts::new();
        let auth = match params.auth {
            AuthCreateParams::StaticBearer { token, mcp_server_url } => {
                check_url("auth.mcp_server_url", &mcp_server_url)?;
                secrets.insert(TOKEN, token);
                Auth::StaticBearer { mcp_server_url }
            }
            AuthCreateParams::McpOauth { access_token, mcp_server_url, expires_at, refresh } => {
                check_url("auth.mcp_server_url", &mcp_server_url)?;
                check_expiry(expires_at, now)?;
                secrets.insert(ACCESS_TOKEN, access_token);
                let refresh = refresh.map(|refresh| new_refresh(refresh, &mut secrets)).transpose()?;
                Auth::McpOauth { mcp_server_url, expires_at, refresh }
            }
            AuthCreateParams::EnvironmentVariable { secret_name, secret_value, networking, injection_location } => {
                check_name(&secret_name)?;
                check_networking(&networking)?;
                secrets.insert(SECRET_VALUE, secret_value);
                let usual = InjectionLocation { body: false, header: true };
                let injection_location = merged(usual, injection_location)?;
                Auth::EnvironmentVariable { secret_name, networking, injection_location }
            }
        };
        let body = Self { auth, display_name: params.display_name, metadata: params.metadata.unwrap_or_default() };
        body.checked(secrets)
    }

    /// This credential after an update.
    pub fn updated(&self, params: CredentialUpdateParams, now: Timestamp) -> Result<CredentialChange, Refusal> {
        let mut next = self.clone();
        let mut secrets = SecretParts::new();
        if let Some(auth) = params.auth {
            next.auth.update(auth, &mut secrets, now)?;
        }
        if let Some(name) = params.display_name {
            next.display_name = name;
        }
        if let Some(patch) = params.metadata {
            next.metadata = metadata::patched(&self.metadata, patch, EmptyValue::Kept)?;
        }
        next.checked(secrets)
    }

    fn checked(self, secrets: SecretParts) -> Result<CredentialChange, Refusal> {
        self.display_name.as_deref().map_or(Ok(()), check_display_name)?;
        metadata::check(&self.metadata)?;
        for (part, secret) in &secrets {
            check_secret(part, secret)?;
        }
        Ok(CredentialChange { body: self, secrets })
    }

    /// What only one active credential of a vault may have.
    pub fn key(&self) -> String {
        match &self.auth {
            Auth::StaticBearer { mcp_server_url } | Auth::McpOauth { mcp_server_url, .. } => format!("mcp:{}", mcp_key(mcp_server_url)),
            Auth::EnvironmentVariable { secret_name, .. } => format!("env:{secret_name}"),
        }
    }
}

impl Auth {
    fn update(&mut self, params: AuthUpdateParams, secrets: &mut SecretParts, now: Timestamp) -> Result<(), Refusal> {
        let mut take = |part: &'static str, secret: Option<SecretText>| secret.map(|secret| secrets.insert(part, secret));
        match (self, params) {
            (Self::StaticBearer { mcp_server_url }, AuthUpdateParams::StaticBearer { token, mcp_server_url: url }) => {
                unchanged("auth.mcp_server_url", url.as_ref(), mcp_server_url)?;
                take(TOKEN, token);
            }
            (
                Self::McpOauth { mcp_server_url, expires_at, refresh },
                AuthUpdateParams::McpOauth { access_token, expires_at: expiry, refresh: changes, mcp_server_url: url },
            ) => {
                unchanged("auth.mcp_server_url", url.as_ref(), mcp_server_url)?;
                take(ACCESS_TOKEN, access_token);
                if let Some(expiry) = expiry {
                    check_expiry(expiry, now)?;
                    *expires_at = expiry;
                }
                if let Some(changes) = changes {
                    let refresh = refresh
                        .as_mut()
                        .ok_or_else(|| Refusal::invalid("auth.refresh: the credential was made without; archive it and make another"))?;
                    refresh.update(changes, secrets)?;
                }
            }
            (
                Self::EnvironmentVariable { secret_name, networking, injection_location },
                AuthUpdateParams::EnvironmentVariable { secret_value, networking: net, injection_location: places, secret_name: name },
            ) => {
                unchanged("auth.secret_name", name.as_ref(), secret_name)?;
                take(SECRET_VALUE, secret_value);
                if let Some(net) = net {
                    check_networking(&net)?;
                    *networking = net;
                }
                *injection_location = merged(*injection_location, places)?;
            }
            _ => return Err(Refusal::invalid("auth.type: cannot change; archive the credential and make another")),
        }
        Ok(())
    }
}

impl Refresh {
    fn update(&mut self, changes: RefreshUpdateParams, secrets: &mut SecretParts) -> Result<(), Refusal> {
        if let Some(token) = changes.refresh_token {
            secrets.insert(REFRESH_TOKEN, token);
        }
        if let Some(scope) = changes.scope {
            check_chars("auth.refresh.scope", &scope, limits::URL_CHARS)?;
            self.scope = Some(scope).filter(|scope| !scope.is_empty());
        }
        let secret = match (self.token_endpoint_auth, changes.token_endpoint_auth) {
            (_, None) | (TokenEndpointAuth::None {}, Some(TokenEndpointAuthUpdateParams::None {})) => None,
            (TokenEndpointAuth::ClientSecretBasic {}, Some(TokenEndpointAuthUpdateParams::ClientSecretBasic { client_secret }))
            | (TokenEndpointAuth::ClientSecretPost {}, Some(TokenEndpointAuthUpdateParams::ClientSecretPost { client_secret })) => {
                client_secret
            }
            _ => {
                return Err(Refusal::invalid(
                    "auth.refresh.token_endpoint_auth.type: cannot change; archive the credential and make another",
                ));
            }
        };
        if let Some(secret) = secret {
            secrets.insert(CLIENT_SECRET, secret);
        }
        Ok(())
    }
}

fn new_refresh(params: RefreshCreateParams, secrets: &mut SecretParts) -> Result<Refresh, Refusal> {
    check_url("auth.refresh.token_endpoint", &params.token_endpoint)?;
    for (what, text) in [("client_id", Some(&params.client_id)), ("scope", params.scope.as_ref()), ("resource", params.resource.as_ref())] {
        check_chars(&format!("auth.refresh.{what}"), text.map_or("", String::as_str), limits::URL_CHARS)?;
    }
    if params.client_id.is_empty() {
        return Err(Refusal::invalid("auth.refresh.client_id: must not be empty"));
    }
    secrets.insert(REFRESH_TOKEN, params.refresh_token);
    let token_endpoint_auth = match params.token_endpoint_auth {
        TokenEndpointAuthParams::None {} => TokenEndpointAuth::None {},
        TokenEndpointAuthParams::ClientSecretBasic { client_secret } => {
            secrets.insert(CLIENT_SECRET, client_secret);
            TokenEndpointAuth::ClientSecretBasic {}
        }
        TokenEndpointAuthParams::ClientSecretPost { client_secret } => {
            secrets.insert(CLIENT_SECRET, client_secret);
            TokenEndpointAuth::ClientSecretPost {}
        }
    };
    Ok(Refresh {
        client_id: params.client_id,
        token_endpoint: params.token_endpoint,
        token_endpoint_auth,
        resource: params.resource,
        scope: params.scope.filter(|scope| !scope.is_empty()),
    })
}

fn unchanged(what: &str, sent: Option<&String>, is: &String) -> Result<(), Refusal> {
    match sent {
        Some(sent) if sent != is => Err(Refusal::invalid(format!("{what}: cannot change; archive the credential and make another"))),
        _ => Ok(()),
    }
}

fn merged(before: InjectionLocation, params: Option<InjectionLocationParams>) -> Result<InjectionLocation, Refusal> {
    let params = params.unwrap_or_default();
    let merged = InjectionLocation { body: params.body.unwrap_or(before.body), header: params.header.unwrap_or(before.header) };
    if !merged.body && !merged.header {
        return Err(Refusal::invalid("auth.injection_location: one of header and body must stay true"));
    }
    Ok(merged)
}

fn check_url(what: &str, url: &str) -> Result<(), Refusal> {
    check_chars(what, url, limits::URL_CHARS)?;
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    match parsed {
        Some(url) if url.username().is_empty() && url.password().is_none() && url.fragment().is_none() => Ok(()),
        Some(_) => Err(Refusal::invalid(format!("{what}: must not hold a user, a password or a fragment"))),
        None => Err(Refusal::invalid(format!("{what}: must be an address that starts with https:// or http://"))),
    }
}

fn check_expiry(at: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    match at {
        Some(at) if at <= now => Err(Refusal::invalid("auth.expires_at: must be in the future")),
        _ => Ok(()),
    }
}

/// Variables that programs take orders from; a secret in one would break the sandbox or do nothing.
const NOT_FOR_SECRETS: [&str; 14] =
    ["PATH", "HOME", "USER", "SHELL", "PWD", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PROMPT_COMMAND", "TMPDIR", "TERM", "LANG"];
/// Beginnings of such names.
const NOT_FOR_SECRETS_BY_PREFIX: [&str; 4] = ["LD_", "LC_", "OSTLER_", "BASH_FUNC"];
/// Ends of such names.
const NOT_FOR_SECRETS_BY_SUFFIX: [&str; 3] = ["_PROXY", "_CA_BUNDLE", "_CA_CERTS"];

fn check_name(name: &str) -> Result<(), Refusal> {
    let begins = |first: u8| first.is_ascii_alphabetic() || first == b'_';
    let is_name = name.bytes().next().is_some_and(begins) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || name.len() > limits::SECRET_NAME_CHARS {
        return Err(Refusal::invalid(format!(
            "auth.secret_name: must be a name of a variable, of at most {} letters, digits and _",
            limits::SECRET_NAME_CHARS
        )));
    }
    let upper = name.to_ascii_uppercase();
    let taken = NOT_FOR_SECRETS.contains(&upper.as_str())
        || NOT_FOR_SECRETS_BY_PREFIX.iter().any(|prefix| upper.starts_with(prefix))
        || NOT_FOR_SECRETS_BY_SUFFIX.iter().any(|suffix| upper.ends_with(suffix));
    if taken {
        return Err(Refusal::invalid(format!("auth.secret_name: {name:?} is a variable that programs take orders from; use another name")));
    }
    Ok(())
}

fn check_networking(networking: &CredentialNetworking) -> Result<(), Refusal> {
    let CredentialNetworking::Limited { allowed_hosts } = networking else { return Ok(()) };
    if allowed_hosts.is_empty() {
        return Err(Refusal::invalid("auth.networking.allowed_hosts: name at least one host"));
    }
    check_count("auth.networking.allowed_hosts", allowed_hosts.len(), limits::CREDENTIAL_HOSTS)?;
    for host in allowed_hosts {
        if let Some(why) = hosts::refused(host) {
            return Err(Refusal::invalid(format!("auth.networking.allowed_hosts: {host:?} {why}")));
        }
    }
    Ok(())
}

fn check_secret(part: &str, secret: &SecretText) -> Result<(), Refusal> {
    let text = secret.expose();
    if text.is_empty() {
        return Err(Refusal::invalid(format!("auth: {part} must not be empty")));
    }
    if text.len() > limits::SECRET_BYTES {
        return Err(Refusal::invalid(format!("auth: {part} has more than {} bytes", limits::SECRET_BYTES)));
    }
    // It would end the header that it is put into.
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Refusal::invalid(format!("auth: {part} must not hold line breaks or NUL; encode it, for example in base64")));
    }
    Ok(())
}

/// The address of an MCP server as it is compared: scheme and host in lower case, without a default port and a slash at the end.
pub fn mcp_key(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
        Err(_) => url.trim_end_matches('/').to_owned(),
    }
}

#[cfg(test)]
mod tests;
