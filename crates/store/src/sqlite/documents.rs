//! Queries of plain documents and their kept versions.

use rusqlite::{Row, params};

use super::access::scoped;
use super::convert::{bounded, id, integer, optional_time, time, unsigned};
use super::db::Db;
use super::listing::Listing;
use crate::{Cursor, Document, DocumentDeletion, DocumentFilter, Order, Page, PageRequest, SessionRef, StoreError};

macro_rules! columns {
    () => {
        "kind, id, organization_id, workspace_id, version, lock, created_at, updated_at, archived_at, body"
    };
}

const INSERT: &str = concat!("INSERT INTO documents (", columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");

const GET: &str = scoped!(concat!("SELECT ", columns!(), " FROM documents WHERE id = ?1 AND kind = ?3"));

const GET_KEPT: &str = scoped!(concat!("SELECT ", columns!(), " FROM document_versions WHERE id = ?1 AND kind = ?3 AND version = ?4"));

const KEEP: &str = scoped!(concat!(
    "INSERT INTO document_versions (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM documents WHERE id = ?1 AND kind = ?3 AND lock = ?4 AND version <> ?5"
));

const REPLACE: &str = scoped!(
    "UPDATE documents SET version = ?5, lock = ?6, updated_at = ?7, archived_at = ?8, body = ?9 \
     WHERE id = ?1 AND kind = ?3 AND lock = ?4"
);

const LIST: &str = concat!("SELECT ", columns!(), " FROM documents");

const LIST_VERSIONS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM (SELECT ",
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
        doc.body
    ];
    db.execute(INSERT, row)?;
    Ok(())
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
        doc.body
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
    })
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    let all = listing(Some("w".to_owned()), "agent", &DocumentFilter::default());
    let versions = version_listing(Some("w".to_owned()), "agent", "a");
    let mut sql: Vec<String> = [GET, GET_KEPT, KEEP, REPLACE].map(str::to_owned).into();
    for order in [Order::Ascending, Order::Descending] {
        sql.extend([all.sql(order, false), all.sql(order, true), versions.sql(order, true)]);
    }
    sql.extend([SessionRef::Agent, SessionRef::Environment, SessionRef::Deployment].map(reference_query).map(str::to_owned));
    sql
}
