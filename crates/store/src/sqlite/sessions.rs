//! Queries of session rows: creation, lookup, lists, deletion, recovery.

use ostler_core::cost::Cost;
use ostler_core::time::Timestamp;
use rusqlite::{Row, params};

use super::access::scoped;
use super::convert::{bounded, id, integer, optional_time, small, time, unsigned};
use super::db::Db;
use super::journal::{self, EncodedBatch};
use super::listing::Listing;
use super::{budgets, network};
use crate::{
    Cursor, Epoch, OpenWork, Order, PageRequest, Reserve, SessionDeletion, SessionFilter, SessionPage, SessionRow, Spend, StoreError,
    UnfinishedSession,
};

macro_rules! select {
    () => {
        "SELECT id, organization_id, workspace_id, agent_id, agent_version, environment_id, deployment_id, status, \
         title, agent, view, created_at, updated_at, archived_at, epoch, last_seq, last_position, unfinished, \
         recoveries, number FROM sessions JOIN session_agents USING (number)"
    };
}

const GET: &str = scoped!(concat!(select!(), " WHERE id = ?1"));

const NUMBER: &str = scoped!("SELECT number, last_position FROM sessions WHERE id = ?1");

const OWNER: &str = scoped!("SELECT number, epoch, workspace_id, unfinished, reserved FROM sessions WHERE id = ?1");

const CLAIM: &str = scoped!("UPDATE sessions SET epoch = ?3 WHERE id = ?1 AND epoch <= ?3");

const NOTE_RECOVERY: &str = concat!(scoped!("UPDATE sessions SET recoveries = recoveries + 1 WHERE id = ?1"), " RETURNING recoveries");

const UNFINISHED: &str = "SELECT id, organization_id, workspace_id, recoveries FROM sessions WHERE unfinished = 1 ORDER BY number";

const INSERT: &str = "INSERT INTO sessions (id, organization_id, workspace_id, agent_id, agent_version, environment_id, \
    deployment_id, status, title, view, created_at, updated_at, archived_at, epoch, last_seq, last_position, unfinished, recoveries) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0, 0, ?15, 0) RETURNING number";

const TOMBSTONE: &str = scoped!("SELECT deleted_at FROM tombstones WHERE id = ?1");

pub(super) fn create(db: &Db<'_>, epoch: Epoch, row: &SessionRow, first: &EncodedBatch) -> Result<(), StoreError> {
    bounded(&row.agent)?;
    bounded(&row.view)?;
    if db.first("SELECT 1 FROM tombstones WHERE id = ?1", [row.id.as_str()], |_| Ok(()))?.is_some() {
        return Err(StoreError::Conflict("the session was deleted".to_owned()));
    }
    let values = params![
        row.id.as_str(),
        row.organization.as_str(),
        row.workspace.as_str(),
        row.agent_id.as_str(),
        integer(row.agent_version)?,
        row.environment_id.as_str(),
        row.deployment_id,
        row.status,
        row.title,
        row.view,
        row.created_at.0,
        row.updated_at.0,
        row.archived_at.map(|at| at.0),
        integer(epoch)?,
        row.unfinished
    ];
    let number: Option<i64> = db.first(INSERT, values, |row| Ok(row.get(0)?))?;
    db.execute("INSERT INTO session_agents (number, agent) VALUES (?1, ?2)", params![number, row.agent])?;
    journal::append(db, epoch, first)
}

pub(super) fn get(db: &Db<'_>, workspace: Option<&str>, id: &str) -> Result<Option<SessionRow>, StoreError> {
    db.first(GET, params![id, workspace], read)
}

/// A row with its number.
pub(super) fn get_numbered(db: &Db<'_>, workspace: Option<&str>, id: &str) -> Result<Option<(i64, SessionRow)>, StoreError> {
    db.first(GET, params![id, workspace], |row| Ok((row.get(19)?, read(row)?)))
}

/// The number of a session and the position of its last event.
pub(super) fn number(db: &Db<'_>, workspace: Option<&str>, id: &str) -> Result<Option<(i64, u64)>, StoreError> {
    db.first(NUMBER, params![id, workspace], |row| Ok((row.get(0)?, unsigned(row, 1)?)))
}

fn listing(workspace: Option<String>, filter: &SessionFilter) -> Result<Listing, StoreError> {
    let mut listing = Listing::new(select!(), "created_at");
    listing.with_some("workspace_id = ?", workspace);
    listing.with_some("agent_id = ?", filter.agent_id.as_ref().map(|id| id.as_str().to_owned()));
    listing.with_some("agent_version = ?", filter.agent_version.map(integer).transpose()?);
    listing.with_some("environment_id = ?", filter.environment_id.as_ref().map(|id| id.as_str().to_owned()));
    listing.with_some("deployment_id = ?", filter.deployment_id.clone());
    if !filter.statuses.is_empty() {
        listing.with("status IN (SELECT value FROM json_each(?))", super::journal::json(&filter.statuses)?);
    }
    if !filter.include_archived {
        listing.plain("archived_at IS NULL");
    }
    listing.created(&filter.created);
    Ok(listing)
}

pub(super) fn list(
    db: &Db<'_>,
    workspace: Option<String>,
    filter: &SessionFilter,
    order: Order,
    page: &PageRequest,
) -> Result<SessionPage, StoreError> {
    listing(workspace, filter)?.page(db, order, page, read, Cursor::of_session)
}

pub(super) fn delete(
    db: &Db<'_>,
    workspace: Option<&str>,
    epoch: Epoch,
    id: &str,
    at: Timestamp,
    open: OpenWork,
) -> Result<SessionDeletion, StoreError> {
    let owner = db.first(OWNER, params![id, workspace], |row| {
        Ok((row.get::<_, i64>(0)?, unsigned(row, 1)?, row.get::<_, String>(2)?, row.get::<_, bool>(3)?, unsigned(row, 4)?))
    })?;
    let Some((number, owner, workspace, unfinished, reserved)) = owner else {
        return Ok(SessionDeletion::NotFound);
    };
    if owner > epoch {
        return Err(StoreError::Stale);
    }
    if unfinished && open == OpenWork::Kept {
        return Ok(SessionDeletion::Unfinished);
    }
    // Nobody will say what a request under way cost, so it costs what was set aside for it.
    let reserved = Cost(reserved);
    budgets::spend(db, &workspace, &Spend { release: reserved, charge: reserved, reserve: Reserve::Nothing })?;
    let (from, to) = journal::keys(number);
    db.execute("DELETE FROM records WHERE key BETWEEN ?1 AND ?2", params![from, to])?;
    db.execute("DELETE FROM events WHERE key BETWEEN ?1 AND ?2", params![from, to])?;
    network::delete(db, number)?;
    for sql in [
        "DELETE FROM snapshots WHERE number = ?1",
        "DELETE FROM session_agents WHERE number = ?1",
        "DELETE FROM sessions WHERE number = ?1",
    ] {
        db.execute(sql, [number])?;
    }
    db.execute("INSERT INTO tombstones (id, workspace_id, deleted_at) VALUES (?1, ?2, ?3)", params![id, workspace, at.0])?;
    Ok(SessionDeletion::Deleted)
}

pub(super) fn deleted(db: &Db<'_>, workspace: Option<&str>, id: &str) -> Result<Option<Timestamp>, StoreError> {
    db.first(TOMBSTONE, params![id, workspace], |row| time(row, 0))
}

pub(super) fn unfinished(db: &Db<'_>) -> Result<Vec<UnfinishedSession>, StoreError> {
    db.all(UNFINISHED, [], |row| {
        Ok(UnfinishedSession { id: id(row, 0)?, organization: id(row, 1)?, workspace: id(row, 2)?, recoveries: small(row, 3)? })
    })
}

pub(super) fn note_recovery(db: &Db<'_>, workspace: Option<&str>, id: &str) -> Result<u32, StoreError> {
    db.first(NOTE_RECOVERY, params![id, workspace], |row| small(row, 0))?.ok_or(StoreError::NotFound)
}

/// Sets the owner unless a later epoch owns it.
pub(super) fn claim(db: &Db<'_>, workspace: Option<&str>, epoch: Epoch, id: &str) -> Result<(), StoreError> {
    match db.execute(CLAIM, params![id, workspace, integer(epoch)?])? {
        1 => Ok(()),
        _ if number(db, workspace, id)?.is_some() => Err(StoreError::Stale),
        _ => Err(StoreError::NotFound),
    }
}

fn read(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        id: id(row, 0)?,
        organization: id(row, 1)?,
        workspace: id(row, 2)?,
        agent_id: id(row, 3)?,
        agent_version: unsigned(row, 4)?,
        environment_id: id(row, 5)?,
        deployment_id: row.get(6)?,
        status: row.get(7)?,
        title: row.get(8)?,
        agent: row.get(9)?,
        view: row.get(10)?,
        created_at: time(row, 11)?,
        updated_at: time(row, 12)?,
        archived_at: optional_time(row, 13)?,
        epoch: unsigned(row, 14)?,
        last_seq: unsigned(row, 15)?,
        last_position: unsigned(row, 16)?,
        unfinished: row.get(17)?,
        recoveries: small(row, 18)?,
    })
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    use std::str::FromStr;
    let workspace = || Some("w".to_owned());
    let filters = [
        SessionFilter::default(),
        SessionFilter { statuses: vec!["idle".to_owned()], ..SessionFilter::default() },
        SessionFilter { agent_id: ostler_core::ids::AgentId::from_str("agent_1").ok(), ..SessionFilter::default() },
        SessionFilter { environment_id: ostler_core::ids::EnvironmentId::from_str("env_1").ok(), ..SessionFilter::default() },
        SessionFilter { deployment_id: Some("d".to_owned()), ..SessionFilter::default() },
    ];
    let mut sql: Vec<String> = [GET, NUMBER, OWNER, CLAIM, NOTE_RECOVERY, UNFINISHED, TOMBSTONE].map(str::to_owned).into();
    for filter in &filters {
        for order in [Order::Ascending, Order::Descending] {
            let listing = listing(workspace(), filter).unwrap();
            sql.extend([listing.sql(order, false), listing.sql(order, true)]);
        }
    }
    sql
}
