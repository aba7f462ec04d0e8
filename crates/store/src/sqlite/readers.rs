//! The threads that read: one connection each, one read transaction per call and never longer, so
//! that the write-ahead log can always be cut back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::db::{Counters, Db, control};
use crate::StoreError;

/// Work for a reader: it is given the connection inside a transaction, or why there is none.
pub(super) type ReadJob = Box<dyn FnOnce(Result<&Db<'_>, StoreError>) + Send>;

/// The queue that all readers take from.
pub(super) type ReadQueue = Arc<Mutex<mpsc::Receiver<ReadJob>>>;

/// Runs one reader until every sender is gone and the queue is empty.
pub(super) fn run(conn: &Connection, queue: &ReadQueue, counters: &Counters) {
    let db = Db { conn, statements: &counters.read_statements };
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = next else { return };
        let ran = catch_unwind(AssertUnwindSafe(|| match control(conn, "BEGIN") {
            Ok(()) => job(Ok(&db)),
            Err(error) => job(Err(error)),
        }));
        if ran.is_err() {
            tracing::error!("a read panicked");
        }
        if !conn.is_autocommit()
            && let Err(error) = control(conn, "ROLLBACK")
        {
            tracing::error!(%error, "ending a read transaction");
        }
    }
}
