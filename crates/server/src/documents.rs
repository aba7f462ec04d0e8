//! The one implementation of create, read, update, archive, delete and list for plain documents. A
//! new kind of resource is a [`Resource`]: a type, its validation and its wire form.

use ostler_core::error::Refusal;
use ostler_core::ids::IdSource;
use ostler_core::time::Timestamp;
use ostler_store::{Cursor, Direction, Document, DocumentDeletion, DocumentFilter, Order, Page, SessionRef, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::Api;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::limits;
use crate::pagination::{List, ListPage, check_span};
use crate::path::PathId;
use crate::query::Params;

/// A kind of plain document.
pub(crate) trait Resource: Serialize + DeserializeOwned + PartialEq + Send + Sync {
    /// Its ids.
    type Id: PathId + std::fmt::Display + Sync;
    /// What clients read.
    type Wire: Serialize + Send;

    /// The name in the store; never changes.
    const KIND: &'static str;
    /// Whether former contents stay readable.
    const KEEPS_VERSIONS: bool;
    /// The stable name of the refusal to change an archived one, where the protocol has one.
    const ARCHIVED_CODE: Option<&'static str>;
    /// The most rows of a page.
    const PAGE_MOST: usize;

    /// A new id.
    fn mint(source: &mut IdSource) -> Self::Id;
    /// The wire form.
    fn wire(stored: Stored<Self>) -> Self::Wire;
}

/// A document, read.
#[derive(Debug)]
pub(crate) struct Stored<R: Resource> {
    pub(crate) id: R::Id,
    pub(crate) version: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) archived_at: Option<Timestamp>,
    pub(crate) body: Box<R>,
    /// The id of the document that it belongs to, if it does.
    pub(crate) parent: Option<String>,
    /// What is secret in it, sealed.
    pub(crate) sealed: Option<String>,
}

/// Reads a document's body.
pub(crate) fn read_stored<R: Resource>(document: &Document) -> Result<Stored<R>, StoreError> {
    let corrupt = |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("{} {}: {what}", R::KIND, document.id));
    Ok(Stored {
        id: document.id.parse().map_err(|_| corrupt(&"its id"))?,
        version: document.version,
        created_at: document.created_at,
        updated_at: document.updated_at,
        archived_at: document.archived_at,
        body: Box::new(serde_json::from_str(&document.body).map_err(|error| corrupt(&error))?),
        parent: document.family.as_ref().map(|family| family.parent.clone()),
        sealed: document.sealed.clone(),
    })
}

/// The stored form of a body.
pub(crate) fn text<R: Resource>(body: &R) -> Result<String, StoreError> {
    serde_json::to_string(body).map_err(|error| StoreError::Invalid(format!("{}: {error}", R::KIND)))
}

/// Stores a new document.
pub(crate) async fn create<R: Resource>(api: &Api, caller: &Caller, body: R) -> ApiResult<R::Wire> {
    let now = api.now();
    let document = Document {
        kind: R::KIND.to_owned(),
        id: R::mint(&mut api.state.ambient.ids()).to_string(),
        organization: caller.tenant.organization.clone(),
        workspace: caller.tenant.workspace.clone(),
        version: 1,
        lock: 1,
        created_at: now,
        updated_at: now,
        archived_at: None,
        body: text(&body)?,
        family: None,
        sealed: None,
    };
    api.state.store.insert_document(&caller.scope, &document).await?;
    Ok(R::wire(read_stored(&document)?))
}

async fn current<R: Resource>(api: &Api, caller: &Caller, id: &R::Id) -> ApiResult<Document> {
    let id = id.to_string();
    let found = api.state.store.document(&caller.scope, R::KIND, &id).await?;
    Ok(found.ok_or_else(|| R::Id::missing(&id))?)
}

/// Reads a document, as it is or in a version.
pub(crate) async fn read<R: Resource>(api: &Api, caller: &Caller, id: &R::Id, version: Option<u64>) -> ApiResult<Stored<R>> {
    let current = current::<R>(api, caller, id).await?;
    let Some(version) = version else { return Ok(read_stored(&current)?) };
    let found = api.state.store.document_version(&caller.scope, R::KIND, &id.to_string(), version).await?;
    let document = found.ok_or_else(|| Refusal::not_found(format!("no version {version} of {} {:?}", R::Id::NAME, id.to_string())))?;
    // What is archived is archived in all its versions.
    Ok(Stored { archived_at: current.archived_at, ..read_stored(&document)? })
}

/// Changes a document. Stores nothing when nothing changes. With `expected` another version is a
/// conflict, even for a change that changes nothing; without, the last one wins.
pub(crate) async fn update<R: Resource>(
    api: &Api,
    caller: &Caller,
    id: &R::Id,
    expected: Option<u64>,
    change: impl Fn(&R) -> Result<R, Refusal> + Send + Sync,
) -> ApiResult<R::Wire> {
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let before = current::<R>(api, caller, id).await?;
        if before.archived_at.is_some() {
            let refusal = Refusal::invalid(format!("the {} is archived and cannot be changed", R::Id::NAME));
            return Err(Refusal { code: R::ARCHIVED_CODE, ..refusal }.into());
        }
        if let Some(expected) = expected
            && expected != before.version
        {
            return Err(Refusal::conflict(format!(
                "version: the {} has version {}, not {expected}; read it again and repeat the change",
                R::Id::NAME,
                before.version
            ))
            .into());
        }
        let stored = read_stored::<R>(&before)?;
        let body = change(&stored.body)?;
        if body == *stored.body {
            return Ok(R::wire(stored));
        }
        let version = if R::KEEPS_VERSIONS { before.version + 1 } else { before.version };
        let after =
            Document { version, lock: before.lock + 1, updated_at: api.now().max(before.updated_at), body: text(&body)?, ..before.clone() };
        if api.state.store.replace_document(&caller.scope, &after, before.lock, R::KEEPS_VERSIONS).await? {
            return Ok(R::wire(read_stored(&after)?));
        }
    }
    Err(Refusal::conflict(format!("the {} is being changed by others; read it again and repeat the change", R::Id::NAME)).into())
}

/// Archives a document, for good. One that is archived stays as it is.
pub(crate) async fn archive<R: Resource>(api: &Api, caller: &Caller, id: &R::Id) -> ApiResult<R::Wire> {
    for _ in 0..limits::UPDATE_ATTEMPTS {
        let before = current::<R>(api, caller, id).await?;
        if before.archived_at.is_some() {
            return Ok(R::wire(read_stored(&before)?));
        }
        let now = api.now().max(before.updated_at);
        let after = Document { lock: before.lock + 1, updated_at: now, archived_at: Some(now), ..before.clone() };
        if api.state.store.replace_document(&caller.scope, &after, before.lock, R::KEEPS_VERSIONS).await? {
            return Ok(R::wire(read_stored(&after)?));
        }
    }
    Err(Refusal::conflict(format!("the {} is being changed by others; try again", R::Id::NAME)).into())
}

/// Deletes a document that no session refers to.
pub(crate) async fn delete<R: Resource>(api: &Api, caller: &Caller, id: &R::Id, unless: Option<SessionRef>) -> ApiResult<()> {
    let text = id.to_string();
    match api.state.store.delete_document(&caller.scope, R::KIND, &text, unless).await? {
        DocumentDeletion::Deleted => Ok(()),
        DocumentDeletion::NotFound => Err(R::Id::missing(&text).into()),
        DocumentDeletion::Referenced => {
            Err(Refusal::conflict(format!("the {} is used by sessions; delete those first, or archive the {0}", R::Id::NAME)).into())
        }
    }
}

/// Lists documents, newest first; with `parent` those that belong to it.
pub(crate) async fn list<R: Resource>(api: &Api, caller: &Caller, params: &Params, parent: Option<&str>) -> ApiResult<ListPage<R::Wire>> {
    let filter = DocumentFilter {
        include_archived: params.flag("include_archived")?,
        created: params.span("created_at")?,
        parent: parent.map(str::to_owned),
    };
    let cursors = List { kind: R::KIND, order: Order::Descending };
    let request = cursors.request(params, limits::PAGE, R::PAGE_MOST)?;
    check_span(&request, &filter.created)?;
    let page = api.state.store.documents(&caller.scope, R::KIND, &filter, &request).await?;
    answer::<R>(&page, cursors, Cursor::of_document)
}

/// Lists the versions of a document, newest first.
pub(crate) async fn versions<R: Resource>(api: &Api, caller: &Caller, id: &R::Id, params: &Params) -> ApiResult<ListPage<R::Wire>> {
    let archived_at = current::<R>(api, caller, id).await?.archived_at;
    let id = id.to_string();
    let kind = format!("{}_version:{id}", R::KIND);
    let cursors = List { kind: &kind, order: Order::Descending };
    let request = cursors.request(params, limits::PAGE, limits::PAGE_MOST)?;
    let mut page = api.state.store.document_versions(&caller.scope, R::KIND, &id, &request).await?;
    for document in &mut page.rows {
        document.archived_at = archived_at;
    }
    answer::<R>(&page, cursors, Cursor::of_version)
}

fn answer<R: Resource>(page: &Page<Document>, cursors: List<'_>, cursor: fn(&Document) -> Cursor) -> ApiResult<ListPage<R::Wire>> {
    let data = page.rows.iter().map(|document| Ok(R::wire(read_stored(document)?))).collect::<ApiResult<Vec<_>>>()?;
    let last = page.rows.last().filter(|_| page.has_next);
    Ok(ListPage { data, next_page: last.map(|document| cursors.token(cursor(document), Direction::Forward)) })
}
