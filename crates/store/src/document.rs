//! Plain documents: agents, environments and whatever else is created, updated and listed. What
//! stands in a body is not known here.

use ostler_core::ids::{OrganizationId, WorkspaceId};
use ostler_core::time::Timestamp;

use crate::TimeRange;

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The kind of resource, a short constant such as `agent`.
    pub kind: String,
    /// The id, unique within the kind.
    pub id: String,
    /// The organization.
    pub organization: OrganizationId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The version clients see.
    pub version: u64,
    /// The optimistic lock: one more with every replacement.
    pub lock: u64,
    /// When it was made; never changes.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// Serialised JSON.
    pub body: String,
}

/// Which documents to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentFilter {
    /// Archived ones as well.
    pub include_archived: bool,
    /// Made within this span.
    pub created: TimeRange,
}

/// The reference from sessions that forbids a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionRef {
    /// The session's `agent_id`.
    Agent,
    /// The session's `environment_id`.
    Environment,
    /// The session's `deployment_id`.
    Deployment,
}

/// How a deletion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentDeletion {
    /// The document and its kept versions are gone.
    Deleted,
    /// There was none in this scope.
    NotFound,
    /// A session refers to it; nothing was deleted.
    Referenced,
}
