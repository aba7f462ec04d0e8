//! Queries of the network logs of sessions.

use std::collections::HashMap;

use ostler_core::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use super::convert::{bounded, integer, time, unsigned};
use super::db::Db;
use super::{journal, sessions};
use crate::{NetworkLine, NetworkQuery, NewNetworkLine, StoreError, limits};

const LAST: &str = "SELECT key FROM network_lines WHERE key BETWEEN ?1 AND ?2 ORDER BY key DESC LIMIT 1";

const ADD: &str = "INSERT INTO network_lines (key, at, host, allowed, body) VALUES (?1, ?2, ?3, ?4, ?5)";

const CUT: &str = "DELETE FROM network_lines WHERE key BETWEEN ?1 AND ?2";

const FORGET: &str = "DELETE FROM network_lines WHERE key IN (SELECT key FROM network_lines WHERE at < ?1 ORDER BY at LIMIT ?2)";

const LIST: &str = "SELECT key & 4294967295, at, body FROM network_lines WHERE key BETWEEN ? AND ?";

/// Adds lines to the logs of sessions that are there, and cuts each log to its most lines.
pub(super) fn add(db: &Db<'_>, lines: &[NewNetworkLine]) -> Result<(), StoreError> {
    let mut last: HashMap<&str, Option<(i64, i64)>> = HashMap::new();
    for line in lines {
        bounded(&line.body)?;
        let session = line.session.as_str();
        if !last.contains_key(session) {
            let found = sessions::number(db, None, session)?.map(|(number, _)| journal::keys(number));
            let place = match found {
                None => None,
                Some((from, to)) => Some((from, db.first(LAST, [from, to], |row| Ok(row.get(0)?))?.unwrap_or(from))),
            };
            last.insert(session, place);
        }
        let Some(Some((from, key))) = last.get_mut(session) else { continue };
        *key += 1;
        if *key > journal::end(*from) {
            return Err(StoreError::Invalid("a network log has no more places".to_owned()));
        }
        db.execute(ADD, params![*key, line.at.0, line.host, line.is_allowed, line.body])?;
    }
    for (from, key) in last.into_values().flatten() {
        db.execute(CUT, [from, key.saturating_sub(limits::NETWORK_LINES_PER_SESSION).max(from)])?;
    }
    Ok(())
}

/// Deletes the log of a session.
pub(super) fn delete(db: &Db<'_>, number: i64) -> Result<(), StoreError> {
    let (from, to) = journal::keys(number);
    db.execute(CUT, [from, to]).map(drop)
}

/// Deletes the oldest lines of before a time; how many.
pub(super) fn forget(db: &Db<'_>, before: Timestamp) -> Result<u64, StoreError> {
    let gone = db.execute(FORGET, params![before.0, limits::NETWORK_LINES_FORGOTTEN])?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

/// The lines of a session, newest first; none when it is unknown.
pub(super) fn list(
    db: &Db<'_>,
    workspace: Option<&str>,
    session: &str,
    query: &NetworkQuery,
) -> Result<Option<Vec<NetworkLine>>, StoreError> {
    let Some((number, _)) = sessions::number(db, workspace, session)? else { return Ok(None) };
    let (sql, values) = query_of(number, query)?;
    db.all(&sql, params_from_iter(values), read).map(Some)
}

fn query_of(number: i64, query: &NetworkQuery) -> Result<(String, Vec<Value>), StoreError> {
    let (from, to) = journal::keys(number);
    let to = match query.before {
        Some(before) => from.saturating_add(integer(before)?).saturating_sub(1).min(to),
        None => to,
    };
    let (mut sql, mut values) = (LIST.to_owned(), vec![Value::from(from), to.into()]);
    if let Some(host) = &query.host {
        sql.push_str(" AND host = ?");
        values.push(host.clone().into());
    }
    if let Some(is_allowed) = query.is_allowed {
        sql.push_str(" AND allowed = ?");
        values.push(is_allowed.into());
    }
    sql.push_str(" ORDER BY key DESC LIMIT ?");
    let limit = query.limit.clamp(1, limits::PAGE_ROWS);
    values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
    Ok((sql, values))
}

fn read(row: &Row<'_>) -> Result<NetworkLine, StoreError> {
    Ok(NetworkLine { position: unsigned(row, 0)?, at: time(row, 1)?, body: row.get(2)? })
}

/// The queries whose plans must use an index.
#[cfg(test)]
pub(super) fn hot() -> Vec<String> {
    let filtered = NetworkQuery { host: Some("a.com".to_owned()), is_allowed: Some(true), before: Some(7), limit: 1 };
    let lists = [NetworkQuery::default(), filtered].map(|query| query_of(1, &query).unwrap().0);
    [LAST, CUT, FORGET].map(str::to_owned).into_iter().chain(lists).collect()
}
