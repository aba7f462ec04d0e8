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

impl Waiting {
    /// Loses the oldest record of the sandbox that has most of them, if it has more than this.
    fn makes_room(&mut self, than: usize) -> bool {
        let Some((loudest, most)) = self.counts.iter_mut().max_by_key(|(_, counts)| counts.waiting) else { return false };
        let oldest = self.records.iter().position(|record| record.session == *loudest);
        let Some(oldest) = oldest.filter(|_| most.waiting > than + 1) else { return false };
        (most.waiting, most.lost) = (most.waiting - 1, most.lost + 1);
        self.records.remove(oldest).is_some()
    }
}

/// Bytes that a record has in a frame, and some more.
fn bytes(record: &Record) -> usize {
    // In JSON a byte of a text has six at most.
    6 * (record.host.len() + record.method.len() + record.path.as_ref().map_or(0, String::len) + record.rule.len()) + 1_024
}

/// As much of a text as that many bytes hold.
fn cut(text: &str, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; without room, of all or of its sandbox, it is counted and dropped.
    pub(crate) fn push(&self, record: Record) {
        let mut held = self.lock();
        let waiting = held.counts.entry(record.session.clone()).or_default().waiting;
        let is_full = waiting >= limits::RECORDS_PER_SANDBOX || (held.records.len() >= limits::RECORDS && !held.makes_room(waiting));
        let counts = held.counts.entry(record.session.clone()).or_default();
        if is_full {
            counts.lost += 1;
            return;
        }
        counts.waiting += 1;
        held.records.push_back(record);
    }

    /// Takes those that wait, at most so many.
    pub fn take(&self, most: usize) -> Taken {
        let mut held = self.lock();
        let mut room = limits::RECORDS_TOLD;
        let fits = held.records.iter().take(most).take_while(|record| match room.checked_sub(bytes(record)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let count = fits.count();
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
            host: cut(host, limits::HOST_BYTES),
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
            record.method = cut(method, limits::METHOD_BYTES);
            record.path = Some(cut(path, limits::PATH_BYTES));
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
    fn many_loud_sandboxes_leave_room_for_a_calm_one_and_what_is_told_fits_a_frame() {
        let records = Arc::new(Records::default());
        let mut ids = IdSource::new(2, 2);
        let loud: Vec<SessionId> = (0..8).map(|_| SessionId::mint(&mut ids)).collect();
        let (calm, path) = (SessionId::mint(&mut ids), "\u{1F600}".repeat(2_048));
        for _ in 0..limits::RECORDS_PER_SANDBOX {
            for session in &loud {
                let line = Line::new(&records, session, &path, 443, &Decision::allow("unrestricted"));
                drop(line.request(&path, &path));
            }
        }
        line(&records, &calm);
        let (mut all, mut lost) = (Vec::new(), 0);
        while let taken = records.take(usize::MAX)
            && !taken.records.is_empty()
        {
            assert!(serde_json::to_vec(&taken.records).unwrap().len() < limits::FRAME_BYTES);
            lost += taken.dropped.iter().map(|lost| lost.count).sum::<u64>();
            all.extend(taken.records);
        }
        assert_eq!((all.len(), all.iter().filter(|record| record.session == calm).count()), (limits::RECORDS, 1));
        assert_eq!(lost as usize + all.len(), 8 * limits::RECORDS_PER_SANDBOX + 1);
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
