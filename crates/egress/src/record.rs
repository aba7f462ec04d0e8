//! What is written down of a request or a connection. Never a query, a header, a body or a secret.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ostler_core::egress::Record;
use ostler_core::ids::{CredentialId, SessionId};

use crate::limits;
use ostler_core::egress::policy::{Code, Decision};

/// Records that wait to be fetched.
#[derive(Debug, Default)]
pub struct Records {
    waiting: Mutex<VecDeque<Record>>,
    dropped: AtomicU64,
}

impl Records {
    /// Adds one; without room the newest is counted and dropped.
    pub(crate) fn push(&self, record: Record) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < limits::RECORDS {
            waiting.push_back(record);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes those that wait, at most so many, and how many were dropped since the last time.
    pub fn take(&self, most: usize) -> (Vec<Record>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = most.min(waiting.len());
        (waiting.drain(..count).collect(), self.dropped.swap(0, Ordering::Relaxed))
    }
}

/// A line that is being written: recorded when it is dropped, whatever ends it.
#[derive(Debug)]
pub(crate) struct Line {
    records: Arc<Records>,
    record: Option<Record>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Line {
    pub(crate) fn new(records: &Arc<Records>, session: &SessionId, host: &str, port: u16, decision: &Decision) -> Self {
        let at_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let record = Record {
            session: session.clone(),
            at_ms,
            host: host.chars().take(limits::HOST_BYTES).collect(),
            port,
            method: "CONNECT".into(),
            path: None,
            status: None,
            sent: 0,
            received: 0,
            is_allowed: decision.is_allowed,
            code: decision.code,
            rule: decision.rule.clone(),
            credentials: Vec::new(),
        };
        Self { records: Arc::clone(records), record: Some(record), sent: Arc::default(), received: Arc::default() }
    }

    /// What can be seen of a request.
    pub(crate) fn request(mut self, method: &str, path: &str) -> Self {
        if let Some(record) = &mut self.record {
            record.method = method.chars().take(limits::METHOD_BYTES).collect();
            record.path = Some(path.chars().take(limits::PATH_BYTES).collect());
        }
        self
    }

    pub(crate) fn used(&mut self, credentials: Vec<CredentialId>) {
        if let Some(record) = &mut self.record {
            record.credentials = credentials;
        }
    }

    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.status = Some(status);
        }
    }

    /// It was allowed, and failed for this reason.
    pub(crate) fn failed(&mut self, code: Code) {
        if let Some(record) = &mut self.record {
            (record.is_allowed, record.code) = (false, code);
        }
    }

    /// Counts bytes that leave the sandbox.
    pub(crate) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// Counts bytes that come in.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.sent = self.sent.load(Ordering::Relaxed);
            record.received = self.received.load(Ordering::Relaxed);
            self.records.push(record);
        }
    }
}
