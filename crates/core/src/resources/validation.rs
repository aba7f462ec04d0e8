//! What a live try of a credential found.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{CredentialId, VaultId};
use crate::time::Timestamp;

/// `POST /v1/vaults/{vault_id}/credentials/{id}/mcp_oauth_validate`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CredentialValidation {
    /// The credential.
    pub credential_id: CredentialId,
    /// Whether it can be renewed.
    pub has_refresh_token: bool,
    /// What went wrong at the MCP server; null when nothing did or it was not asked.
    pub mcp_probe: Option<McpProbe>,
    /// What renewing the token brought; null when that was not tried.
    pub refresh: Option<RefreshAttempt>,
    /// The verdict.
    pub status: ValidationStatus,
    /// Always `vault_credential_validation`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// When it was tried.
    pub validated_at: Timestamp,
    /// The vault.
    pub vault_id: VaultId,
}

/// Whether a credential opens the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValidationStatus {
    /// It does.
    Valid,
    /// It does not.
    Invalid,
    /// Nobody could say.
    Unknown,
}

/// What went wrong at an MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct McpProbe {
    /// What it answered; null when it did not.
    pub http_response: Option<HttpAnswer>,
    /// The method of the protocol that was asked.
    pub method: String,
}

/// What renewing a token brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefreshAttempt {
    /// What the endpoint answered, when it refused.
    pub http_response: Option<HttpAnswer>,
    /// How it ended.
    pub status: RefreshStatus,
}

/// How renewing a token ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefreshStatus {
    /// There is a new one.
    Succeeded,
    /// The endpoint refused.
    Failed,
    /// The endpoint could not be reached.
    ConnectError,
    /// There is nothing to renew it with.
    NoRefreshToken,
}

/// An answer by HTTP, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HttpAnswer {
    /// Its body, or the beginning of it.
    pub body: String,
    /// Whether there was more.
    pub body_truncated: bool,
    /// What kind of body.
    pub content_type: String,
    /// Its status.
    pub status_code: u16,
}
