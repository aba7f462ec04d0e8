//! A step as the store takes it.

use std::sync::Arc;

use ostler_core::cost::Cost;
use ostler_core::ids::SessionId;
use ostler_core::session::project::{Shared, project};
use ostler_core::session::record::{Record, RecordBody};
use ostler_core::session::state::{Phase, State};
use ostler_store::{Reserve, RowUpdate, SessionBatch, Spend, StoreError, StoredEvent, StoredRecord};

use crate::view::View;

// Whatever was accepted must fit into one batch later: a queue stands in a record and in events, an
// answer up to four times (as it came, as it was understood, as a call, as an event).
const _: () = assert!(ostler_store::limits::BATCH_BYTES >= 4 * ostler_core::limits::QUEUED_BYTES);
const _: () = assert!(ostler_store::limits::BATCH_BYTES >= 6 * ostler_models::limits::ANSWER_BYTES);

/// The batch of a step's records, which follow `after_seq` and whose events follow `after_position`.
pub(crate) fn batch(
    session: &SessionId,
    after_seq: u64,
    after_position: u64,
    records: &[Record],
    before: Option<&State>,
    state: &State,
) -> Result<SessionBatch, StoreError> {
    let shared = Shared { thread: state.thread.clone(), agent_name: state.agent.name.clone() };
    let mut stored = Vec::with_capacity(records.len());
    let mut events = Vec::new();
    for (record, seq) in records.iter().zip(after_seq + 1..) {
        stored.push(StoredRecord { seq, kind: record.body.kind().to_owned(), at: record.at, body: json(record)? });
        for event in project(record, &shared) {
            let position = after_position + 1 + events.len() as u64;
            events.push(StoredEvent {
                position,
                kind: event.body.kind().to_owned(),
                at: record.at,
                thread: None,
                body: Arc::from(json(&event)?),
                id: event.id,
            });
        }
    }
    Ok(SessionBatch { session: session.clone(), after_seq, records: stored, events, row: row(records, before, state)? })
}

fn row(records: &[Record], before: Option<&State>, state: &State) -> Result<RowUpdate, StoreError> {
    let changed = |what: fn(&RecordBody) -> bool| records.iter().any(|record| what(&record.body));
    let title = changed(|body| matches!(body, RecordBody::Updated { change, .. } if change.title.is_some()));
    let agent = changed(|body| matches!(body, RecordBody::Updated { change, .. } if change.agent.is_some()));
    Ok(RowUpdate {
        status: state.status().as_str().to_owned(),
        unfinished: state.is_unfinished(),
        progress: changed(RecordBody::is_progress),
        // That a sandbox rests changes nothing of the session.
        updated_at: records.iter().rev().find(|record| !matches!(record.body, RecordBody::SandboxLost { .. })).map(|record| record.at),
        archived_at: state.archived_at(),
        title: title.then(|| state.title.clone()),
        view: Some(json(&View::of(state))?),
        agent: if agent { Some(json(state.agent.as_ref())?) } else { None },
        reserved: state.reserved().unwrap_or_default(),
        capped: state.phase == Phase::Capped && !state.is_at_cap(),
        spend: Some(spend(records, before, state)).filter(|spend| !spend.is_nothing()),
    })
}

/// What these records do to the budget that the session shares.
fn spend(records: &[Record], before: Option<&State>, state: &State) -> Spend {
    let charged = records.iter().filter_map(|record| match &record.body {
        RecordBody::RequestAnswered { cost, .. } | RecordBody::RequestFailed { cost, .. } => *cost,
        _ => None,
    });
    let asks = records.iter().any(|record| matches!(record.body, RecordBody::RequestStarted { .. }));
    let ended = records.iter().any(|record| matches!(record.body, RecordBody::RequestAnswered { .. } | RecordBody::RequestFailed { .. }));
    Spend {
        release: before.filter(|_| ended).and_then(State::reserved).unwrap_or_default(),
        charge: charged.fold(Cost::ZERO, Cost::plus),
        reserve: match (asks && matches!(state.phase, Phase::Requesting { .. }), state.reserved()) {
            (false, _) => Reserve::Nothing,
            (true, Some(amount)) => Reserve::Amount(amount),
            (true, None) => Reserve::Unpriced,
        },
    }
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Invalid(format!("not serialisable: {error}")))
}
