//! A session's row as clients read it.

use ostler_core::cost::Cost;
use ostler_core::ids::{ThreadId, VaultId};
use ostler_core::model::TokenUsage;
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::confirmation::Asked;
use ostler_core::resources::metadata::Metadata;
use ostler_core::resources::session::{ServerToolUsage, Session, SessionStats, SessionStatus, SessionUsage, seconds};
use ostler_core::session::state::State;
use ostler_core::time::Timestamp;
use ostler_store::{SessionRow, StoreError};
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;

/// The part of a session's row that only we read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    thread_id: ThreadId,
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vaults: Vec<VaultId>,
    usage: TokenUsage,
    #[serde(default, skip_serializing_if = "ServerToolUsage::is_none")]
    web: ServerToolUsage,
    cost: Option<Cost>,
    budget: Option<BudgetLimit>,
    active_micros: i64,
    running_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confirmations: Vec<Asked>,
}

impl View {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            thread_id: state.thread.clone(),
            metadata: state.metadata.clone(),
            vaults: state.vaults.clone(),
            usage: state.usage,
            web: state.web,
            cost: state.cost,
            budget: state.budget.clone(),
            active_micros: state.active_micros,
            running_since: state.running_since,
            confirmations: state.confirmations.clone(),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(row: &SessionRow, text: &'a str) -> Result<T, RuntimeError> {
    serde_json::from_str(text).map_err(|error| RuntimeError::Store(StoreError::Corrupt(format!("row of {}: {error}", row.id))))
}

/// What `GET /v1/sessions/{id}` shows.
pub fn session_resource(row: &SessionRow, now: Timestamp) -> Result<Session, RuntimeError> {
    let view: View = parse(row, &row.view)?;
    let active = view.active_micros + view.running_since.map_or(0, |since| now.micros_since(since));
    let end = row.archived_at.unwrap_or(now);
    Ok(Session {
        id: row.id.clone(),
        agent: parse(row, &row.agent)?,
        archived_at: row.archived_at,
        budget: view.budget,
        created_at: row.created_at,
        environment_id: row.environment_id.clone(),
        metadata: view.metadata,
        outcome_evaluations: Vec::new(),
        resources: Vec::new(),
        stats: SessionStats { active_seconds: seconds(active), duration_seconds: seconds(end.micros_since(row.created_at)) },
        status: status(row)?,
        title: row.title.clone(),
        kind: "session",
        updated_at: row.updated_at,
        usage: SessionUsage::new(&view.usage, view.web, view.cost, active),
        vault_ids: view.vaults,
    })
}

/// The questions about requests of its sandbox that wait, or whose answers still count.
pub(crate) fn confirmations(row: &SessionRow) -> Result<Vec<Asked>, RuntimeError> {
    Ok(parse::<View>(row, &row.view)?.confirmations)
}

/// The session's primary thread.
pub fn thread_id(row: &SessionRow) -> Result<ThreadId, RuntimeError> {
    Ok(parse::<View>(row, &row.view)?.thread_id)
}

fn status(row: &SessionRow) -> Result<SessionStatus, RuntimeError> {
    serde_json::from_value(serde_json::Value::String(row.status.clone()))
        .map_err(|_| RuntimeError::Store(StoreError::Corrupt(format!("row of {}: status {:?}", row.id, row.status))))
}
