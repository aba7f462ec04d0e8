//! Records, events and snapshots as they are stored. What they mean is not known here.

use std::sync::Arc;

use ostler_core::cost::Cost;
use ostler_core::ids::{EventId, SessionId};
use ostler_core::time::Timestamp;

use crate::{Order, SessionRow, Spend, StoreError, TimeRange, limits};

/// One record of a session's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Dense within the session, from 1.
    pub seq: u64,
    /// The kind of record.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// Serialised JSON, kept byte for byte.
    pub body: String,
}

/// One event as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Grows within the session, from 1.
    pub position: u64,
    /// The id.
    pub id: EventId,
    /// The kind of event.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The thread it belongs to, `None` for the primary one.
    pub thread: Option<String>,
    /// Serialised JSON, kept byte for byte.
    pub body: Arc<str>,
}

/// What one step of a session adds: committed as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionBatch {
    /// The session.
    pub session: SessionId,
    /// The sequence number of the last record before this batch.
    pub after_seq: u64,
    /// The records, dense from `after_seq + 1`.
    pub records: Vec<StoredRecord>,
    /// The events, in growing positions.
    pub events: Vec<StoredEvent>,
    /// The session's row afterwards.
    pub row: RowUpdate,
}

/// The session's row after a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowUpdate {
    /// The status clients see.
    pub status: String,
    /// Work is open that a restart must take up.
    pub unfinished: bool,
    /// The session got further: its count of recoveries starts again at 0.
    pub progress: bool,
    /// When it changed; `None` leaves it.
    pub updated_at: Option<Timestamp>,
    /// When it was archived; `None` is not archived.
    pub archived_at: Option<Timestamp>,
    /// The new title; `None` leaves it, `Some(None)` removes it.
    pub title: Option<Option<String>>,
    /// The new view; `None` leaves it.
    pub view: Option<String>,
    /// The new resolved agent; `None` leaves it. Costs one more statement.
    pub agent: Option<String>,
    /// What the request under way has set aside.
    pub reserved: Cost,
    /// Whether it waits for the budget that its workspace shares.
    pub capped: bool,
    /// What it does to the workspace's budget; costs one more statement unless it is nothing.
    pub spend: Option<Spend>,
}

impl SessionBatch {
    /// The sequence number of the last record once this batch is stored.
    pub fn last_seq(&self) -> u64 {
        self.after_seq.saturating_add(self.records.len() as u64)
    }

    /// Checks what can be checked without the database.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let refuse = |what: &str| Err(StoreError::Invalid(format!("batch of {}: {what}", self.session)));
        if self.records.len() > limits::BATCH_RECORDS || self.events.len() > limits::BATCH_EVENTS {
            return refuse("too many records or events");
        }
        if self.last_seq() > limits::SESSION_SEQ {
            return refuse("the journal is full");
        }
        if self.records.iter().zip(1..).any(|(record, nth)| record.seq != self.after_seq + nth) {
            return refuse("records are not dense");
        }
        if self.events.windows(2).any(|pair| pair[0].position >= pair[1].position) {
            return refuse("events do not grow in position");
        }
        if self.events.iter().any(|event| event.position == 0 || event.position > limits::SESSION_SEQ) {
            return refuse("an event's position is out of range");
        }
        let texts = [&self.row.view, &self.row.agent].into_iter().flatten().map(String::len);
        let bytes = self.records.iter().map(|record| record.body.len());
        let bytes = bytes.chain(self.events.iter().map(|event| event.body.len())).chain(texts);
        if bytes.fold(0, usize::saturating_add) > limits::BATCH_BYTES {
            return refuse("too many bytes");
        }
        Ok(())
    }
}

/// A folded state at one record: discardable, the journal remains the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record folded in.
    pub seq: u64,
    /// The version of the state's shape.
    pub version: u32,
    /// Serialised JSON.
    pub body: String,
}

/// A session taken over: all that is needed to fold its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its row.
    pub row: SessionRow,
    /// The newest usable snapshot.
    pub snapshot: Option<Snapshot>,
    /// The records after the snapshot, or all.
    pub tail: Vec<StoredRecord>,
}

/// Which events to read; every condition given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Positions above this one.
    pub after: Option<u64>,
    /// Positions below this one.
    pub before: Option<u64>,
    /// Of these kinds; empty means any.
    pub kinds: Vec<String>,
    /// That happened within this span.
    pub created: TimeRange,
    /// By position.
    pub order: Order,
    /// At most so many; see [`limits::EVENTS_READ`].
    pub limit: usize,
}

impl EventQuery {
    /// The first `limit` events after a position, oldest first.
    pub fn after(position: u64, limit: usize) -> Self {
        Self { after: Some(position), before: None, kinds: Vec::new(), created: TimeRange::default(), order: Order::Ascending, limit }
    }
}
