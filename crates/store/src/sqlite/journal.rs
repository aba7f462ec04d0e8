//! Queries of records, events and snapshots. An append is three statements, one more where money or
//! the agent changes, whatever its size and however long the history is.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};
use serde::Serialize;

use super::convert::{bounded, id, integer, small, time, unsigned};
use super::db::Db;
use super::{budgets, sessions};
use crate::{Claimed, Epoch, EventQuery, Order, SessionBatch, SessionRow, Snapshot, StoreError, StoredEvent, StoredRecord, limits};

/// Bits of a key below the session's number.
const SEQ_BITS: u32 = 32;

/// The row after a batch. Also the fence: no row changes unless the epoch owns the session, the
/// batch continues its journal and its events continue its positions.
const ADVANCE: &str = "UPDATE sessions SET last_seq = ?4, last_position = coalesce(?5, last_position), status = ?7, \
    unfinished = ?8, recoveries = CASE WHEN ?9 THEN 0 ELSE recoveries END, updated_at = coalesce(?10, updated_at), archived_at = ?11, \
    title = CASE WHEN ?12 THEN ?13 ELSE title END, view = coalesce(?14, view), reserved = ?15, capped = ?16 \
    WHERE id = ?1 AND epoch = ?2 AND last_seq = ?3 AND (?6 IS NULL OR last_position < ?6) RETURNING number, workspace_id";

const ADD_RECORDS: &str = "INSERT INTO records (key, kind, at, body) \
    SELECT ?1 + (value ->> 0), value ->> 1, value ->> 2, value ->> 3 FROM json_each(?2)";

const ADD_EVENTS: &str = "INSERT INTO events (key, id, kind, at, thread, body) \
    SELECT ?1 + (value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?2)";

const RECORDS: &str = "SELECT key & 4294967295, kind, at, body FROM records WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3";

const RECORDS_OF_KINDS: &str = "SELECT key & 4294967295, kind, at, body FROM records WHERE key > ?1 AND key <= ?2 \
    AND kind IN (SELECT value FROM json_each(?4)) ORDER BY key LIMIT ?3";

macro_rules! select_events {
    () => {
        "SELECT key & 4294967295, id, kind, at, thread, body FROM events WHERE "
    };
}

const EVENT: &str = concat!(select_events!(), "id = ?1 AND key BETWEEN ?2 AND ?3");

const SNAPSHOT: &str = "SELECT seq, version, body FROM snapshots WHERE number = ?1 AND version = ?2";

const SAVE_SNAPSHOT: &str = "INSERT INTO snapshots (number, seq, version, body) \
    SELECT number, ?2, ?3, ?4 FROM sessions WHERE id = ?1 AND last_seq >= ?2 \
    ON CONFLICT (number) DO UPDATE SET seq = excluded.seq, version = excluded.version, body = excluded.body \
    WHERE excluded.seq > seq OR excluded.version <> version";

/// The first and the last key of a session.
pub(super) fn keys(number: i64) -> (i64, i64) {
    let base = number << SEQ_BITS;
    (base, end(base))
}

/// The last key of the session whose keys begin here.
pub(super) fn end(base: i64) -> i64 {
    base | i64::from(u32::MAX)
}

/// The key of a place in a session; places beyond the last are the last.
fn key(number: i64, place: u64) -> i64 {
    (number << SEQ_BITS) | i64::from(u32::try_from(place).unwrap_or(u32::MAX))
}

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(format!("encoding for the database: {error}")))
}

/// A batch checked and encoded by its caller, so that the writer only binds it.
pub(super) struct EncodedBatch {
    batch: SessionBatch,
    records: Option<String>,
    events: Option<String>,
}

impl EncodedBatch {
    pub(super) fn new(mut batch: SessionBatch) -> Result<Self, StoreError> {
        batch.check()?;
        let records: Vec<_> = batch.records.iter().map(|record| (record.seq, &record.kind, record.at.0, &record.body)).collect();
        let records = if records.is_empty() { None } else { Some(json(&records)?) };
        let events: Vec<_> =
            batch.events.iter().map(|event| (event.position, &event.id, &event.kind, event.at.0, &event.thread, &event.body)).collect();
        let events = if events.is_empty() { None } else { Some(json(&events)?) };
        // The bodies are in the text now.
        batch.records.iter_mut().for_each(|record| record.body = String::new());
        Ok(Self { batch, records, events })
    }
}

pub(super) fn append(db: &Db<'_>, epoch: Epoch, encoded: &EncodedBatch) -> Result<(), StoreError> {
    let (number, workspace) = advance(db, epoch, &encoded.batch)?;
    if let Some(spend) = &encoded.batch.row.spend {
        budgets::spend(db, &workspace, spend)?;
    }
    let (base, _) = keys(number);
    if let Some(records) = &encoded.records {
        db.execute(ADD_RECORDS, params![base, records])?;
    }
    if let Some(events) = &encoded.events {
        db.execute(ADD_EVENTS, params![base, events])?;
    }
    if let Some(agent) = &encoded.batch.row.agent {
        db.execute("UPDATE session_agents SET agent = ?2 WHERE number = ?1", params![number, agent])?;
    }
    Ok(())
}

fn advance(db: &Db<'_>, epoch: Epoch, batch: &SessionBatch) -> Result<(i64, String), StoreError> {
    let position = |event: Option<&StoredEvent>| event.map(|event| integer(event.position)).transpose();
    let row = &batch.row;
    let values = params![
        batch.session.as_str(),
        integer(epoch)?,
        integer(batch.after_seq)?,
        integer(batch.last_seq())?,
        position(batch.events.last())?,
        position(batch.events.first())?,
        row.status,
        row.unfinished,
        row.progress,
        row.updated_at.map(|at| at.0),
        row.archived_at.map(|at| at.0),
        row.title.is_some(),
        row.title.as_ref().and_then(Option::as_deref),
        row.view,
        budgets::nanos(row.reserved),
        row.capped
    ];
    match db.first(ADVANCE, values, |row| Ok((row.get(0)?, row.get(1)?)))? {
        Some(found) => Ok(found),
        None if sessions::number(db, None, batch.session.as_str())?.is_some() => Err(StoreError::Stale),
        None => Err(StoreError::NotFound),
    }
}

pub(super) fn save_snapshot(db: &Db<'_>, session: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
    bounded(&snapshot.body)?;
    db.execute(SAVE_SNAPSHOT, params![session, integer(snapshot.seq)?, snapshot.version, snapshot.body])?;
    Ok(())
}

/// The newest usable snapshot of a session and the records after it.
pub(super) fn claimed(db: &Db<'_>, number: i64, row: SessionRow, snapshot_version: u32) -> Result<Claimed, StoreError> {
    let snapshot = db.first(SNAPSHOT, params![number, snapshot_version], |row| {
        Ok(Snapshot { seq: unsigned(row, 0)?, version: small(row, 1)?, body: row.get(2)? })
    })?;
    let after = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
    let tail = db.all(RECORDS, params![key(number, after), keys(number).1, i64::MAX], read_record)?;
    Ok(Claimed { row, snapshot, tail })
}

pub(super) fn records(db: &Db<'_>, session: &str, after_seq: u64, kinds: &[String], limit: usize) -> Result<Vec<StoredRecord>, StoreError> {
    let Some((number, _)) = sessions::number(db, None, session)? else {
        return Ok(Vec::new());
    };
    let (from, to) = (key(number, after_seq), keys(number).1);
    let limit = bound(limit, limits::RECORDS_READ);
    if kinds.is_empty() {
        return db.all(RECORDS, params![from, to, limit], read_record);
    }
    db.all(RECORDS_OF_KINDS, params![from, to, limit, json(&kinds)?], read_record)
}

fn bound(limit: usize, most: usize) -> i64 {
    i64::try_from(limit.min(most)).unwrap_or(i64::MAX)
}

pub(super) fn events(
    db: &Db<'_>,
    workspace: Option<&str>,
    session: &str,
    query: &EventQuery,
) -> Result<Option<Vec<StoredEvent>>, StoreError> {
    let Some((number, _)) = sessions::number(db, workspace, session)? else {
        return Ok(None);
    };
    let (sql, values) = event_query(number, query)?;
    db.all(&sql, params_from_iter(values), read_event).map(Some)
}

fn event_query(number: i64, query: &EventQuery) -> Result<(String, Vec<Value>), StoreError> {
    let mut sql = concat!(select_events!(), "key > ? AND key < ?").to_owned();
    let before = query.before.map_or(keys(number).1.saturating_add(1), |before| key(number, before));
    let mut values: Vec<Value> = vec![key(number, query.after.unwrap_or(0)).into(), before.into()];
    if !query.kinds.is_empty() {
        sql.push_str(" AND kind IN (SELECT value FROM json_each(?))");
        values.push(json(&query.kinds)?.into());
    }
    let range = &query.created;
    let bounds = [(" AND at >= ?", range.gte), (" AND at > ?", range.gt), (" AND at <= ?", range.lte), (" AND at < ?", range.lt)];
    for (condition, at) in bounds {
        if let Some(at) = at {
            sql.push_str(condition);
            values.push(at.0.into());
        }
    }
    sql.push_str(match query.order {
        Order::Ascending => " ORDER BY key ASC LIMIT ?",
        Order::Descending => " ORDER BY key DESC LIMIT ?",
    });
    values.push(bound(query.limit, limits::EVENTS_READ).into());
    Ok((sql, values))
}

pub(super) fn event(db: &Db<'_>, workspace: Option<&str>, session: &str, event: &str) -> Result<Option<StoredEvent>, StoreError> {
    let Some((number, _)) = sessions::number(db, workspace, session)? else {
        return Ok(None);
    };
    let (from, to) = keys(number);
    db.first(EVENT, params![event, from, to], read_event)
}

fn read_record(row: &Row<'_>) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord { seq: unsigned(row, 0)?, kind: row.get(1)?, at: time(row, 2)?, body: row.get(3)? })
}

fn read_event(row: &Row<'_>) -> Result<StoredEvent, StoreError> {
    let body = row.get_ref(5)?.as_str().map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(StoredEvent {
        position: unsigned(row, 0)?,
        id: id(row, 1)?,
        kind: row.get(2)?,
        at: time(row, 3)?,
        thread: row.get(4)?,
        body: Arc::from(body),
    })
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    let query = EventQuery { kinds: vec!["x".to_owned()], order: Order::Descending, ..EventQuery::after(3, 10) };
    let mut sql: Vec<String> = [ADVANCE, RECORDS, RECORDS_OF_KINDS, EVENT, SNAPSHOT, SAVE_SNAPSHOT].map(str::to_owned).into();
    sql.push(event_query(1, &query).unwrap().0);
    sql.push(event_query(1, &EventQuery::after(3, 10)).unwrap().0);
    sql
}
