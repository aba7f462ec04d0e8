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
    /// The document that it belongs to, if it does; never changes.
    pub family: Option<Family>,
    /// What is secret in it, sealed. Gone once it is archived; former versions have none.
    pub sealed: Option<String>,
}

/// How a document belongs to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The id of the document that it belongs to.
    pub parent: String,
    /// What only one child of that document may have while it is not archived.
    pub key: String,
}

/// How the making of a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildInsertion {
    /// It is stored.
    Inserted,
    /// There is no such parent in this scope.
    NoParent,
    /// The parent is archived.
    ParentArchived,
    /// A child that is not archived has the key.
    KeyTaken,
    /// The parent has as many children that are not archived as it may.
    Full,
}

/// Which documents to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentFilter {
    /// Archived ones as well.
    pub include_archived: bool,
    /// Made within this span.
    pub created: TimeRange,
    /// Children of this document.
    pub parent: Option<String>,
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
