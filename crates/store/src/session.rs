//! The rows of sessions, and how they are listed. The journal is in [`crate::SessionBatch`].

use ostler_core::ids::{AgentId, EnvironmentId, OrganizationId, SessionId, WorkspaceId};
use ostler_core::time::Timestamp;

use crate::{Page, TimeRange};

/// One start of the process that may own sessions; later ones are larger.
pub type Epoch = u64;

/// A session as lists and lookups see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The id.
    pub id: SessionId,
    /// The organization.
    pub organization: OrganizationId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The agent it was made from.
    pub agent_id: AgentId,
    /// The version of that agent.
    pub agent_version: u64,
    /// The environment it runs in.
    pub environment_id: EnvironmentId,
    /// The deployment that made it, if one did.
    pub deployment_id: Option<String>,
    /// The status clients see.
    pub status: String,
    /// The title.
    pub title: Option<String>,
    /// The agent as it was resolved, serialised JSON.
    pub agent: String,
    /// What else clients see (usage, metadata, ...), serialised JSON.
    pub view: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// The epoch that owns it. Set by the store.
    pub epoch: Epoch,
    /// The sequence number of its last record, 0 without one. Set by the store.
    pub last_seq: u64,
    /// The position of its last event, 0 without one. Set by the store.
    pub last_position: u64,
    /// Work is open that a restart must take up.
    pub unfinished: bool,
    /// Recoveries since it last made progress. Set by the store.
    pub recoveries: u32,
}

/// Which sessions to list; every condition given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// Made from this agent.
    pub agent_id: Option<AgentId>,
    /// Made from this version of it.
    pub agent_version: Option<u64>,
    /// Running in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Made by this deployment.
    pub deployment_id: Option<String>,
    /// In one of these states; empty means any.
    pub statuses: Vec<String>,
    /// Made within this span.
    pub created: TimeRange,
    /// Archived ones as well.
    pub include_archived: bool,
}

/// What a deletion does with open work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenWork {
    /// A session with open work stays.
    Kept,
    /// It goes with its work.
    Deleted,
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionDeletion {
    /// It is gone.
    Deleted,
    /// There is none.
    NotFound,
    /// It has open work and stays.
    Unfinished,
}

/// One page of sessions.
pub type SessionPage = Page<SessionRow>;

/// A session that a restart must take up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedSession {
    /// The id.
    pub id: SessionId,
    /// The organization.
    pub organization: OrganizationId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Recoveries since it last made progress.
    pub recoveries: u32,
}
