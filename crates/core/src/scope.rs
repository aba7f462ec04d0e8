//! Who asks, and what they may see. No query runs without a [`Scope`].

use serde::{Deserialize, Serialize};

use crate::ids::{ApiKeyId, OrganizationId, WorkspaceId};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Principal {
    /// A program holding an API key.
    ApiKey {
        /// The key's public id.
        id: ApiKeyId,
    },
    /// The platform itself.
    System,
}

/// The workspace of a caller, and the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// The organization.
    pub organization: OrganizationId,
    /// The workspace; every row belongs to exactly one.
    pub workspace: WorkspaceId,
    /// Who calls.
    pub principal: Principal,
}

/// Why the platform looks across tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SystemReason {
    /// Taking up sessions that were running when the last process ended.
    Recovery,
    /// Creating the first organization and key.
    Bootstrap,
    /// Finding the caller of a request by its key.
    Authentication,
}

/// What a store operation may touch. A foreign id answers exactly as an unknown one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One workspace.
    Tenant(Tenant),
    /// Everything; only where the platform itself asks.
    System(SystemReason),
}

impl Scope {
    /// The workspace this scope is limited to, or `None` for the system.
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        match self {
            Self::Tenant(tenant) => Some(&tenant.workspace),
            Self::System(_) => None,
        }
    }

    /// Who asks.
    pub fn principal(&self) -> Principal {
        match self {
            Self::Tenant(tenant) => tenant.principal.clone(),
            Self::System(_) => Principal::System,
        }
    }
}
