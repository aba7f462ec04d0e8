//! The store: journal, snapshots and resources behind one trait of domain operations. Bodies are
//! serialised JSON that only its callers understand; nothing here interprets records or events.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod budget;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod document;
mod error;
mod journal;
mod keys;
pub mod limits;
mod lock;
mod network;
mod page;
mod session;
pub mod sqlite;

use std::fmt;

use async_trait::async_trait;
use ostler_core::cost::Cost;
use ostler_core::ids::{ApiKeyId, EventId, OrganizationId, SessionId, WorkspaceId};
use ostler_core::scope::Scope;
use ostler_core::time::Timestamp;

pub use budget::{Reserve, Spend, WorkspaceBudget};
pub use document::{ChildInsertion, Document, DocumentDeletion, DocumentFilter, Family, SessionRef};
pub use error::StoreError;
pub use journal::{Claimed, EventQuery, RowUpdate, SessionBatch, Snapshot, StoredEvent, StoredRecord};
pub use keys::{ApiKey, Bootstrap, NewApiKey, Space};
pub use lock::{DataDirLock, LockError};
pub use network::{NetworkLine, NetworkQuery, NewNetworkLine};
pub use page::{Cursor, Direction, Order, Page, PageRequest, TimeRange};
pub use session::{Epoch, OpenWork, SessionDeletion, SessionFilter, SessionPage, SessionRow, UnfinishedSession};
pub use sqlite::{FaultHook, FaultPoint, SqliteConfig, SqliteStore, Stats};

/// All that is durable. A foreign id behaves exactly as an unknown one.
///
/// A write that returned is on disk. A future dropped half-way may or may not have written.
/// System scopes: `Authentication` sees keys only, `Bootstrap` makes first rows only, every other
/// reason sees the sessions and documents of all workspaces.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Starts a new epoch: the durable counter, one up.
    async fn begin_epoch(&self) -> Result<Epoch, StoreError>;

    /// The id of this installation: 16 hexadecimal digits, made once.
    async fn install_id(&self) -> Result<String, StoreError>;

    /// Room on the disk of the data directory; one cheap system call.
    fn space(&self) -> Space;

    /// Makes the first organization, workspace and key. `false`: there was one already, nothing
    /// was made. Needs `System(Bootstrap)`.
    async fn bootstrap(&self, scope: &Scope, first: &Bootstrap) -> Result<bool, StoreError>;

    /// A key, revoked or not. Needs a tenant or `System(Authentication)`.
    async fn api_key(&self, scope: &Scope, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError>;

    /// Whether more than one workspace shares the server.
    async fn has_several_workspaces(&self) -> Result<bool, StoreError>;

    /// Adds a key to the tenant's workspace. `Conflict` when the id is taken.
    async fn add_api_key(&self, scope: &Scope, key: NewApiKey) -> Result<(), StoreError>;

    /// Revokes a key. `false`: unknown. A key revoked before keeps its first time.
    async fn revoke_api_key(&self, scope: &Scope, id: &ApiKeyId, at: Timestamp) -> Result<bool, StoreError>;

    /// The tenant's keys, newest first.
    async fn api_keys(&self, scope: &Scope) -> Result<Vec<ApiKey>, StoreError>;

    /// Stores a new document. `Conflict` when kind and id are taken.
    async fn insert_document(&self, scope: &Scope, doc: &Document) -> Result<(), StoreError>;

    /// Stores a new document that belongs to one of the kind `of`, which may have `most` children of its kind that
    /// are not archived. `Conflict` when kind and id are taken.
    async fn insert_child(&self, scope: &Scope, doc: &Document, of: &str, most: u64) -> Result<ChildInsertion, StoreError>;

    /// The current content of a document.
    async fn document(&self, scope: &Scope, kind: &str, id: &str) -> Result<Option<Document>, StoreError>;

    /// The content under a version: the current one or a kept one.
    async fn document_version(&self, scope: &Scope, kind: &str, id: &str, version: u64) -> Result<Option<Document>, StoreError>;

    /// Replaces a document whose lock is `expected_lock`; `doc.lock` must be one more. `false`:
    /// somebody was faster, or it is gone. With `keep_version` the content replaced stays readable
    /// under its version if the version changes.
    async fn replace_document(&self, scope: &Scope, doc: &Document, expected_lock: u64, keep_version: bool) -> Result<bool, StoreError>;

    /// Archives a document and its children at once; those that are archived stay as they are. `false`: unknown.
    async fn archive_family(&self, scope: &Scope, kind: &str, id: &str, at: Timestamp) -> Result<bool, StoreError>;

    /// Deletes a document, its kept versions and its children, `unless` a session refers to it.
    async fn delete_document(
        &self,
        scope: &Scope,
        kind: &str,
        id: &str,
        unless: Option<SessionRef>,
    ) -> Result<DocumentDeletion, StoreError>;

    /// Documents of a kind, newest first.
    async fn documents(&self, scope: &Scope, kind: &str, filter: &DocumentFilter, page: &PageRequest)
    -> Result<Page<Document>, StoreError>;

    /// The current and the kept versions of a document, newest version first. Empty when unknown.
    async fn document_versions(&self, scope: &Scope, kind: &str, id: &str, page: &PageRequest) -> Result<Page<Document>, StoreError>;

    /// Stores a session with its first batch (`after_seq` 0), owned by `epoch`. `Conflict` when
    /// the id is taken or was deleted.
    async fn create_session(&self, scope: &Scope, epoch: Epoch, row: &SessionRow, first: &SessionBatch) -> Result<(), StoreError>;

    /// The row of a session.
    async fn session(&self, scope: &Scope, id: &SessionId) -> Result<Option<SessionRow>, StoreError>;

    /// Sessions by creation.
    async fn sessions(&self, scope: &Scope, filter: &SessionFilter, order: Order, page: &PageRequest) -> Result<SessionPage, StoreError>;

    /// Deletes a session and all that hangs on it, unless its open work is to be kept; a tombstone without
    /// content stays. `Stale` when a later epoch owns it.
    async fn delete_session(
        &self,
        scope: &Scope,
        epoch: Epoch,
        id: &SessionId,
        at: Timestamp,
        open: OpenWork,
    ) -> Result<SessionDeletion, StoreError>;

    /// When a session was deleted, if it was.
    async fn deleted_session(&self, scope: &Scope, id: &SessionId) -> Result<Option<Timestamp>, StoreError>;

    /// The sessions with open work. Needs `System(Recovery)`; costs nothing for idle ones.
    async fn unfinished_sessions(&self, scope: &Scope) -> Result<Vec<UnfinishedSession>, StoreError>;

    /// Counts one more recovery and returns the count. `NotFound` when unknown.
    async fn note_recovery(&self, scope: &Scope, id: &SessionId) -> Result<u32, StoreError>;

    /// Takes a session over for `epoch` and reads what its state is folded from. A snapshot of
    /// another `snapshot_version` is ignored. `None`: unknown. `Stale` when a later epoch owns it.
    async fn claim(&self, scope: &Scope, epoch: Epoch, id: &SessionId, snapshot_version: u32) -> Result<Option<Claimed>, StoreError>;

    /// Appends one batch; returns after the commit. Batches of concurrent callers are committed
    /// together, and one that fails fails alone. `Stale` when another epoch owns the session or
    /// `after_seq` is not its last record; `NotFound` when the session is gone; `CapReached` and
    /// `CapNeedsPrice` when the workspace's budget does not admit its request.
    async fn append(&self, epoch: Epoch, batch: SessionBatch) -> Result<(), StoreError>;

    /// The budget that the tenant's sessions share.
    async fn workspace_budget(&self, scope: &Scope) -> Result<WorkspaceBudget, StoreError>;

    /// Sets or removes the most that the tenant's sessions may spend together.
    async fn set_workspace_cap(&self, scope: &Scope, cap: Option<Cost>) -> Result<WorkspaceBudget, StoreError>;

    /// The tenant's sessions that wait for budget, oldest first.
    async fn capped_sessions(&self, scope: &Scope) -> Result<Vec<SessionId>, StoreError>;

    /// The workspaces that have sessions that wait for budget. Needs `System(Recovery)`.
    async fn capped_workspaces(&self, scope: &Scope) -> Result<Vec<(OrganizationId, WorkspaceId)>, StoreError>;

    /// Keeps a snapshot if it is newer than the kept one or of another version. An unknown session
    /// or one that has not reached `seq` keeps none.
    async fn save_snapshot(&self, id: &SessionId, snapshot: Snapshot) -> Result<(), StoreError>;

    /// Records after `after_seq` of the given kinds (empty: all), in order; see
    /// [`limits::RECORDS_READ`]. Empty when unknown.
    async fn records(&self, id: &SessionId, after_seq: u64, kinds: &[&str], limit: usize) -> Result<Vec<StoredRecord>, StoreError>;

    /// Events of a session; `None` when it is unknown.
    async fn events(&self, scope: &Scope, id: &SessionId, query: &EventQuery) -> Result<Option<Vec<StoredEvent>>, StoreError>;

    /// One event of a session.
    async fn event(&self, scope: &Scope, id: &SessionId, event_id: &EventId) -> Result<Option<StoredEvent>, StoreError>;

    /// Adds lines to the network logs of sessions; those of sessions that are gone are left out. A log keeps its newest
    /// [`limits::NETWORK_LINES_PER_SESSION`].
    async fn add_network_lines(&self, lines: &[NewNetworkLine]) -> Result<(), StoreError>;

    /// The network log of a session, newest first; `None` when the session is unknown.
    async fn network_lines(&self, scope: &Scope, id: &SessionId, query: &NetworkQuery) -> Result<Option<Vec<NetworkLine>>, StoreError>;

    /// Deletes lines of network logs of before a time, at most [`limits::NETWORK_LINES_FORGOTTEN`]; returns how many. Needs
    /// `System(Recovery)`.
    async fn forget_network_lines(&self, scope: &Scope, before: Timestamp) -> Result<u64, StoreError>;

    /// The position of the last event, 0 without one; `None` when the session is unknown.
    async fn last_position(&self, scope: &Scope, id: &SessionId) -> Result<Option<u64>, StoreError>;
}
