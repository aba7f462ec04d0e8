//! The one thread that writes: it drains waiting jobs into one transaction, each in its own
//! savepoint, and answers after the commit. What a job writes is not known here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::config::{FaultHook, FaultPoint};
use super::db::{Counters, Db, Stats, control};
use crate::{StoreError, limits};

/// Work for the writer, with its caller.
pub(super) trait Job: Send {
    /// Does the work; called once, inside a transaction.
    fn run(&mut self, db: &Db<'_>) -> Result<(), StoreError>;

    /// Answers the caller: with the outcome of the work, or with what befell the transaction.
    fn answer(self: Box<Self>, transaction: Result<(), StoreError>);
}

/// A job made of a closure.
pub(super) struct Write<T, F> {
    work: Option<F>,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Write<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { work: Some(work), outcome: Err(not_run()), reply }
    }
}

impl<T: Send, F: FnOnce(&Db<'_>) -> Result<T, StoreError> + Send> Job for Write<T, F> {
    fn run(&mut self, db: &Db<'_>) -> Result<(), StoreError> {
        let work = self.work.take().ok_or_else(not_run)?;
        self.outcome = catch_unwind(AssertUnwindSafe(|| work(db))).unwrap_or_else(|_| Err(panicked()));
        self.outcome.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn answer(self: Box<Self>, transaction: Result<(), StoreError>) {
        // A job that ran and failed keeps its own error; one that did not run has none.
        let outcome = match transaction {
            Err(error) if self.outcome.is_ok() || self.work.is_some() => Err(error),
            _ => self.outcome,
        };
        // The caller may be gone.
        let _ = self.reply.send(outcome);
    }
}

fn not_run() -> StoreError {
    StoreError::Unavailable("the write was not run".to_owned())
}

fn panicked() -> StoreError {
    StoreError::Unavailable("the write panicked".to_owned())
}

/// The state of the writing thread.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) jobs: mpsc::Receiver<Box<dyn Job>>,
    pub(super) counters: Arc<Counters>,
    pub(super) fault: Option<FaultHook>,
}

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        let mut group = Vec::with_capacity(limits::GROUP_JOBS);
        while let Some(first) = self.jobs.blocking_recv() {
            group.push(first);
            while group.len() < limits::GROUP_JOBS
                && let Ok(job) = self.jobs.try_recv()
            {
                group.push(job);
            }
            let transaction = self.commit(&mut group);
            for job in group.drain(..) {
                job.answer(transaction.clone());
            }
        }
    }

    /// One transaction for the whole group. An error means that none of it was written.
    fn commit(&self, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        control(&self.conn, "BEGIN IMMEDIATE")?;
        let written = self.run_jobs(group).and_then(|successes| {
            if successes == 0 {
                self.roll_back();
                return Ok(());
            }
            self.reach(FaultPoint::BeforeCommit);
            control(&self.conn, "COMMIT")?;
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
            self.counters.writes.fetch_add(successes, Ordering::Relaxed);
            self.say_what_was_done();
            self.reach(FaultPoint::AfterCommit);
            Ok(())
        });
        if written.is_err() {
            self.roll_back();
        }
        written
    }

    /// Runs every job; the number that succeeded.
    fn run_jobs(&self, group: &mut [Box<dyn Job>]) -> Result<u64, StoreError> {
        let db = Db { conn: &self.conn, statements: &self.counters.write_statements };
        if let [only] = group {
            // Alone, the transaction is the savepoint.
            return Ok(u64::from(only.run(&db).is_ok()));
        }
        let mut successes = 0;
        for job in group {
            self.counters.savepoints.fetch_add(1, Ordering::Relaxed);
            control(&self.conn, "SAVEPOINT job")?;
            let outcome = job.run(&db);
            if self.conn.is_autocommit() {
                // SQLite gave up the whole transaction (disk full, out of memory), and with it the
                // jobs before this one.
                return Err(outcome.err().unwrap_or_else(|| StoreError::Unavailable("the transaction was lost".to_owned())));
            }
            match outcome {
                Ok(()) => successes += 1,
                Err(_) => control(&self.conn, "ROLLBACK TO job")?,
            }
            control(&self.conn, "RELEASE job")?;
        }
        Ok(successes)
    }

    fn roll_back(&self) {
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = control(&self.conn, "ROLLBACK") {
            tracing::error!(%error, "rolling back a failed write");
        }
    }

    /// For whoever counts what a turn costs; before anybody learns of the commit.
    fn say_what_was_done(&self) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let Stats { commits, write_statements, read_statements, .. } = self.counters.stats();
        tracing::debug!(commits, write_statements, read_statements, "committed");
    }

    fn reach(&self, point: FaultPoint) {
        if let Some(fault) = &self.fault {
            fault(point);
        }
    }
}
