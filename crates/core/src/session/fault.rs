//! Credentials of a session that cannot be used, and what clients are told of them.

use serde::{Deserialize, Serialize};

use crate::events::wire::{RetryStatus, SessionError};
use crate::ids::{CredentialId, VaultId};

/// A credential that cannot be used as its session would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFault {
    /// Which.
    pub credential: CredentialId,
    /// Where it is.
    pub vault: VaultId,
    /// The variable that stands for it.
    pub name: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The environment allows none of its hosts.
    Unreachable,
    /// Its secret does not open.
    Unusable,
}

impl CredentialFault {
    /// What is told, and what can be done about it.
    pub fn error(&self) -> SessionError {
        let Self { credential, vault, name, kind } = self;
        // The turn goes on.
        let retry_status = RetryStatus::Retrying {};
        match kind {
            FaultKind::Unreachable => SessionError::CredentialHostUnreachableError {
                credential_id: credential.clone(),
                vault_id: vault.clone(),
                message: format!(
                    "the secret behind ${name} goes nowhere: the environment allows none of the hosts that the credential {credential} is for; add one to `config.networking.allowed_hosts` of the environment"
                ),
                retry_status,
            },
            FaultKind::Unusable => SessionError::UnknownError {
                message: format!(
                    "the secret behind ${name} cannot be used: what is stored in the credential {credential} of the vault {vault} does not open, because it was sealed for a key that this server does not have, or was changed; update the credential with the secret"
                ),
                retry_status,
            },
        }
    }

    /// Whether both say the same of the same credential.
    pub fn is_about(&self, other: &Self) -> bool {
        (&self.credential, self.kind) == (&other.credential, other.kind)
    }
}
