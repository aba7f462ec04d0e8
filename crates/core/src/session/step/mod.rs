//! The step: an input, in a state, becomes records and effects. Pure and total.

mod advance;
mod budget;
mod commands;
mod confirmations;
mod mcp;
mod model;
mod tools;

#[cfg(test)]
mod tests;

use super::effect::{self, Effect};
use super::fault::CredentialFault;
use super::mcp::McpTool;
use super::plan::ModelPlan;
use super::record::{IdleEvents, RECORD_VERSION, Record, RecordBody, RunningEvents};
use super::state::State;
use crate::call::CallOutcome;
use crate::egress::Question;
use crate::error::Refusal;
use crate::events::client::{ClientEvent, Confirmation};
use crate::events::wire::Event;
use crate::ids::{ConfirmationId, EffectId, EventId, IdSource, IncarnationId};
use crate::model::{ModelError, ModelResponse};
use crate::resources::confirmation::Remember;
use crate::resources::session::{SessionUpdateParams, SessionUsage};
use crate::scope::Principal;
use crate::time::Timestamp;

/// What can happen to a session.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client posted events. Legal in every phase but `Archived`; all or nothing.
    Send {
        /// The events, already checked for what does not depend on the state.
        events: Vec<ClientEvent>,
        /// Who.
        principal: Principal,
    },
    /// A client changes title, metadata, or, while idle, the agent's tools.
    Update(Box<SessionUpdateParams>),
    /// A client ends the session; refused while it runs. Again: changes nothing.
    Archive,
    /// An administrator wants a session that was set aside to go on.
    Retry {
        /// Who.
        principal: Principal,
    },
    /// A budget that it shares was raised or removed.
    SharedBudgetRaised,
    /// The sandbox sent requests about which a person is asked. Those that are asked about already change nothing.
    NetworkAsked {
        /// The requests.
        questions: Vec<Question>,
    },
    /// A client answers such a question; refused where it has an answer already.
    NetworkAnswered {
        /// The question.
        confirmation: ConfirmationId,
        /// The answer.
        result: Confirmation,
        /// For how long it counts.
        remember: Remember,
        /// Who.
        principal: Principal,
    },
    /// An answer that counts once is about to be given to a request; refused where it was used before.
    NetworkUsed {
        /// The question.
        confirmation: ConfirmationId,
    },
    /// The session died too often in a row.
    SetAside {
        /// How often.
        deaths: u32,
    },
    /// The session was taken up by a new process: what was under way in the old one is not.
    Recovered,
    /// The model answered.
    ModelAnswered {
        /// The request.
        effect: EffectId,
        /// The answer.
        response: Box<ModelResponse>,
    },
    /// The request failed, or is really gone after it was given up.
    ModelFailed {
        /// The request.
        effect: EffectId,
        /// Why.
        error: ModelError,
        /// How long to wait if it is tried again, in milliseconds.
        delay_ms: u64,
    },
    /// The time is over.
    TimerFired {
        /// The timer.
        timer: EffectId,
    },
    /// The sandbox has had nothing to do for long and is to end; its files stay.
    Park,
    /// Credentials turned out to be of no use. Told once for each; changes nothing else.
    CredentialsFaulted {
        /// Which, and why.
        faults: Vec<CredentialFault>,
    },
    /// An MCP server listed its tools.
    McpListed {
        /// The server, as the agent calls it.
        server: String,
        /// The address that was asked.
        url: String,
        /// Its tools.
        tools: Vec<McpTool>,
    },
    /// An MCP server cannot be used.
    McpFailed {
        /// The server, as the agent calls it.
        server: String,
        /// The address that was asked.
        url: String,
        /// Why, and what to do.
        message: String,
        /// Whether it is about who asks.
        is_authentication: bool,
    },
    /// A sandbox lives.
    SandboxStarted {
        /// This life.
        incarnation: IncarnationId,
    },
    /// There is no sandbox to be had.
    SandboxFailed {
        /// Why, and what to do.
        message: String,
    },
    /// A call has its result.
    CallFinished {
        /// The call.
        call: EventId,
        /// The result.
        outcome: CallOutcome,
    },
    /// The sandbox is gone and provably never received the call.
    CallNeverReceived {
        /// The call.
        call: EventId,
        /// The sandbox's life.
        incarnation: IncarnationId,
    },
    /// The sandbox is gone, and whether it ran the call is not known.
    CallLost {
        /// The call.
        call: EventId,
        /// The sandbox's life.
        incarnation: IncarnationId,
        /// Why the sandbox ended, if that is known.
        why: Option<String>,
    },
}

impl Input {
    /// Whether an effect came back. A session that was set aside does not take these: what matters
    /// is asked for again when it goes on.
    fn is_result(&self) -> bool {
        match self {
            Self::Send { .. }
            | Self::Update(_)
            | Self::Archive
            | Self::Retry { .. }
            | Self::SharedBudgetRaised
            | Self::NetworkAsked { .. }
            | Self::NetworkAnswered { .. }
            | Self::NetworkUsed { .. }
            | Self::SetAside { .. }
            | Self::Park
            | Self::CredentialsFaulted { .. }
            | Self::Recovered => false,
            Self::ModelAnswered { .. }
            | Self::ModelFailed { .. }
            | Self::TimerFired { .. }
            | Self::McpListed { .. }
            | Self::McpFailed { .. }
            | Self::SandboxStarted { .. }
            | Self::SandboxFailed { .. }
            | Self::CallFinished { .. }
            | Self::CallNeverReceived { .. }
            | Self::CallLost { .. } => true,
        }
    }
}

/// What a step knows of the world: time, chance, configuration, and what others spent.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// The time.
    pub at: Timestamp,
    /// Must not repeat within one millisecond.
    pub seed: u64,
    /// What the configuration offers for the agent's model.
    pub plan: &'a ModelPlan,
    /// Whether a budget that the session shares with others admits a request.
    pub shared_budget: SharedBudget,
}

/// Whether a budget that a session shares admits another request. A step assumes that it does; the
/// store knows, and refuses the step if not, which is then decided again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SharedBudget {
    /// As far as is known.
    #[default]
    Open,
    /// It is used up.
    Reached,
    /// There is one, and what the request costs is not known.
    Unpriced,
}

/// What an input comes to.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to write before anything else; empty when the input changes nothing.
    pub records: Vec<Record>,
    /// The state after the records.
    pub state: State,
    /// What to start after they are written.
    pub effects: Vec<Effect>,
    /// A client's events as it gets them back.
    pub echo: Vec<Event>,
}

/// Turns an input into records and effects. Refused inputs change nothing.
pub fn step(state: &State, input: Input, now: Now<'_>) -> Result<Step, Refusal> {
    let mut stepper = Stepper::new(state.clone(), now);
    let recovered = matches!(input, Input::Recovered | Input::Retry { .. });
    if state.set_aside && input.is_result() {
        return Ok(Step { records: Vec::new(), state: stepper.state, effects: Vec::new(), echo: Vec::new() });
    }
    match input {
        Input::Send { events, principal } => stepper.send(events, &principal)?,
        Input::Update(params) => stepper.update(*params)?,
        Input::Archive => stepper.archive()?,
        Input::Retry { principal } => stepper.retry(principal)?,
        Input::SharedBudgetRaised => stepper.resume_if_budget(),
        Input::NetworkAsked { questions } => stepper.network_asked(questions),
        Input::NetworkAnswered { confirmation, result, remember, principal } => {
            stepper.network_answered(&confirmation, result, remember, &principal)?;
        }
        Input::NetworkUsed { confirmation } => stepper.network_used(&confirmation)?,
        Input::SetAside { deaths } => stepper.set_aside(deaths),
        Input::Recovered => stepper.recover(),
        Input::ModelAnswered { effect, response } => stepper.model_answered(&effect, *response),
        Input::ModelFailed { effect, error, delay_ms } => stepper.model_failed(&effect, error, delay_ms),
        Input::TimerFired { timer } => stepper.timer_fired(&timer),
        Input::McpListed { server, url, tools } => stepper.mcp_listed(server, &url, tools),
        Input::McpFailed { server, url, message, is_authentication } => stepper.mcp_failed(server, &url, &message, is_authentication),
        Input::Park => stepper.park(),
        Input::CredentialsFaulted { faults } => stepper.credentials_faulted(faults),
        Input::SandboxStarted { incarnation } => stepper.sandbox_started(incarnation),
        Input::SandboxFailed { message } => stepper.sandbox_failed(&message),
        Input::CallFinished { call, outcome } => stepper.call_finished(&call, outcome),
        Input::CallNeverReceived { call, incarnation } => stepper.call_never_received(&call, incarnation),
        Input::CallLost { call, incarnation, why } => stepper.call_lost(&call, incarnation, why.as_deref()),
    }
    let effects = if recovered { effect::outstanding(&stepper.state) } else { effect::newly(state, &stepper.state) };
    Ok(Step { records: stepper.records, state: stepper.state, effects, echo: stepper.echo })
}

/// The first records of a session: it exists, and perhaps starts with messages.
pub fn create(created: RecordBody, events: Vec<ClientEvent>, principal: &Principal, now: Now<'_>) -> Result<Step, Refusal> {
    let first = Record { v: RECORD_VERSION, at: now.at, body: created };
    let state = State::first(&first).ok_or_else(|| Refusal::invalid("a session begins with its creation"))?;
    let mut stepper = Stepper::new(state, now);
    stepper.records.push(first);
    if !events.is_empty() {
        stepper.send(events, principal)?;
    }
    let effects = effect::outstanding(&stepper.state);
    Ok(Step { records: stepper.records, state: stepper.state, effects, echo: stepper.echo })
}

struct Stepper<'a> {
    state: State,
    records: Vec<Record>,
    echo: Vec<Event>,
    ids: IdSource,
    at: Timestamp,
    plan: &'a ModelPlan,
    shared_budget: SharedBudget,
    /// At most the tokens that system prompt and tools grew by in this step, which the plan does not know.
    grown_overhead: u64,
}

impl<'a> Stepper<'a> {
    fn new(state: State, now: Now<'a>) -> Self {
        let ids = IdSource::new(now.at.millis(), now.seed);
        Self {
            state,
            records: Vec::new(),
            echo: Vec::new(),
            ids,
            at: now.at,
            plan: now.plan,
            shared_budget: now.shared_budget,
            grown_overhead: 0,
        }
    }

    /// Writes a record and folds it in at once, so that what follows decides in the new state.
    fn emit(&mut self, body: RecordBody) {
        let record = Record { v: RECORD_VERSION, at: self.at, body };
        self.state.apply(&record);
        self.records.push(record);
    }

    fn event_id(&mut self) -> EventId {
        EventId::mint(&mut self.ids)
    }

    fn effect_id(&mut self) -> EffectId {
        EffectId::mint(&mut self.ids)
    }

    fn running_events(&mut self) -> RunningEvents {
        RunningEvents { session: self.event_id(), thread: self.event_id() }
    }

    fn idle_events(&mut self) -> IdleEvents {
        IdleEvents { thread: self.event_id(), usage: self.event_id(), session: self.event_id() }
    }

    fn usage(&self) -> SessionUsage {
        SessionUsage::new(&self.state.usage, self.state.web, self.state.cost, self.state.active_micros_at(self.at))
    }
}
