//! What is written down of a request or a connection. Never a query, a header, a body or a secret.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::egress::{Lost, Record};
use ostler_core::ids::{CredentialId, EventId, SessionId};

use crate::limits;
use ostler_core::egress::policy::{Code, Decision};

/// Records that wait to be fetched.
#[derive(Debug, Default)]
pub struct Records(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// Of each sandbox that has some: how many wait, and how many were lost.
    counts: HashMap<SessionId, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    lost: u64,
}

/// What was fetched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The records, the oldest first.
    pub records: Vec<Record>,
    /// How many were lost since the last time.
    pub dropped: Vec<Lost>,
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; without room, of all or of its sandbox, it is counted and dropped.
    pub(crate) fn push(&self, record: Record) {
        let mut held = self.lock();
        let has_room = held.records.len() < limits::RECORDS;
        let counts = held.counts.entry(record.session.clone()).or_default();
        if !has_room || counts.waiting >= limits::RECORDS_PER_SANDBOX {
            counts.lost += 1;
            return;
        }
        counts.waiting += 1;
        held.records.push_back(record);
    }

    /// Takes those that wait, at most so many.
    pub fn take(&self, most: usize) -> Taken {
        let mut held = self.lock();
        let count = most.min(held.records.len());
        let records: Vec<Record> = held.records.drain(..count).collect();
        for record in &records {
            if let Some(counts) = held.counts.get_mut(&record.session) {
                counts.waiting -= 1;
            }
        }
        let mut dropped = Vec::new();
        held.counts.retain(|session, counts| {
            let lost = std::mem::take(&mut counts.lost);
            if lost > 0 {
                dropped.push(Lost { session: session.clone(), count: lost });
            }
            counts.waiting > 0
        });
        Taken { records, dropped }
    }

    /// Counts what was taken and did not arrive.
    pub(crate) fn lost(&self, taken: Taken) {
        let mut held = self.lock();
        let records = taken.records.into_iter().map(|record| Lost { session: record.session, count: 1 });
        for Lost { session, count } in records.chain(taken.dropped) {
            held.counts.entry(session).or_default().lost += count;
        }
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
            call: None,
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

    /// The server made it for this tool call.
    pub(crate) fn of_call(mut self, call: Option<EventId>) -> Self {
        if let Some(record) = &mut self.record {
            record.call = call;
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

#[cfg(test)]
mod tests {
    use ostler_core::ids::IdSource;

    use super::*;

    fn line(records: &Arc<Records>, session: &SessionId) {
        drop(Line::new(records, session, "a.com", 443, &Decision::allow("unrestricted")));
    }

    #[test]
    fn a_sandbox_that_makes_many_records_loses_its_own() {
        let records = Arc::new(Records::default());
        let mut ids = IdSource::new(1, 1);
        let (loud, calm) = (SessionId::mint(&mut ids), SessionId::mint(&mut ids));
        for _ in 0..limits::RECORDS_PER_SANDBOX + 3 {
            line(&records, &loud);
        }
        line(&records, &calm);
        let Taken { records: first, dropped } = records.take(10);
        assert_eq!((first.len(), dropped), (10, vec![Lost { session: loud.clone(), count: 3 }]));
        let Taken { records: rest, dropped } = records.take(usize::MAX);
        assert_eq!((rest.len(), dropped), (limits::RECORDS_PER_SANDBOX - 9, Vec::new()));
        assert_eq!(rest.last().unwrap().session, calm);
        // What was taken and did not arrive is counted with what was lost before.
        records.lost(Taken { records: rest[..2].to_vec(), dropped: vec![Lost { session: loud.clone(), count: 3 }] });
        assert_eq!(records.take(10), Taken { records: Vec::new(), dropped: vec![Lost { session: loud, count: 5 }] });
        assert_eq!(records.take(10), Taken::default());
    }
}
