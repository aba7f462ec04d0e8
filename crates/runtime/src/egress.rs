//! What the platform needs of egress, the one process that can open a secret. The binary brings the way to it.

use std::fmt;
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use ostler_core::egress::{Lost, Record, Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_core::resources::credential::Auth;
use ostler_core::resources::validation::{McpProbe, RefreshAttempt, ValidationStatus};
use ostler_core::time::Timestamp;
use ostler_seal::{Binding, KeyId, PublicKey, Sealed};

/// Why egress did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It cannot be asked now.
    #[error("egress cannot be asked now: {0}")]
    Unavailable(String),
    /// It was asked, and refused.
    #[error("egress refused: {0}")]
    Refused(String),
}

/// The secrets of a credential by their part, closed.
pub type SealedParts = std::collections::BTreeMap<String, Sealed>;

/// A credential as egress tries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialToTry {
    /// Whose it is; its bound part and version are those of each seal.
    pub of: Owner,
    /// What it opens.
    pub auth: Auth,
    /// Its secrets.
    pub sealed: SealedParts,
}

/// Whose secret something is, as the platform knows it. Egress refuses a seal that says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// The unit of isolation.
    pub workspace: ostler_core::ids::WorkspaceId,
    /// The vault.
    pub vault: ostler_core::ids::VaultId,
    /// The credential.
    pub credential: ostler_core::ids::CredentialId,
}

/// What trying a credential brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The verdict.
    pub status: ValidationStatus,
    /// What went wrong at the MCP server.
    pub mcp_probe: Option<McpProbe>,
    /// What renewing the token brought.
    pub refresh: Option<RefreshAttempt>,
    /// New tokens, to be stored before anything else is done with them.
    pub renewed: Option<Renewed>,
}

/// New tokens of an OAuth grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Renewed {
    /// Those that are new.
    pub sealed: SealedParts,
    /// When the access token ends, if that was said.
    pub expires_at: Option<Timestamp>,
}

/// What sandboxes did since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Line by line, in the order in which it ended.
    pub records: Vec<Record>,
    /// How much was lost.
    pub dropped: Vec<Lost>,
}

/// The way to egress.
#[async_trait]
pub trait Egress: Send + Sync + fmt::Debug {
    /// The key that secrets are closed for.
    fn public_key(&self) -> PublicKey;
    /// The names of all keys that open secrets, the newest first.
    fn key_ids(&self) -> Vec<KeyId>;
    /// Opens a secret of this owner and closes it with another binding.
    async fn reseal(&self, of: &Owner, sealed: &Sealed, binding: &Binding) -> Result<Sealed, EgressError>;
    /// Tries an OAuth grant at its MCP server.
    async fn validate(&self, credential: CredentialToTry) -> Result<Tried, EgressError>;

    /// Whether it serves sandboxes; without, they are offline.
    fn serves_sandboxes(&self) -> bool;
    /// Serves a sandbox from now on, whose doors these are, until nobody says for a minute that it is needed. Returns the
    /// credentials that cannot be used, if some cannot.
    async fn admit(&self, session: &SessionId, terms: &Terms, doors: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError>;
    /// Changes what a sandbox may; what went on by what is gone ends. `None`: the sandbox is not known there.
    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<Unusable>>, EgressError>;
    /// Says that sandboxes are needed; returns those that are not known there.
    async fn renew(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>, EgressError>;
    /// A sandbox is gone.
    async fn release(&self, session: &SessionId) -> Result<(), EgressError>;
    /// Takes what sandboxes did, at most so many records.
    async fn records(&self, most: usize) -> Result<Fetched, EgressError>;
}
