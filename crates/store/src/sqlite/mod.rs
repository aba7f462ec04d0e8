//! The store on SQLite: one writing thread with group commit, a few reading threads, write-ahead
//! log, `synchronous=FULL`. For one process; see [`crate::DataDirLock`].

mod access;
mod budgets;
mod config;
mod convert;
mod db;
mod documents;
mod failure;
mod journal;
mod keys;
mod listing;
mod network;
mod readers;
mod schema;
mod sessions;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

pub use config::{FaultHook, FaultPoint, SqliteConfig};
pub use db::Stats;

use crate::{StoreError, limits};
use db::{Counters, Db};
use readers::ReadJob;
use writer::{Job, Write, Writer};

/// The name of the database in the data directory.
const FILE: &str = "ostler.db";

/// A store on SQLite. Dropping it finishes the writes already queued and closes the files.
pub struct SqliteStore {
    dir: PathBuf,
    writes: Option<mpsc::Sender<Box<dyn Job>>>,
    reads: Option<mpsc::Sender<ReadJob>>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
    #[cfg(any(test, feature = "conformance"))]
    temporary: Option<tempfile::TempDir>,
}

impl SqliteStore {
    /// Opens or makes the database of a data directory and migrates it. The caller holds the
    /// directory's [`crate::DataDirLock`].
    pub fn open(config: SqliteConfig) -> Result<Self, StoreError> {
        let path = prepare_file(&config.dir).map_err(|error| unavailable("preparing the database file", &error))?;
        let mut writing = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        schema::set_up_writer(&writing)?;
        schema::migrate(&mut writing)?;
        if let Some(pages) = config.max_pages {
            writing.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        let counters = Arc::new(Counters::default());
        let (writes, jobs) = mpsc::channel(limits::WRITER_QUEUE);
        let (reads, queue) = mpsc::channel(limits::READER_QUEUE);
        let mut store = Self {
            dir: config.dir,
            writes: Some(writes),
            reads: Some(reads),
            threads: Vec::new(),
            counters: Arc::clone(&counters),
            #[cfg(any(test, feature = "conformance"))]
            temporary: None,
        };
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..config.readers.clamp(*limits::READERS.start(), *limits::READERS.end()) {
            let reading = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            schema::set_up_reader(&reading)?;
            let (queue, counters) = (Arc::clone(&queue), Arc::clone(&counters));
            store.start("store-reader", move || readers::run(&reading, &queue, &counters))?;
        }
        let writer = Writer { conn: writing, jobs, counters, fault: config.fault };
        store.start("store-writer", move || writer.run())?;
        Ok(store)
    }

    /// A store in a temporary directory that goes away with it.
    #[cfg(any(test, feature = "conformance"))]
    pub fn open_in_memory_for_tests() -> Result<Self, StoreError> {
        let dir = tempfile::tempdir().map_err(|error| unavailable("making a temporary directory", &error))?;
        let mut store = Self::open(SqliteConfig::new(dir.path()))?;
        store.temporary = Some(dir);
        Ok(store)
    }

    /// What the store has done since it was opened.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    fn start(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.map_err(|error| unavailable("starting a thread", &error))?);
        Ok(())
    }

    /// Runs work on the writer; answers after the commit.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.writes.as_ref().ok_or_else(stopped)?;
        queue.send(Box::new(Write::new(work, reply))).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Runs work on a reader, in one read transaction.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Db<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |db| {
            // The caller may be gone.
            let _ = reply.send(db.and_then(work));
        });
        let queue = self.reads.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        #[cfg(any(test, feature = "conformance"))]
        drop(self.temporary.take());
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("a thread of the store has stopped".to_owned())
}

fn unavailable(doing: &str, error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Unavailable(format!("{doing}: {error}")),
    }
}

/// Makes a data directory for this user alone. One that exists keeps its mode: it may be shared
/// on purpose, and the files in it are closed to others anyway.
pub(crate) fn create_dir(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes the database file for this user alone; SQLite gives its side files the same mode.
fn prepare_file(dir: &Path) -> std::io::Result<PathBuf> {
    create_dir(dir)?;
    let path = dir.join(FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    file.set_permissions(PermissionsExt::from_mode(0o600))?;
    Ok(path)
}
