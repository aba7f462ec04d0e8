//! What the platform needs of egress, the one process that can open a secret. The binary brings the way to it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use async_trait::async_trait;
use ostler_core::egress::{Lost, Question, Record, Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_core::resources::credential::Refresh;
use ostler_core::resources::validation::HttpAnswer;
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

/// Whose secret something is, as the platform knows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// The unit of isolation.
    pub workspace: ostler_core::ids::WorkspaceId,
    /// The vault.
    pub vault: ostler_core::ids::VaultId,
    /// The credential.
    pub credential: ostler_core::ids::CredentialId,
}

/// What renewing an OAuth token needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenToRenew {
    /// Whose it is and what it is bound to; its version is that of the new secrets.
    pub owner: Binding,
    /// How.
    pub refresh: Refresh,
    /// With what, sealed.
    pub refresh_token: String,
    /// The secret of the client, sealed, if it has one.
    pub client_secret: Option<String>,
}

/// What asking for a new token brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAnswer {
    /// New tokens, to be stored before anything else is done with them.
    Renewed {
        /// The access token, sealed.
        access_token: String,
        /// The refresh token, sealed, where the former one does not hold any more.
        refresh_token: Option<String>,
        /// For how many seconds the access token holds, if that was said.
        expires_in: Option<u64>,
    },
    /// The endpoint gave none; what it answered, if it did.
    Failed(Option<HttpAnswer>),
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
    /// Renews an OAuth token.
    async fn renew_token(&self, token: TokenToRenew) -> Result<TokenAnswer, EgressError>;

    /// Whether it serves sandboxes; without, they are offline.
    fn serves_sandboxes(&self) -> bool;
    /// The socket at which it takes calls of the server to the outside ([`ostler_core::egress::calls`]); none: there are none.
    fn calls(&self) -> Option<&Path>;
    /// Serves a sandbox from now on, whose doors these are, until nobody says for a minute that it is needed. Returns the
    /// credentials that cannot be used, if some cannot.
    async fn admit(&self, session: &SessionId, terms: &Terms, doors: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError>;
    /// Changes what a sandbox may; what went on by what is gone ends. `None`: the sandbox is not known there.
    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<Unusable>>, EgressError>;
    /// Says that sandboxes are needed; returns those that are not known there.
    async fn renew(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>, EgressError>;
    /// The requests that wait for a person, by their sandboxes.
    async fn questions(&self) -> Result<Vec<(SessionId, Vec<Question>)>, EgressError> {
        Ok(Vec::new())
    }
    /// Gives one such request its answer: one that waits, or else the next that comes.
    async fn settle(&self, session: &SessionId, question: Question, is_allowed: bool) -> Result<(), EgressError> {
        let _ = (session, question, is_allowed);
        Err(EgressError::Unavailable("nobody waits for answers".into()))
    }
    /// A sandbox is gone.
    async fn release(&self, session: &SessionId) -> Result<(), EgressError>;
    /// Takes what sandboxes did, at most so many records.
    async fn records(&self, most: usize) -> Result<Fetched, EgressError>;
}
