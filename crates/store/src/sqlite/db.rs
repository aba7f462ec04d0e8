//! One connection as queries see it: cached statements, counted. Transactions are begun and ended
//! by the writer and the readers, not here.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, Params, Row, Statement};

use crate::StoreError;

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Statements run by the writer, without transaction control.
    pub write_statements: u64,
    /// Savepoints set by the writer.
    pub savepoints: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Writes that succeeded within those transactions.
    pub writes: u64,
    /// Statements run by readers, without transaction control.
    pub read_statements: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) write_statements: AtomicU64,
    pub(super) savepoints: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) read_statements: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            write_statements: read(&self.write_statements),
            savepoints: read(&self.savepoints),
            commits: read(&self.commits),
            writes: read(&self.writes),
            read_statements: read(&self.read_statements),
        }
    }
}

/// A connection inside a transaction.
pub(super) struct Db<'c> {
    pub(super) conn: &'c Connection,
    pub(super) statements: &'c AtomicU64,
}

impl Db<'_> {
    /// Runs a statement; the number of rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.prepare(sql)?.execute(params)?)
    }

    /// The first row of a query.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// All rows of a query.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    fn prepare(&self, sql: &str) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        Ok(self.conn.prepare_cached(sql)?)
    }
}

/// Runs a statement of transaction control.
pub(super) fn control(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement: rusqlite::CachedStatement<'_>| Statement::execute(&mut statement, []))?;
    Ok(())
}
