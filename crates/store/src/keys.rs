//! The rows of tenancy and of API keys. Secrets are not here: a key is known by its hash.

use ostler_core::ids::{ApiKeyId, OrganizationId, WorkspaceId};
use ostler_core::time::Timestamp;

/// A key to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// The public id.
    pub id: ApiKeyId,
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public id.
    pub id: ApiKeyId,
    /// The organization it acts for.
    pub organization: OrganizationId,
    /// The workspace it acts in.
    pub workspace: WorkspaceId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The first rows of an empty database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The first organization.
    pub organization: OrganizationId,
    /// Its first workspace.
    pub workspace: WorkspaceId,
    /// The first key of that workspace.
    pub key: NewApiKey,
}

/// Room on the disk of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes an unprivileged process may still write; 0 when the file system did not answer.
    pub free_bytes: u64,
    /// Bytes of the file system; 0 when it did not answer.
    pub total_bytes: u64,
}
