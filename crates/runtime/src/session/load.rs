//! Waking a session: its state from a snapshot and the records behind it, its context from all
//! records that have a part in it.

use ostler_core::ids::SessionId;
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::context::{CONTEXT_KINDS, Context};
use ostler_core::session::record::Record;
use ostler_core::session::state::{SNAPSHOT_VERSION, State};
use ostler_store::{Claimed, SessionRow, StoreError, StoredRecord};

use super::deps::Deps;
use crate::limits;

/// A session as it was left.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) row: SessionRow,
    pub(crate) state: State,
    pub(crate) context: Context,
    /// The record up to which a snapshot is kept.
    pub(crate) snapshot_seq: u64,
}

/// Takes the session over and folds it. `None`: there is no such session.
pub(crate) async fn load(deps: &Deps, id: &SessionId) -> Result<Option<Loaded>, StoreError> {
    let scope = Scope::System(SystemReason::Recovery);
    let Some(claimed) = deps.store.claim(&scope, deps.epoch, id, SNAPSHOT_VERSION).await? else { return Ok(None) };
    let (state, snapshot_seq) = match fold(&claimed)? {
        Some(found) => found,
        None => (whole(deps, id).await?, 0),
    };
    let context = context(deps, id, claimed.row.last_seq).await?;
    Ok(Some(Loaded { row: claimed.row, state, context, snapshot_seq }))
}

/// The state from the snapshot and what follows it. `None`: the snapshot cannot be read, which is
/// no harm, because it can be thrown away.
fn fold(claimed: &Claimed) -> Result<Option<(State, u64)>, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("journal of {}: {what}", claimed.row.id));
    let mut records = claimed.tail.iter().map(parse);
    let snapshot = claimed.snapshot.as_ref().and_then(|snapshot| Some((serde_json::from_str::<State>(&snapshot.body).ok()?, snapshot.seq)));
    let (mut state, seq) = match (snapshot, claimed.snapshot.is_some()) {
        (Some(found), _) => found,
        (None, true) => return Ok(None),
        (None, false) => {
            let first = records.next().ok_or_else(|| corrupt("it is empty"))??;
            (State::first(&first).ok_or_else(|| corrupt("it does not begin with its creation"))?, 0)
        }
    };
    for record in records {
        state.apply(&record?);
    }
    Ok(Some((state, seq)))
}

/// The state from the whole journal.
async fn whole(deps: &Deps, id: &SessionId) -> Result<State, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("journal of {id}: it does not begin with its creation"));
    tracing::warn!(session = %id, "its snapshot cannot be read; folding the whole journal");
    let (mut state, mut after) = (None, 0);
    loop {
        let page = deps.store.records(id, after, &[], limits::CONTEXT_RECORDS).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for record in &page {
            let record = parse(record)?;
            match &mut state {
                None => state = Some(State::first(&record).ok_or_else(corrupt)?),
                Some(state) => state.apply(&record),
            }
        }
    }
    state.ok_or_else(corrupt)
}

async fn context(deps: &Deps, id: &SessionId, last_seq: u64) -> Result<Context, StoreError> {
    let mut context = Context::default();
    let mut after = 0;
    while after < last_seq {
        let page = deps.store.records(id, after, &CONTEXT_KINDS, limits::CONTEXT_RECORDS).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        for record in &page {
            context.push(&parse(record)?);
        }
    }
    Ok(context)
}

pub(crate) fn parse(stored: &StoredRecord) -> Result<Record, StoreError> {
    serde_json::from_str(&stored.body).map_err(|error| StoreError::Corrupt(format!("record {}: {error}", stored.seq)))
}
