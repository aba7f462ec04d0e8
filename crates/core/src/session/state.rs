//! What a session's journal folds to. Small: the conversation itself is kept by
//! [`super::context::Context`], so that the state does not grow with the history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calls::{Call, CallState, Place, promote};
use super::estimate;
use super::fault::CredentialFault;
use super::mcp::{Look, McpServerState};
use super::plan::TargetName;
use super::record::{Ask, QueuedInput, Record, RecordBody, Try};
use crate::cost::Cost;
use crate::events::wire::StopReason;
use crate::ids::{EffectId, EventId, IncarnationId, ThreadId, VaultId};
use crate::model::TokenUsage;
use crate::resources::agent::McpServer;
use crate::resources::budget::BudgetLimit;
use crate::resources::confirmation::{Asked, ConfirmationAnswer};
use crate::resources::metadata::Metadata;
use crate::resources::session::{ServerToolUsage, SessionAgent, SessionStatus};
use crate::time::Timestamp;

/// The version of serialised states; another one is ignored and folded anew.
pub const SNAPSHOT_VERSION: u32 = 2;

/// A session, between two records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its only thread.
    pub thread: ThreadId,
    /// Its copy of the agent.
    pub agent: Arc<SessionAgent>,
    /// Its title.
    pub title: Option<String>,
    /// Its key-value pairs.
    pub metadata: Metadata,
    /// Whose credentials it may use, the first first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vaults: Vec<VaultId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it is in its turn.
    pub phase: Phase,
    /// Inputs that wait for the next turn.
    pub queue: VecDeque<QueuedInput>,
    /// Interrupts that wait until what they end is gone.
    pub interrupts: Vec<EventId>,
    /// The calls of the last answer, until the next request starts.
    pub calls: Vec<Call>,
    /// The life of its sandbox, if it has one.
    pub sandbox: Option<IncarnationId>,
    /// What is known of its MCP servers, by the agent's names for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mcp: BTreeMap<String, McpServerState>,
    /// Model requests answered in this turn.
    pub steps: u32,
    /// Tokens used so far.
    pub usage: TokenUsage,
    /// Calls of the web tools so far that had a result.
    #[serde(default, skip_serializing_if = "ServerToolUsage::is_none")]
    pub web: ServerToolUsage,
    /// What was charged so far; none until a model with a price was asked.
    pub cost: Option<Cost>,
    /// The most that it may cost.
    pub budget: Option<BudgetLimit>,
    /// At most the tokens of the conversation so far, whoever counts them.
    pub context_tokens: u64,
    /// The same, as the model that answered last counted it.
    pub counted: Option<Counted>,
    /// Time not idle so far, in microseconds, without the time since `running_since`.
    pub active_micros: i64,
    /// Since when it is not idle.
    pub running_since: Option<Timestamp>,
    /// Whether it died too often and waits for somebody to ask for a retry.
    pub set_aside: bool,
    /// The credentials that clients were told of because they cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credential_faults: Vec<CredentialFault>,
    /// Questions about requests of its sandbox that wait, or whose answers still count, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmations: Vec<Asked>,
}

/// The size of the conversation as one model counts it. Another one may count otherwise, or be sent
/// parts that this one was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Who counted.
    pub by: TargetName,
    /// What it counted, and at most the tokens that came since.
    pub tokens: u64,
}

/// Where a session is in its turn. Each place owns what is only valid in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Phase {
    /// Between turns.
    Idle,
    /// The model is asked.
    Requesting {
        /// The request.
        effect: EffectId,
        /// Its event.
        span: EventId,
        /// Which try of this step.
        attempt: u32,
        /// Whom it asks, and for how much.
        ask: Ask,
    },
    /// The model is asked again later.
    Backoff {
        /// The timer.
        timer: EffectId,
        /// The attempt that failed.
        attempt: u32,
        /// When the time is over.
        until: Timestamp,
        /// Whether clients were told.
        rescheduled: bool,
        /// Who is asked then.
        next: Try,
    },
    /// In the middle of a turn, which goes on when there is budget again.
    Capped,
    /// Calls are run or wait for answers.
    Acting {
        /// Whether nothing runs and clients were told to answer.
        paused: bool,
    },
    /// Over for good.
    Archived {
        /// Since when.
        at: Timestamp,
    },
}

impl State {
    /// The state after the first record, which must be [`RecordBody::Created`].
    pub fn first(record: &Record) -> Option<Self> {
        let RecordBody::Created { thread, agent, title, metadata, budget, vaults } = &record.body else { return None };
        Some(Self {
            thread: thread.clone(),
            agent: Arc::clone(agent),
            title: title.clone(),
            metadata: metadata.clone(),
            vaults: vaults.clone(),
            created_at: record.at,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            interrupts: Vec::new(),
            calls: Vec::new(),
            sandbox: None,
            mcp: BTreeMap::new(),
            steps: 0,
            usage: TokenUsage::default(),
            web: ServerToolUsage::default(),
            cost: None,
            budget: budget.clone(),
            context_tokens: 0,
            counted: None,
            active_micros: 0,
            running_since: None,
            set_aside: false,
            credential_faults: Vec::new(),
            confirmations: Vec::new(),
        })
    }

    /// Folds a whole journal. `None` when it does not begin with [`RecordBody::Created`].
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let mut records = records.into_iter();
        let mut state = Self::first(records.next()?)?;
        for record in records {
            state.apply(record);
        }
        Some(state)
    }

    /// What clients are told of where the session is.
    pub fn status(&self) -> SessionStatus {
        match &self.phase {
            _ if self.set_aside => SessionStatus::Idle,
            Phase::Idle | Phase::Capped | Phase::Acting { paused: true } => SessionStatus::Idle,
            Phase::Requesting { .. } | Phase::Backoff { rescheduled: false, .. } | Phase::Acting { paused: false } => {
                SessionStatus::Running
            }
            Phase::Backoff { rescheduled: true, .. } => SessionStatus::Rescheduling,
            Phase::Archived { .. } => SessionStatus::Terminated,
        }
    }

    /// Whether something must go on by itself after a restart.
    pub fn is_unfinished(&self) -> bool {
        let at_work = matches!(self.phase, Phase::Requesting { .. } | Phase::Backoff { .. } | Phase::Acting { paused: false });
        (at_work || !self.interrupts.is_empty() || (matches!(self.phase, Phase::Idle) && !self.queue.is_empty())) && !self.set_aside
    }

    /// When it was archived.
    pub fn archived_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Archived { at } => Some(at),
            _ => None,
        }
    }

    /// What is set aside for the request that is under way.
    pub fn reserved(&self) -> Option<Cost> {
        match &self.phase {
            Phase::Requesting { ask, .. } => ask.reserved,
            _ => None,
        }
    }

    /// The most that it may cost. An amount that cannot be read allows nothing.
    pub fn cap(&self) -> Option<Cost> {
        self.budget.as_ref().map(|budget| budget.cap("budget").unwrap_or(Cost::ZERO))
    }

    /// Whether its budget is used up, so that no model is asked.
    pub fn is_at_cap(&self) -> bool {
        self.cap().is_some_and(|cap| self.cost.unwrap_or_default() >= cap)
    }

    /// Time not idle until `now`, in microseconds.
    pub fn active_micros_at(&self, now: Timestamp) -> i64 {
        self.active_micros + self.running_since.map_or(0, |since| now.micros_since(since))
    }

    /// The call with this id, if it belongs to the last answer.
    pub fn call(&self, id: &EventId) -> Option<&Call> {
        self.calls.iter().find(|call| &call.id == id)
    }

    /// The calls that wait for somebody to answer, in order.
    pub fn waiting(&self) -> Vec<EventId> {
        self.calls.iter().filter(|call| call.state.waits()).map(|call| call.id.clone()).collect()
    }

    /// The MCP servers whose tools are still to be asked for, in the agent's order.
    pub fn mcp_due(&self) -> impl Iterator<Item = &McpServer> {
        let is_due = |server: &&McpServer| self.mcp.get(&server.name).is_none_or(|known| known.look == Look::Due);
        self.agent.mcp_servers.iter().filter(is_due)
    }

    /// Takes in what happened. Total: a record that does not fit changes as much as still makes sense.
    pub fn apply(&mut self, record: &Record) {
        match &record.body {
            RecordBody::Created { .. } | RecordBody::Faulted { .. } | RecordBody::Unknown => {}
            RecordBody::CredentialFaulted { fault, .. } => self.credential_faults.push(fault.clone()),
            RecordBody::Instructed { content, .. } => self.grow(estimate::content(content)),
            RecordBody::InputsQueued { inputs } => self.queue.extend(inputs.iter().cloned()),
            RecordBody::TurnStarted { inputs, .. } => {
                self.dequeue(inputs);
                self.grow(estimate::inputs(inputs));
                self.steps = 0;
                for server in &self.agent.mcp_servers {
                    self.mcp.entry(server.name.clone()).or_default().turn(record.at);
                }
                self.phase = Phase::Acting { paused: false };
                self.run_since(record.at);
            }
            RecordBody::InputsFlushed { inputs } => {
                self.dequeue(inputs);
                self.grow(estimate::inputs(inputs));
            }
            RecordBody::Resumed { .. } => {
                self.phase = Phase::Acting { paused: false };
                self.run_since(record.at);
                self.promote();
            }
            RecordBody::RequestStarted { effect, span, attempt, ask } => {
                self.calls.clear();
                self.phase = Phase::Requesting { effect: effect.clone(), span: span.clone(), attempt: *attempt, ask: ask.clone() };
            }
            RecordBody::RequestAnswered { calls, usage, blocks, cost, .. } => {
                self.steps += 1;
                self.usage.add(usage);
                self.charge(*cost);
                let at = match &self.phase {
                    Phase::Requesting { ask, .. } => Some(ask.at.clone()),
                    _ => None,
                };
                self.grow(estimate::answer(blocks));
                // All that was sent and all that came back, as this model counts.
                self.counted = at.filter(|_| usage.has_input()).map(|by| Counted { by, tokens: usage.total() });
                self.calls = calls.iter().map(Call::new).collect();
                self.phase = Phase::Acting { paused: false };
                self.promote();
            }
            RecordBody::RequestFailed { error, cost, .. } => {
                self.usage.add(&error.usage);
                self.charge(*cost);
                self.phase = Phase::Acting { paused: false };
            }
            RecordBody::RetryScheduled { timer, attempt, delay_ms, next, rescheduled } => {
                let micros = i64::try_from(*delay_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
                self.phase = Phase::Backoff {
                    timer: timer.clone(),
                    attempt: *attempt,
                    until: record.at.plus_micros(micros),
                    rescheduled: rescheduled.is_some(),
                    next: *next,
                };
            }
            RecordBody::SandboxStarted { incarnation } => {
                self.sandbox = Some(incarnation.clone());
                self.promote();
            }
            RecordBody::SandboxLost { incarnation } => {
                if self.sandbox.as_ref() == Some(incarnation) {
                    self.sandbox = None;
                }
            }
            RecordBody::CallRetried { call } => {
                if let Some(call) = self.calls.iter_mut().find(|open| &open.id == call) {
                    call.incarnation = None;
                    call.retries += 1;
                }
                self.promote();
            }
            RecordBody::CallSettled { call, outcome, .. } => {
                if !outcome.is_error
                    && let Some(call) = self.call(call)
                {
                    self.web = self.web.with(&call.name);
                }
                self.grow(estimate::values(&outcome.content));
                self.settle(call);
            }
            RecordBody::CustomResult { call, content, .. } => {
                self.grow(estimate::content(content));
                self.settle(call);
            }
            RecordBody::Confirmed { call, result, .. } => self.confirm(call, *result),
            RecordBody::NetworkAsked { confirmation, question } => {
                let asked = Asked { id: confirmation.clone(), question: question.clone(), at: record.at, answer: None };
                self.confirmations.push(asked);
            }
            RecordBody::NetworkAnswered { confirmation, result, remember, .. } => {
                if let Some(asked) = self.confirmations.iter_mut().find(|asked| asked.id == *confirmation) {
                    asked.answer = Some(ConfirmationAnswer { result: *result, remember: *remember, at: record.at });
                }
            }
            RecordBody::NetworkUsed { confirmation } => self.confirmations.retain(|asked| asked.id != *confirmation),
            RecordBody::InterruptRequested { event, .. } => self.interrupts.push(event.clone()),
            RecordBody::Interrupted { event } => self.interrupts.retain(|waiting| waiting != event),
            RecordBody::Idled { stop, .. } => {
                self.active_micros = self.active_micros_at(record.at);
                self.running_since = None;
                self.phase = match stop {
                    StopReason::RequiresAction { .. } => Phase::Acting { paused: true },
                    StopReason::BudgetReached {} => Phase::Capped,
                    _ => Phase::Idle,
                };
            }
            RecordBody::Updated { change, .. } => {
                if let Some(agent) = &change.agent {
                    // Another address is another server, whatever it is called.
                    let stays = |name: &String| {
                        let at = |agent: &SessionAgent| agent.mcp_servers.iter().find(|server| server.name == *name).cloned();
                        at(agent).is_some() && at(agent) == at(&self.agent)
                    };
                    self.mcp.retain(|name, _| stays(name));
                    self.agent = Arc::new(agent.as_ref().clone());
                }
                if let Some(metadata) = &change.metadata {
                    self.metadata.clone_from(metadata);
                }
                if let Some(title) = &change.title {
                    self.title.clone_from(title);
                }
                if let Some(budget) = &change.budget {
                    self.budget.clone_from(budget);
                }
            }
            RecordBody::McpListed { server, tools } => {
                self.mcp.entry(server.clone()).or_default().listed(tools.as_ref(), record.at);
            }
            RecordBody::McpUnavailable { server, .. } => self.mcp.entry(server.clone()).or_default().look = Look::Failed,
            RecordBody::Archived { .. } => {
                self.phase = Phase::Archived { at: record.at };
                self.queue.clear();
                self.interrupts.clear();
                self.calls.clear();
                self.confirmations.clear();
                self.sandbox = None;
                self.set_aside = false;
            }
            RecordBody::SetAside { .. } => {
                self.set_aside = true;
                self.active_micros = self.active_micros_at(record.at);
                self.running_since = None;
            }
            RecordBody::Retried { .. } => {
                self.set_aside = false;
                self.run_since(record.at);
            }
        }
    }

    /// Starts calls that may start; nothing starts while the session waits for answers.
    fn promote(&mut self) {
        if self.phase == (Phase::Acting { paused: false }) {
            promote(&mut self.calls, self.sandbox.as_ref());
        }
    }

    fn dequeue(&mut self, inputs: &[QueuedInput]) {
        self.queue.retain(|waiting| !inputs.iter().any(|input| input.event == waiting.event));
    }

    fn grow(&mut self, tokens: u64) {
        self.context_tokens = self.context_tokens.saturating_add(tokens);
        if let Some(counted) = &mut self.counted {
            counted.tokens = counted.tokens.saturating_add(tokens);
        }
    }

    fn charge(&mut self, cost: Option<Cost>) {
        if let Some(cost) = cost {
            self.cost = Some(self.cost.unwrap_or_default().plus(cost));
        }
    }

    fn run_since(&mut self, at: Timestamp) {
        self.running_since.get_or_insert(at);
    }

    fn settle(&mut self, id: &EventId) {
        if let Some(call) = self.calls.iter_mut().find(|call| &call.id == id) {
            call.state = CallState::Settled;
        }
        self.promote();
    }

    fn confirm(&mut self, id: &EventId, result: crate::events::client::Confirmation) {
        if let Some(call) = self.calls.iter_mut().find(|call| &call.id == id) {
            if let (Place::Mcp { server, tool }, crate::events::client::Confirmation::Allow) = (&call.place, result)
                && let Some(server) = self.mcp.get_mut(server)
            {
                server.accept(tool);
            }
            call.state = match result {
                crate::events::client::Confirmation::Allow => CallState::Ready,
                crate::events::client::Confirmation::Deny => CallState::Denied,
            };
        }
        self.promote();
    }
}
