//! What a scope may touch, in the form queries need it. No query is made without asking here.

use ostler_core::ids::{OrganizationId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason, Tenant};

use crate::StoreError;

/// The condition of a query for one row: parameter `?2` is the workspace, or NULL for the system.
/// Written into the SQL by [`scoped`].
macro_rules! scoped {
    ($($sql:expr),+) => {
        concat!($($sql),+, " AND (?2 IS NULL OR workspace_id = ?2)")
    };
}
pub(super) use scoped;

/// The workspace that queries on sessions and documents are limited to; `None` for the system.
pub(super) fn workspace(scope: &Scope) -> Result<Option<String>, StoreError> {
    match scope {
        Scope::Tenant(tenant) => Ok(Some(tenant.workspace.as_str().to_owned())),
        Scope::System(SystemReason::Authentication) => Err(StoreError::OutOfScope("authentication sees keys only")),
        Scope::System(SystemReason::Bootstrap) => Err(StoreError::OutOfScope("bootstrap makes first rows only")),
        Scope::System(_) => Ok(None),
    }
}

/// The tenant, where only a tenant will do.
pub(super) fn tenant(scope: &Scope) -> Result<&Tenant, StoreError> {
    match scope {
        Scope::Tenant(tenant) => Ok(tenant),
        Scope::System(_) => Err(StoreError::OutOfScope("this needs a workspace")),
    }
}

/// The workspace for looking up keys; `None` for authentication.
pub(super) fn key_workspace(scope: &Scope) -> Result<Option<String>, StoreError> {
    match scope {
        Scope::Tenant(tenant) => Ok(Some(tenant.workspace.as_str().to_owned())),
        Scope::System(SystemReason::Authentication) => Ok(None),
        Scope::System(_) => Err(StoreError::OutOfScope("keys are for tenants and authentication")),
    }
}

/// Refuses every scope but the system's for this reason.
pub(super) fn only(scope: &Scope, reason: SystemReason) -> Result<(), StoreError> {
    if *scope == Scope::System(reason) { Ok(()) } else { Err(StoreError::OutOfScope("this is for the platform itself")) }
}

/// Refuses a new row that names another tenant than the scope. Bootstrap may make any row.
pub(super) fn may_own(scope: &Scope, organization: &OrganizationId, workspace: &WorkspaceId) -> Result<(), StoreError> {
    match scope {
        Scope::Tenant(tenant) if tenant.organization == *organization && tenant.workspace == *workspace => Ok(()),
        Scope::Tenant(_) => Err(StoreError::OutOfScope("the row names another workspace")),
        Scope::System(SystemReason::Authentication) => Err(StoreError::OutOfScope("authentication sees keys only")),
        Scope::System(_) => Ok(()),
    }
}
