//! The trait on SQLite: scopes are checked here, then the work goes to the writer or a reader.

use async_trait::async_trait;
use ostler_core::cost::Cost;
use ostler_core::ids::{ApiKeyId, EventId, OrganizationId, SessionId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::time::Timestamp;

use super::journal::EncodedBatch;
use super::{SqliteStore, access, budgets, documents, journal, keys, network, sessions};
use crate::{
    ApiKey, Bootstrap, ChildInsertion, Claimed, Document, DocumentDeletion, DocumentFilter, Epoch, EventQuery, NetworkLine, NetworkQuery,
    NewApiKey, NewNetworkLine, OpenWork, Order, Page, PageRequest, SessionBatch, SessionDeletion, SessionFilter, SessionPage, SessionRef,
    SessionRow, Snapshot, Space, Store, StoreError, StoredEvent, StoredRecord, UnfinishedSession, WorkspaceBudget,
};

#[async_trait]
impl Store for SqliteStore {
    async fn begin_epoch(&self) -> Result<Epoch, StoreError> {
        self.write(keys::begin_epoch).await
    }

    async fn install_id(&self) -> Result<String, StoreError> {
        if let Some(id) = self.read(keys::install_id).await? {
            return Ok(id);
        }
        let random = getrandom::u64().map_err(|error| StoreError::Unavailable(format!("making an install id: {error}")))?;
        self.write(move |db| keys::make_install_id(db, &format!("{random:016x}"))).await
    }

    fn space(&self) -> Space {
        match nix::sys::statvfs::statvfs(&self.dir) {
            Ok(found) => {
                let unit = found.fragment_size();
                let bytes = |blocks: u64| blocks.saturating_mul(unit);
                Space { free_bytes: bytes(found.blocks_available()), total_bytes: bytes(found.blocks()) }
            }
            Err(error) => {
                tracing::warn!(%error, "asking for the free space of the data directory");
                Space { free_bytes: 0, total_bytes: 0 }
            }
        }
    }

    async fn bootstrap(&self, scope: &Scope, first: &Bootstrap) -> Result<bool, StoreError> {
        access::only(scope, SystemReason::Bootstrap)?;
        let first = first.clone();
        self.write(move |db| keys::bootstrap(db, &first)).await
    }

    async fn api_key(&self, scope: &Scope, id: &ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let (workspace, id) = (access::key_workspace(scope)?, id.clone());
        self.read(move |db| keys::api_key(db, id.as_str(), workspace.as_deref())).await
    }

    async fn add_api_key(&self, scope: &Scope, key: NewApiKey) -> Result<(), StoreError> {
        let tenant = access::tenant(scope)?.clone();
        self.write(move |db| keys::add(db, tenant.organization.as_str(), tenant.workspace.as_str(), &key)).await
    }

    async fn revoke_api_key(&self, scope: &Scope, id: &ApiKeyId, at: Timestamp) -> Result<bool, StoreError> {
        let (workspace, id) = (access::tenant(scope)?.workspace.clone(), id.clone());
        self.write(move |db| keys::revoke(db, id.as_str(), workspace.as_str(), at)).await
    }

    async fn api_keys(&self, scope: &Scope) -> Result<Vec<ApiKey>, StoreError> {
        let workspace = access::tenant(scope)?.workspace.clone();
        self.read(move |db| keys::api_keys(db, workspace.as_str())).await
    }

    async fn insert_document(&self, scope: &Scope, doc: &Document) -> Result<(), StoreError> {
        access::may_own(scope, &doc.organization, &doc.workspace)?;
        let doc = doc.clone();
        self.write(move |db| documents::insert(db, &doc)).await
    }

    async fn insert_child(&self, scope: &Scope, doc: &Document, of: &str, most: u64) -> Result<ChildInsertion, StoreError> {
        access::may_own(scope, &doc.organization, &doc.workspace)?;
        let (doc, of) = (doc.clone(), of.to_owned());
        self.write(move |db| documents::insert_child(db, &doc, &of, most)).await
    }

    async fn document(&self, scope: &Scope, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
        let (workspace, kind, id) = (access::workspace(scope)?, kind.to_owned(), id.to_owned());
        self.read(move |db| documents::get(db, workspace.as_deref(), &kind, &id)).await
    }

    async fn document_version(&self, scope: &Scope, kind: &str, id: &str, version: u64) -> Result<Option<Document>, StoreError> {
        let (workspace, kind, id) = (access::workspace(scope)?, kind.to_owned(), id.to_owned());
        self.read(move |db| documents::get_version(db, workspace.as_deref(), &kind, &id, version)).await
    }

    async fn replace_document(&self, scope: &Scope, doc: &Document, expected_lock: u64, keep_version: bool) -> Result<bool, StoreError> {
        access::may_own(scope, &doc.organization, &doc.workspace)?;
        let (workspace, doc) = (access::workspace(scope)?, doc.clone());
        self.write(move |db| documents::replace(db, workspace.as_deref(), &doc, expected_lock, keep_version)).await
    }

    async fn archive_family(&self, scope: &Scope, kind: &str, id: &str, at: Timestamp) -> Result<bool, StoreError> {
        let (workspace, kind, id) = (access::workspace(scope)?, kind.to_owned(), id.to_owned());
        self.write(move |db| documents::archive_family(db, workspace.as_deref(), &kind, &id, at)).await
    }

    async fn delete_document(
        &self,
        scope: &Scope,
        kind: &str,
        id: &str,
        unless: Option<SessionRef>,
    ) -> Result<DocumentDeletion, StoreError> {
        let (workspace, kind, id) = (access::workspace(scope)?, kind.to_owned(), id.to_owned());
        self.write(move |db| documents::delete(db, workspace.as_deref(), &kind, &id, unless)).await
    }

    async fn documents(
        &self,
        scope: &Scope,
        kind: &str,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> Result<Page<Document>, StoreError> {
        let workspace = access::workspace(scope)?;
        let (kind, filter, page) = (kind.to_owned(), filter.clone(), page.clone());
        self.read(move |db| documents::list(db, workspace, &kind, &filter, &page)).await
    }

    async fn document_versions(&self, scope: &Scope, kind: &str, id: &str, page: &PageRequest) -> Result<Page<Document>, StoreError> {
        let workspace = access::workspace(scope)?;
        let (kind, id, page) = (kind.to_owned(), id.to_owned(), page.clone());
        self.read(move |db| documents::versions(db, workspace, &kind, &id, &page)).await
    }

    async fn create_session(&self, scope: &Scope, epoch: Epoch, row: &SessionRow, first: &SessionBatch) -> Result<(), StoreError> {
        access::may_own(scope, &row.organization, &row.workspace)?;
        if first.session != row.id || first.after_seq != 0 {
            return Err(StoreError::Invalid("the first batch does not belong to the new session".to_owned()));
        }
        let (row, first) = (row.clone(), EncodedBatch::new(first.clone())?);
        self.write(move |db| sessions::create(db, epoch, &row, &first)).await
    }

    async fn session(&self, scope: &Scope, id: &SessionId) -> Result<Option<SessionRow>, StoreError> {
        let (workspace, id) = (access::workspace(scope)?, id.clone());
        self.read(move |db| sessions::get(db, workspace.as_deref(), id.as_str())).await
    }

    async fn sessions(&self, scope: &Scope, filter: &SessionFilter, order: Order, page: &PageRequest) -> Result<SessionPage, StoreError> {
        let (workspace, filter, page) = (access::workspace(scope)?, filter.clone(), page.clone());
        self.read(move |db| sessions::list(db, workspace, &filter, order, &page)).await
    }

    async fn delete_session(
        &self,
        scope: &Scope,
        epoch: Epoch,
        id: &SessionId,
        at: Timestamp,
        open: OpenWork,
    ) -> Result<SessionDeletion, StoreError> {
        let (workspace, id) = (access::workspace(scope)?, id.clone());
        self.write(move |db| sessions::delete(db, workspace.as_deref(), epoch, id.as_str(), at, open)).await
    }

    async fn deleted_session(&self, scope: &Scope, id: &SessionId) -> Result<Option<Timestamp>, StoreError> {
        let (workspace, id) = (access::workspace(scope)?, id.clone());
        self.read(move |db| sessions::deleted(db, workspace.as_deref(), id.as_str())).await
    }

    async fn unfinished_sessions(&self, scope: &Scope) -> Result<Vec<UnfinishedSession>, StoreError> {
        access::only(scope, SystemReason::Recovery)?;
        self.read(sessions::unfinished).await
    }

    async fn note_recovery(&self, scope: &Scope, id: &SessionId) -> Result<u32, StoreError> {
        let (workspace, id) = (access::workspace(scope)?, id.clone());
        self.write(move |db| sessions::note_recovery(db, workspace.as_deref(), id.as_str())).await
    }

    async fn claim(&self, scope: &Scope, epoch: Epoch, id: &SessionId, snapshot_version: u32) -> Result<Option<Claimed>, StoreError> {
        let workspace = access::workspace(scope)?;
        let (scoped, session) = (workspace.clone(), id.clone());
        let current = self.read(move |db| sessions::get(db, scoped.as_deref(), session.as_str())).await?;
        let Some(current) = current else { return Ok(None) };
        // Waking a session this epoch owns already writes nothing.
        if current.epoch != epoch {
            let (scoped, session) = (workspace.clone(), id.clone());
            match self.write(move |db| sessions::claim(db, scoped.as_deref(), epoch, session.as_str())).await {
                Err(StoreError::NotFound) => return Ok(None),
                claimed => claimed?,
            }
        }
        // Once owned, only this epoch appends: what is read now is complete.
        let session = id.clone();
        self.read(move |db| match sessions::get_numbered(db, workspace.as_deref(), session.as_str())? {
            None => Ok(None),
            Some((_, row)) if row.epoch != epoch => Err(StoreError::Stale),
            Some((number, row)) => journal::claimed(db, number, row, snapshot_version).map(Some),
        })
        .await
    }

    async fn append(&self, epoch: Epoch, batch: SessionBatch) -> Result<(), StoreError> {
        let encoded = EncodedBatch::new(batch)?;
        self.write(move |db| journal::append(db, epoch, &encoded)).await
    }

    async fn workspace_budget(&self, scope: &Scope) -> Result<WorkspaceBudget, StoreError> {
        let workspace = access::tenant(scope)?.workspace.clone();
        self.read(move |db| budgets::get(db, workspace.as_str())).await
    }

    async fn set_workspace_cap(&self, scope: &Scope, cap: Option<Cost>) -> Result<WorkspaceBudget, StoreError> {
        let workspace = access::tenant(scope)?.workspace.clone();
        self.write(move |db| budgets::set_cap(db, workspace.as_str(), cap)).await
    }

    async fn capped_sessions(&self, scope: &Scope) -> Result<Vec<SessionId>, StoreError> {
        let workspace = access::tenant(scope)?.workspace.clone();
        self.read(move |db| budgets::capped(db, workspace.as_str())).await
    }

    async fn has_several_workspaces(&self) -> Result<bool, StoreError> {
        self.read(|db| Ok(db.all("SELECT 1 FROM workspaces LIMIT 2", [], |_| Ok(()))?.len() > 1)).await
    }

    async fn capped_workspaces(&self, scope: &Scope) -> Result<Vec<(OrganizationId, WorkspaceId)>, StoreError> {
        access::only(scope, SystemReason::Recovery)?;
        self.read(budgets::capped_workspaces).await
    }

    async fn save_snapshot(&self, id: &SessionId, snapshot: Snapshot) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |db| journal::save_snapshot(db, id.as_str(), &snapshot)).await
    }

    async fn records(&self, id: &SessionId, after_seq: u64, kinds: &[&str], limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let id = id.clone();
        self.read(move |db| journal::records(db, id.as_str(), after_seq, &kinds, limit)).await
    }

    async fn events(&self, scope: &Scope, id: &SessionId, query: &EventQuery) -> Result<Option<Vec<StoredEvent>>, StoreError> {
        let (workspace, id, query) = (access::workspace(scope)?, id.clone(), query.clone());
        self.read(move |db| journal::events(db, workspace.as_deref(), id.as_str(), &query)).await
    }

    async fn event(&self, scope: &Scope, id: &SessionId, event_id: &EventId) -> Result<Option<StoredEvent>, StoreError> {
        let (workspace, id, event_id) = (access::workspace(scope)?, id.clone(), event_id.clone());
        self.read(move |db| journal::event(db, workspace.as_deref(), id.as_str(), event_id.as_str())).await
    }

    async fn add_network_lines(&self, lines: &[NewNetworkLine]) -> Result<(), StoreError> {
        let lines = lines.to_vec();
        self.write(move |db| network::add(db, &lines)).await
    }

    async fn network_lines(&self, scope: &Scope, id: &SessionId, query: &NetworkQuery) -> Result<Option<Vec<NetworkLine>>, StoreError> {
        let (workspace, id, query) = (access::workspace(scope)?, id.clone(), query.clone());
        self.read(move |db| network::list(db, workspace.as_deref(), id.as_str(), &query)).await
    }

    async fn forget_network_lines(&self, scope: &Scope, before: Timestamp) -> Result<u64, StoreError> {
        access::only(scope, SystemReason::Recovery)?;
        self.write(move |db| network::forget(db, before)).await
    }

    async fn last_position(&self, scope: &Scope, id: &SessionId) -> Result<Option<u64>, StoreError> {
        let (workspace, id) = (access::workspace(scope)?, id.clone());
        self.read(move |db| Ok(sessions::number(db, workspace.as_deref(), id.as_str())?.map(|(_, position)| position))).await
    }
}
