//! Records: what a session's journal is made of. A record states what happened and carries all
//! that its events and its model context need, so that both follow from the record alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::CallOutcome;
use crate::cost::Cost;
use crate::egress::Question;
use crate::events::client::Confirmation;
use crate::events::content::ContentBlock;
use crate::events::wire::{EvaluatedPermission, Evaluation, RefusalDetails, SessionError, StopReason};
use crate::ids::{ConfirmationId, EffectId, EventId, IncarnationId, ThreadId, VaultId};
use crate::model::{ModelError, ModelStop, ResponseBlock, TokenUsage};
use crate::resources::budget::BudgetLimit;
use crate::resources::confirmation::Remember;
use crate::resources::metadata::Metadata;
use crate::resources::session::{SessionAgent, SessionChange, SessionUsage};
use crate::scope::Principal;
use crate::session::fault::CredentialFault;
use crate::session::mcp::McpTool;
use crate::session::plan::TargetName;
use crate::time::Timestamp;

/// The version written into every record. Readers take older ones.
pub const RECORD_VERSION: u32 = 1;

/// One entry of a session's journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format's version.
    pub v: u32,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: RecordBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecordBody {
    /// The session exists.
    Created {
        /// Its only thread.
        thread: ThreadId,
        /// Its copy of the agent.
        agent: Arc<SessionAgent>,
        /// Its title.
        title: Option<String>,
        /// Its key-value pairs.
        metadata: Metadata,
        /// The most that it may cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetLimit>,
        /// Whose credentials it may use, the first first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        vaults: Vec<VaultId>,
    },
    /// Inputs were accepted while a turn ran; they wait.
    InputsQueued {
        /// The inputs.
        inputs: Vec<QueuedInput>,
    },
    /// A turn begins with these inputs.
    TurnStarted {
        /// The inputs; queued ones leave the queue.
        inputs: Vec<QueuedInput>,
        /// Ids of the events of the session's and the thread's status.
        running: RunningEvents,
    },
    /// Inputs enter the conversation without starting a turn, because the turn that they waited
    /// for was given up.
    InputsFlushed {
        /// The inputs; they leave the queue.
        inputs: Vec<QueuedInput>,
    },
    /// Instructions came with a tool's result.
    Instructed {
        /// The event.
        event: EventId,
        /// What they say.
        content: Vec<ContentBlock>,
    },
    /// The turn goes on after a pause.
    Resumed {
        /// Ids of the events of the session's and the thread's status.
        running: RunningEvents,
    },
    /// Something is wrong that does not end the turn.
    Faulted {
        /// The event.
        event: EventId,
        /// What.
        error: SessionError,
    },
    /// A credential cannot be used; told once for each.
    CredentialFaulted {
        /// The event.
        event: EventId,
        /// What is wrong with which.
        fault: CredentialFault,
    },
    /// A model is about to be asked.
    RequestStarted {
        /// Under which the answer comes back.
        effect: EffectId,
        /// The event.
        span: EventId,
        /// From 1; counts tries of the same step.
        attempt: u32,
        /// Whom it asks, and for how much.
        #[serde(default)]
        ask: Ask,
    },
    /// The model answered.
    RequestAnswered {
        /// The request.
        effect: EffectId,
        /// The request's event.
        span: EventId,
        /// This event.
        span_end: EventId,
        /// The answer's blocks.
        blocks: Vec<ResponseBlock>,
        /// The calls among them, in order.
        calls: Vec<NewCall>,
        /// Why the model stopped.
        stop: ModelStop,
        /// What it used.
        usage: TokenUsage,
        /// The model that answered.
        model: String,
        /// What is charged for it; none when the model has no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Cost>,
    },
    /// The request failed or was given up.
    RequestFailed {
        /// The request.
        effect: EffectId,
        /// The request's event.
        span: EventId,
        /// This event.
        span_end: EventId,
        /// Why.
        error: ModelError,
        /// What is charged for it; none when the model has no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<Cost>,
    },
    /// The same step is tried again later.
    RetryScheduled {
        /// Under which the time comes back.
        timer: EffectId,
        /// The attempt that failed.
        attempt: u32,
        /// How long to wait, in milliseconds.
        delay_ms: u64,
        /// Who is asked then.
        #[serde(default)]
        next: Try,
        /// Present when clients are told: the session counts as rescheduling.
        rescheduled: Option<RescheduledEvents>,
    },
    /// A sandbox lives.
    SandboxStarted {
        /// This life.
        incarnation: IncarnationId,
    },
    /// The sandbox's life is over.
    SandboxLost {
        /// That life.
        incarnation: IncarnationId,
    },
    /// A call is given to the next sandbox, because the last one never received it or its tool
    /// only reads.
    CallRetried {
        /// The call.
        call: EventId,
    },
    /// A call has its result.
    CallSettled {
        /// The call.
        call: EventId,
        /// The event; none for tools of the client.
        event: Option<EventId>,
        /// Whether an MCP server ran it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        mcp: bool,
        /// The result.
        outcome: CallOutcome,
    },
    /// The client gave the result of its tool.
    CustomResult {
        /// The event.
        event: EventId,
        /// The call.
        call: EventId,
        /// What came back.
        content: Vec<ContentBlock>,
        /// Whether it failed.
        is_error: bool,
        /// Who said so.
        principal: Principal,
    },
    /// A person answered a call.
    Confirmed {
        /// The event.
        event: EventId,
        /// The call.
        call: EventId,
        /// SHA-256 of the canonical input that was confirmed.
        input_sha256: String,
        /// The answer.
        result: Confirmation,
        /// Told to the model.
        deny_message: Option<String>,
        /// Who said so.
        principal: Principal,
    },
    /// The sandbox sent a request about which a person is asked.
    NetworkAsked {
        /// The question's id.
        confirmation: ConfirmationId,
        /// The question.
        question: Question,
    },
    /// A person answered it.
    NetworkAnswered {
        /// The question.
        confirmation: ConfirmationId,
        /// The answer.
        result: Confirmation,
        /// For how long it counts.
        remember: Remember,
        /// Who said so.
        principal: Principal,
    },
    /// An answer that counts once is given to a request.
    NetworkUsed {
        /// The question.
        confirmation: ConfirmationId,
    },
    /// Somebody wants the turn to end.
    InterruptRequested {
        /// The event it will be.
        event: EventId,
        /// Who.
        principal: Principal,
    },
    /// The interrupt took effect.
    Interrupted {
        /// The event.
        event: EventId,
    },
    /// The session waits: the turn is over, or pauses for answers.
    Idled {
        /// Ids of its events.
        events: IdleEvents,
        /// An error to be told first.
        error: Option<(EventId, SessionError)>,
        /// For what it waits.
        stop: StopReason,
        /// Details of a refusal.
        details: Option<RefusalDetails>,
        /// The totals.
        usage: SessionUsage,
        /// The budget, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetLimit>,
    },
    /// Title, metadata, agent or budget changed.
    Updated {
        /// The event.
        event: EventId,
        /// What changed.
        change: SessionChange,
    },
    /// The session is over.
    Archived {
        /// The thread's event.
        thread: EventId,
        /// The session's event.
        session: EventId,
    },
    /// The session died too often; it is left alone until somebody asks for a retry.
    SetAside {
        /// The error's event.
        event: EventId,
        /// What is told.
        error: SessionError,
        /// Ids of the events that say that it waits.
        events: IdleEvents,
        /// The totals.
        usage: SessionUsage,
        /// The budget, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetLimit>,
    },
    /// Somebody asked for a retry.
    Retried {
        /// Who.
        principal: Principal,
        /// Ids of the events of the session's and the thread's status.
        running: RunningEvents,
    },
    /// An MCP server listed its tools.
    McpListed {
        /// The server, as the agent calls it.
        server: String,
        /// Its tools; none when they are as they were.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<Arc<Vec<McpTool>>>,
    },
    /// An MCP server cannot be used in this turn.
    McpUnavailable {
        /// The server, as the agent calls it.
        server: String,
        /// The event.
        event: EventId,
        /// Why.
        error: SessionError,
    },
    /// A kind that this version does not know; it changes nothing.
    #[serde(other)]
    Unknown,
}

/// Which of the models that may answer is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Its place in the plan, from 0.
    pub target: u32,
    /// Tries at this target, from 1.
    pub here: u32,
    /// Whether a failure of this round may pass by itself, so that another round makes sense.
    pub hopeful: bool,
}

impl Default for Try {
    fn default() -> Self {
        Self::FIRST
    }
}

impl Try {
    /// The first try of a round.
    pub const FIRST: Self = Self { target: 0, here: 1, hopeful: false };
}

/// Whom a request asks, and what is set aside for it. Requests of before there was a choice have none
/// of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ask {
    /// Which try this is.
    #[serde(rename = "try")]
    pub attempt: Try,
    /// Who is asked.
    pub at: TargetName,
    /// The most tokens of the answer.
    pub max_tokens: u32,
    /// What it can cost at most at the dearest model of the plan; none when one has no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Cost>,
}

/// An input that waits for its turn, or starts one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueuedInput {
    /// The event.
    pub event: EventId,
    /// Whether it is a user's message or instructions that go with the one before.
    pub role: InputRole,
    /// What it says.
    pub content: Vec<ContentBlock>,
    /// Who said so.
    pub principal: Principal,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputRole {
    /// A user's message.
    User,
    /// Instructions that go with the message before.
    System,
}

/// Ids of the events that say that a session runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningEvents {
    /// Of the session.
    pub session: EventId,
    /// Of the thread.
    pub thread: EventId,
}

/// Ids of the events that say that a session waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdleEvents {
    /// Of the thread.
    pub thread: EventId,
    /// Of the totals.
    pub usage: EventId,
    /// Of the session.
    pub session: EventId,
}

/// Ids of the events that say that a session will try again, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RescheduledEvents {
    /// Of the error.
    pub error_event: EventId,
    /// The error.
    pub error: SessionError,
    /// Of the thread.
    pub thread: EventId,
    /// Of the session.
    pub session: EventId,
}

/// A call as the model made it and as it was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewCall {
    /// The event, and the call's id.
    pub event: EventId,
    /// The provider's id.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The arguments.
    pub input: Map<String, Value>,
    /// Who runs it.
    pub target: CallTarget,
}

/// Who runs a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CallTarget {
    /// The sandbox.
    Builtin {
        /// Whether the tool only reads.
        read_only: bool,
        /// Whether it may run.
        permission: EvaluatedPermission,
        /// Why; absent for tools that the agent does not have.
        evaluation: Option<Evaluation>,
    },
    /// An MCP server.
    Mcp {
        /// The server, as the agent calls it.
        server: String,
        /// The tool, as the server calls it.
        tool: String,
        /// Whether it may run.
        permission: EvaluatedPermission,
        /// Why.
        evaluation: Evaluation,
    },
    /// The client.
    Custom,
}

impl RecordBody {
    /// The name under which the store keeps it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::InputsQueued { .. } => "inputs_queued",
            Self::TurnStarted { .. } => "turn_started",
            Self::InputsFlushed { .. } => "inputs_flushed",
            Self::Instructed { .. } => "instructed",
            Self::Resumed { .. } => "resumed",
            Self::Faulted { .. } => "faulted",
            Self::CredentialFaulted { .. } => "credential_faulted",
            Self::RequestStarted { .. } => "request_started",
            Self::RequestAnswered { .. } => "request_answered",
            Self::RequestFailed { .. } => "request_failed",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::SandboxStarted { .. } => "sandbox_started",
            Self::SandboxLost { .. } => "sandbox_lost",
            Self::CallRetried { .. } => "call_retried",
            Self::CallSettled { .. } => "call_settled",
            Self::CustomResult { .. } => "custom_result",
            Self::Confirmed { .. } => "confirmed",
            Self::NetworkAsked { .. } => "network_asked",
            Self::NetworkAnswered { .. } => "network_answered",
            Self::NetworkUsed { .. } => "network_used",
            Self::InterruptRequested { .. } => "interrupt_requested",
            Self::Interrupted { .. } => "interrupted",
            Self::Idled { .. } => "idled",
            Self::Updated { .. } => "updated",
            Self::Archived { .. } => "archived",
            Self::SetAside { .. } => "set_aside",
            Self::Retried { .. } => "retried",
            Self::McpListed { .. } => "mcp_listed",
            Self::McpUnavailable { .. } => "mcp_unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether work got done: a death after it is not a death in a row.
    pub fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::RequestAnswered { .. }
                | Self::CallSettled { .. }
                | Self::CustomResult { .. }
                | Self::Idled { .. }
                | Self::Archived { .. }
                | Self::Retried { .. }
                | Self::TurnStarted { .. }
        )
    }
}
