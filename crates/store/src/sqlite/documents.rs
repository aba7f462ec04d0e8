//! Queries of plain documents and their kept versions.

use ostler_core::time::Timestamp;
use rusqlite::{Row, params};

use super::access::scoped;
use super::convert::{bounded, id, integer, optional_time, time, unsigned};
use super::db::Db;
use super::listing::Listing;
use crate::{ChildInsertion, Cursor, Document, DocumentDeletion, DocumentFilter, Family, Order, Page, PageRequest, SessionRef, StoreError};

macro_rules! columns {
    () => {
        "kind, id, organization_id, workspace_id, version, lock, created_at, updated_at, archived_at, body"
    };
}

/// What kept versions do not have: they belong to nobody and hold no secret.
macro_rules! current_alone {
    () => {
        "parent, child_key, sealed"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO documents (",
    columns!(),
    ", ",
    current_alone!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
);

const GET: &str = scoped!(concat!("SELECT ", columns!(), ", ", current_alone!(), " FROM documents WHERE id = ?1 AND kind = ?3"));

const GET_KEPT: &str =
    scoped!(concat!("SELECT ", columns!(), ", NULL, NULL, NULL FROM document_versions WHERE id = ?1 AND kind = ?3 AND version = ?4"));

const CHILD_KEY: &str =
    "SELECT 1 FROM documents WHERE kind = ?1 AND parent = ?2 AND child_key = ?3 AND archived_at IS NULL AND parent IS NOT NULL";

const CHILDREN: &str = "SELECT count(*) FROM documents WHERE kind = ?1 AND parent = ?2 AND archived_at IS NULL AND parent IS NOT NULL";

const ARCHIVE_CHILDREN: &str = "UPDATE documents SET archived_at = ?3, updated_at = max(updated_at, ?3), lock = lock + 1, sealed = NULL \
     WHERE parent = ?1 AND workspace_id = ?2 AND archived_at IS NULL";

const DELETE_CHILDREN: &str = "DELETE FROM documents WHERE parent = ?1 AND workspace_id = ?2";

const KEEP: &str = scoped!(concat!(
    "INSERT INTO document_versions (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM documents WHERE id = ?1 AND kind = ?3 AND lock = ?4 AND version <> ?5"
));

const REPLACE: &str = scoped!(
    "UPDATE documents SET version = ?5, lock = ?6, updated_at = ?7, archived_at = ?8, body = ?9, \
     sealed = CASE WHEN ?8 IS NULL THEN ?10 END WHERE id = ?1 AND kind = ?3 AND lock = ?4"
);

const LIST: &str = concat!("SELECT ", columns!(), ", ", current_alone!(), " FROM documents");

const LIST_VERSIONS: &str = concat!(
    "SELECT ",
    columns!(),
    ", NULL, NULL, NULL FROM (SELECT ",
    columns!(),
    " FROM documents UNION ALL SELECT ",
    columns!(),
    " FROM document_versions)"
);

pub(super) fn insert(db: &Db<'_>, doc: &Document) -> Result<(), StoreError> {
    bounded(&doc.body)?;
    let row = params![
        doc.kind,
        doc.id,
        doc.organization.as_str(),
        doc.workspace.as_str(),
        integer(doc.version)?,
        integer(doc.lock)?,
        doc.created_at.0,
        doc.updated_at.0,
        doc.archived_at.map(|at| at.0),
        doc.body,
        doc.family.as_ref().map(|family| &family.parent),
        doc.family.as_ref().map(|family| &family.key),
        doc.sealed.as_ref().filter(|_| doc.archived_at.is_none())
    ];
    db.execute(INSERT, row)?;
    Ok(())
}

pub(super) fn insert_child(db: &Db<'_>, doc: &Document, of: &str, most: u64) -> Result<ChildInsertion, StoreError> {
    let Some(family) = &doc.family else {
        return Err(StoreError::Invalid("a child names no parent".to_owned()));
    };
    match get(db, Some(doc.workspace.as_str()), of, &family.parent)? {
        None => return Ok(ChildInsertion::NoParent),
        Some(parent) if parent.archived_at.is_some() => return Ok(ChildInsertion::ParentArchived),
        Some(_) => {}
    }
    if db.first(CHILD_KEY, params![doc.kind, family.parent, family.key], |_| Ok(()))?.is_some() {
        return Ok(ChildInsertion::KeyTaken);
    }
    let children: Option<i64> = db.first(CHILDREN, params![doc.kind, family.parent], |row| Ok(row.get(0)?))?;
    if u64::try_from(children.unwrap_or(0)).unwrap_or(0) >= most {
        return Ok(ChildInsertion::Full);
    }
    insert(db, doc)?;
    Ok(ChildInsertion::Inserted)
}

pub(super) fn archive_family(db: &Db<'_>, workspace: Option<&str>, kind: &str, id: &str, at: Timestamp) -> Result<bool, StoreError> {
    let Some(found) = get(db, workspace, kind, id)? else { return Ok(false) };
    if found.archived_at.is_none() {
        let at = at.max(found.updated_at);
        let after = Document { lock: found.lock + 1, updated_at: at, archived_at: Some(at), ..found.clone() };
        replace(db, workspace, &after, found.lock, false)?;
    }
    db.execute(ARCHIVE_CHILDREN, params![id, found.workspace.as_str(), at.0])?;
    Ok(true)
}

pub(super) fn get(db: &Db<'_>, workspace: Option<&str>, kind: &str, id: &str) -> Result<Option<Document>, StoreError> {
    db.first(GET, params![id, workspace, kind], read)
}

pub(super) fn get_version(
    db: &Db<'_>,
    workspace: Option<&str>,
    kind: &str,
    id: &str,
    version: u64,
) -> Result<Option<Document>, StoreError> {
    match get(db, workspace, kind, id)? {
        None => Ok(None),
        Some(current) if current.version == version => Ok(Some(current)),
        Some(_) => db.first(GET_KEPT, params![id, workspace, kind, integer(version)?], read),
    }
}

pub(super) fn replace(
    db: &Db<'_>,
    workspace: Option<&str>,
    doc: &Document,
    expected_lock: u64,
    keep_version: bool,
) -> Result<bool, StoreError> {
    bounded(&doc.body)?;
    if doc.lock != expected_lock.saturating_add(1) {
        return Err(StoreError::Invalid("the lock of a replacement is not one more".to_owned()));
    }
    let (version, expected) = (integer(doc.version)?, integer(expected_lock)?);
    if keep_version {
        db.execute(KEEP, params![doc.id, workspace, doc.kind, expected, version])?;
    }
    let row = params![
        doc.id,
        workspace,
        doc.kind,
        expected,
        version,
        integer(doc.lock)?,
        doc.updated_at.0,
        doc.archived_at.map(|at| at.0),
        doc.body,
        doc.sealed
    ];
    Ok(db.execute(REPLACE, row)? == 1)
}

pub(super) fn delete(
    db: &Db<'_>,
    workspace: Option<&str>,
    kind: &str,
    id: &str,
    unless: Option<SessionRef>,
) -> Result<DocumentDeletion, StoreError> {
    let Some(found) = get(db, workspace, kind, id)? else {
        return Ok(DocumentDeletion::NotFound);
    };
    if let Some(reference) = unless {
        let sql = reference_query(reference);
        if db.first(sql, params![found.workspace.as_str(), id], |_| Ok(()))?.is_some() {
            return Ok(DocumentDeletion::Referenced);
        }
    }
    db.execute(DELETE_CHILDREN, params![id, found.workspace.as_str()])?;
    db.execute("DELETE FROM documents WHERE kind = ?1 AND id = ?2", params![kind, id])?;
    db.execute("DELETE FROM document_versions WHERE kind = ?1 AND id = ?2", params![kind, id])?;
    Ok(DocumentDeletion::Deleted)
}

fn reference_query(reference: SessionRef) -> &'static str {
    match reference {
        SessionRef::Agent => "SELECT 1 FROM sessions WHERE workspace_id = ?1 AND agent_id = ?2 LIMIT 1",
        SessionRef::Environment => "SELECT 1 FROM sessions WHERE workspace_id = ?1 AND environment_id = ?2 LIMIT 1",
        SessionRef::Deployment => "SELECT 1 FROM sessions WHERE workspace_id = ?1 AND deployment_id = ?2 LIMIT 1",
    }
}

fn listing(workspace: Option<String>, kind: &str, filter: &DocumentFilter) -> Listing {
    let mut listing = Listing::new(LIST, "created_at");
    listing.with_some("workspace_id = ?", workspace);
    listing.with("kind = ?", kind.to_owned());
    listing.with_some("parent = ?", filter.parent.clone());
    if !filter.include_archived {
        listing.plain("archived_at IS NULL");
    }
    listing.created(&filter.created);
    listing
}

pub(super) fn list(
    db: &Db<'_>,
    workspace: Option<String>,
    kind: &str,
    filter: &DocumentFilter,
    page: &PageRequest,
) -> Result<Page<Document>, StoreError> {
    listing(workspace, kind, filter).page(db, Order::Descending, page, read, Cursor::of_document)
}

fn version_listing(workspace: Option<String>, kind: &str, id: &str) -> Listing {
    let mut listing = Listing::new(LIST_VERSIONS, "version");
    listing.with("kind = ?", kind.to_owned());
    listing.with("id = ?", id.to_owned());
    listing.with_some("workspace_id = ?", workspace);
    listing
}

pub(super) fn versions(
    db: &Db<'_>,
    workspace: Option<String>,
    kind: &str,
    id: &str,
    page: &PageRequest,
) -> Result<Page<Document>, StoreError> {
    version_listing(workspace, kind, id).page(db, Order::Descending, page, read, Cursor::of_version)
}

fn read(row: &Row<'_>) -> Result<Document, StoreError> {
    Ok(Document {
        kind: row.get(0)?,
        id: row.get(1)?,
        organization: id(row, 2)?,
        workspace: id(row, 3)?,
        version: unsigned(row, 4)?,
        lock: unsigned(row, 5)?,
        created_at: time(row, 6)?,
        updated_at: time(row, 7)?,
        archived_at: optional_time(row, 8)?,
        body: row.get(9)?,
        family: row.get::<_, Option<String>>(10)?.zip(row.get(11)?).map(|(parent, key)| Family { parent, key }),
        sealed: row.get(12)?,
    })
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    let all = listing(Some("w".to_owned()), "agent", &DocumentFilter::default());
    let versions = version_listing(Some("w".to_owned()), "agent", "a");
    let children = listing(Some("w".to_owned()), "agent", &DocumentFilter { parent: Some("p".to_owned()), ..DocumentFilter::default() });
    let mut sql: Vec<String> =
        [GET, GET_KEPT, KEEP, REPLACE, CHILD_KEY, CHILDREN, ARCHIVE_CHILDREN, DELETE_CHILDREN].map(str::to_owned).into();
    for order in [Order::Ascending, Order::Descending] {
        sql.extend([all.sql(order, false), all.sql(order, true), versions.sql(order, true), children.sql(order, true)]);
    }
    sql.extend([SessionRef::Agent, SessionRef::Environment, SessionRef::Deployment].map(reference_query).map(str::to_owned));
    sql
}
