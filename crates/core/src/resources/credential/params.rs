//! Credentials as clients send them.

use std::fmt;

use serde::Deserialize;
use utoipa::ToSchema;

use super::super::metadata::{Metadata, MetadataPatch, MetadataPatchSchema, MetadataSchema};
use super::super::patch;
use super::CredentialNetworking;
use crate::time::Timestamp;

/// A secret on its way to be sealed. It does not show itself.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct SecretText(String);

impl SecretText {
    /// The secret itself, for the one place that seals it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([redacted])")
    }
}

/// `POST /v1/vaults/{vault_id}/credentials`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CredentialCreateParams {
    /// What it opens, and with what.
    pub auth: AuthCreateParams,
    /// A name for people.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Key-value pairs.
    #[serde(default)]
    #[schema(value_type = Option<MetadataSchema>)]
    pub metadata: Option<Metadata>,
}

/// What a new credential opens, and with what.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthCreateParams {
    /// A token for one MCP server.
    StaticBearer {
        /// The token. Never read back.
        token: SecretText,
        /// The MCP server.
        mcp_server_url: String,
    },
    /// An OAuth grant for one MCP server.
    McpOauth {
        /// The token. Never read back.
        access_token: SecretText,
        /// The MCP server.
        mcp_server_url: String,
        /// When the token ends; in the future.
        #[serde(default)]
        expires_at: Option<Timestamp>,
        /// How it is renewed.
        #[serde(default)]
        refresh: Option<RefreshCreateParams>,
    },
    /// A secret behind a placeholder in an environment variable of the sandbox.
    EnvironmentVariable {
        /// The name of the variable.
        secret_name: String,
        /// The secret. Never read back.
        secret_value: SecretText,
        /// The hosts that it may go to.
        networking: CredentialNetworking,
        /// The places of a request that it may go into; headers alone when left out.
        #[serde(default)]
        injection_location: Option<InjectionLocationParams>,
    },
}

/// How an OAuth grant is renewed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct RefreshCreateParams {
    /// Where.
    pub token_endpoint: String,
    /// The OAuth client.
    pub client_id: String,
    /// The token. Never read back.
    pub refresh_token: SecretText,
    /// How the client proves who it is.
    pub token_endpoint_auth: TokenEndpointAuthParams,
    /// The resource that is asked for.
    #[serde(default)]
    pub resource: Option<String>,
    /// The scope that is asked for.
    #[serde(default)]
    pub scope: Option<String>,
}

/// How the client proves who it is, as sent.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenEndpointAuthParams {
    /// Not at all.
    None {},
    /// By HTTP Basic authentication.
    ClientSecretBasic {
        /// The secret of the client. Never read back.
        client_secret: SecretText,
    },
    /// In the body of the request.
    ClientSecretPost {
        /// The secret of the client. Never read back.
        client_secret: SecretText,
    },
}

/// The places of a request that a secret may go into, as sent; what is left out stays.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
pub struct InjectionLocationParams {
    /// Into the body.
    #[serde(default)]
    pub body: Option<bool>,
    /// Into headers and the query.
    #[serde(default)]
    pub header: Option<bool>,
}

/// `POST /v1/vaults/{vault_id}/credentials/{id}`: absent fields stay.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CredentialUpdateParams {
    /// New secrets, and what else may change of what it opens. Its type cannot.
    #[serde(default)]
    pub auth: Option<AuthUpdateParams>,
    /// Replaces the name; null clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub display_name: Option<Option<String>>,
    /// Merged by key; null deletes a key.
    #[serde(default)]
    #[schema(value_type = Option<MetadataPatchSchema>)]
    pub metadata: Option<MetadataPatch>,
}

/// New secrets of a credential. What names it cannot change, and may be sent as it is.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AuthUpdateParams {
    /// Of a token for an MCP server.
    StaticBearer {
        /// The new token.
        #[serde(default)]
        token: Option<SecretText>,
        /// Cannot change.
        #[serde(default)]
        mcp_server_url: Option<String>,
    },
    /// Of an OAuth grant.
    McpOauth {
        /// The new token.
        #[serde(default)]
        access_token: Option<SecretText>,
        /// When it ends; null: nobody knows. Stays when left out.
        #[serde(default, deserialize_with = "patch::field")]
        #[schema(value_type = Option<Timestamp>)]
        expires_at: Option<Option<Timestamp>>,
        /// Changes to how it is renewed.
        #[serde(default)]
        refresh: Option<RefreshUpdateParams>,
        /// Cannot change.
        #[serde(default)]
        mcp_server_url: Option<String>,
    },
    /// Of a secret behind a placeholder.
    EnvironmentVariable {
        /// The new secret.
        #[serde(default)]
        secret_value: Option<SecretText>,
        /// Replaces the hosts that it may go to.
        #[serde(default)]
        networking: Option<CredentialNetworking>,
        /// The places that it may go into, merged.
        #[serde(default)]
        injection_location: Option<InjectionLocationParams>,
        /// Cannot change.
        #[serde(default)]
        secret_name: Option<String>,
    },
}

/// Changes to how an OAuth grant is renewed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct RefreshUpdateParams {
    /// The new token.
    #[serde(default)]
    pub refresh_token: Option<SecretText>,
    /// Replaces the scope; an empty one clears it.
    #[serde(default)]
    pub scope: Option<String>,
    /// A new secret of the client. Its type cannot change.
    #[serde(default)]
    pub token_endpoint_auth: Option<TokenEndpointAuthUpdateParams>,
}

/// A new secret of an OAuth client.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TokenEndpointAuthUpdateParams {
    /// It has none.
    None {},
    /// Sent by HTTP Basic authentication.
    ClientSecretBasic {
        /// The new secret.
        #[serde(default)]
        client_secret: Option<SecretText>,
    },
    /// Sent in the body of the request.
    ClientSecretPost {
        /// The new secret.
        #[serde(default)]
        client_secret: Option<SecretText>,
    },
}
