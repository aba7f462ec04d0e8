//! Events as clients see them, in lists and on streams.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::client::Confirmation;
use super::content::ContentBlock;
use crate::ids::{CredentialId, EventId, ThreadId, VaultId};
use crate::model::TokenUsage;
use crate::resources::budget::BudgetLimit;
use crate::resources::metadata::{Metadata, MetadataSchema};
use crate::resources::session::{SessionAgent, SessionUsage};
use crate::time::Timestamp;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its id, the same in lists, streams and answers.
    pub id: EventId,
    /// When it took effect; null while it waits.
    pub processed_at: Option<Timestamp>,
    /// What it says.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum EventBody {
    /// A user's message.
    #[serde(rename = "user.message")]
    UserMessage {
        /// What it says.
        content: Vec<ContentBlock>,
    },
    /// A user ended the turn.
    #[serde(rename = "user.interrupt")]
    UserInterrupt {},
    /// A user answered a call that waited.
    #[serde(rename = "user.tool_confirmation")]
    UserToolConfirmation {
        /// The call.
        tool_use_id: EventId,
        /// Whether it may run.
        result: Confirmation,
        /// Told to the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deny_message: Option<String>,
    },
    /// The result of a tool that the client ran.
    #[serde(rename = "user.custom_tool_result")]
    UserCustomToolResult {
        /// The call.
        custom_tool_use_id: EventId,
        /// What came back.
        content: Vec<ContentBlock>,
        /// Whether it failed.
        is_error: bool,
    },
    /// Instructions of the operator of the conversation.
    #[serde(rename = "system.message")]
    SystemMessage {
        /// What they say.
        content: Vec<ContentBlock>,
    },
    /// The agent says something.
    #[serde(rename = "agent.message")]
    AgentMessage {
        /// What it says.
        content: Vec<ContentBlock>,
    },
    /// The agent thought; what, is not shown.
    #[serde(rename = "agent.thinking")]
    AgentThinking {},
    /// The agent calls a built-in tool. The event's id is the id of the call.
    #[serde(rename = "agent.tool_use")]
    AgentToolUse {
        /// The arguments.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
        /// The tool.
        name: String,
        /// Whether it may run.
        evaluated_permission: EvaluatedPermission,
        /// Why; absent for tools that the agent does not have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evaluation: Option<Evaluation>,
    },
    /// What a built-in tool returned.
    #[serde(rename = "agent.tool_result")]
    AgentToolResult {
        /// The call.
        tool_use_id: EventId,
        /// What came back.
        #[schema(value_type = Vec<Object>)]
        content: Vec<Value>,
        /// Whether it failed.
        is_error: bool,
    },
    /// The agent calls a tool of an MCP server. The event's id is the id of the call.
    #[serde(rename = "agent.mcp_tool_use")]
    AgentMcpToolUse {
        /// The arguments.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
        /// The server.
        mcp_server_name: String,
        /// The tool.
        name: String,
        /// Whether it may run.
        evaluated_permission: EvaluatedPermission,
        /// Why.
        evaluation: Evaluation,
    },
    /// What a tool of an MCP server returned.
    #[serde(rename = "agent.mcp_tool_result")]
    AgentMcpToolResult {
        /// The call.
        mcp_tool_use_id: EventId,
        /// What came back.
        #[schema(value_type = Vec<Object>)]
        content: Vec<Value>,
        /// Whether it failed.
        is_error: bool,
    },
    /// The agent calls a tool of the client. The event's id is the id of the call.
    #[serde(rename = "agent.custom_tool_use")]
    AgentCustomToolUse {
        /// The arguments.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
        /// The tool.
        name: String,
    },
    /// A turn begins or goes on.
    #[serde(rename = "session.status_running")]
    SessionStatusRunning {},
    /// The session waits.
    #[serde(rename = "session.status_idle")]
    SessionStatusIdle {
        /// Details of a refusal.
        stop_details: Option<RefusalDetails>,
        /// For what it waits.
        stop_reason: StopReason,
    },
    /// Something failed and will be repeated.
    #[serde(rename = "session.status_rescheduled")]
    SessionStatusRescheduled {},
    /// The session is over.
    #[serde(rename = "session.status_terminated")]
    SessionStatusTerminated {},
    /// Something went wrong.
    #[serde(rename = "session.error")]
    SessionError {
        /// What.
        error: SessionError,
    },
    /// The session changed; only what changed is there.
    #[serde(rename = "session.updated")]
    SessionUpdated {
        /// The agent, whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<Box<SessionAgent>>,
        /// The metadata, whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<MetadataSchema>)]
        metadata: Option<Metadata>,
        /// The title.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::resources::patch::field")]
        #[schema(value_type = Option<String>)]
        title: Option<Option<String>>,
        /// The budget; null when it was removed.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::resources::patch::field")]
        #[schema(value_type = Option<BudgetLimit>)]
        budget: Option<Option<BudgetLimit>>,
    },
    /// What the session used so far; always directly before it goes idle.
    #[serde(rename = "session.usage")]
    SessionUsage {
        /// The totals.
        usage: SessionUsage,
        /// The budget, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<BudgetLimit>,
    },
    /// The session is deleted; only on streams.
    #[serde(rename = "session.deleted")]
    SessionDeleted {},
    /// A thread works.
    #[serde(rename = "session.thread_status_running")]
    ThreadStatusRunning {
        /// The agent's name.
        agent_name: String,
        /// The thread.
        session_thread_id: ThreadId,
    },
    /// A thread waits.
    #[serde(rename = "session.thread_status_idle")]
    ThreadStatusIdle {
        /// The agent's name.
        agent_name: String,
        /// The thread.
        session_thread_id: ThreadId,
        /// Details of a refusal.
        stop_details: Option<RefusalDetails>,
        /// For what it waits.
        stop_reason: StopReason,
    },
    /// A thread waits to repeat what failed.
    #[serde(rename = "session.thread_status_rescheduled")]
    ThreadStatusRescheduled {
        /// The agent's name.
        agent_name: String,
        /// The thread.
        session_thread_id: ThreadId,
    },
    /// A thread is over.
    #[serde(rename = "session.thread_status_terminated")]
    ThreadStatusTerminated {
        /// The agent's name.
        agent_name: String,
        /// The thread.
        session_thread_id: ThreadId,
    },
    /// A model is asked.
    #[serde(rename = "span.model_request_start")]
    ModelRequestStart {},
    /// A model answered, failed or was interrupted.
    #[serde(rename = "span.model_request_end")]
    ModelRequestEnd {
        /// Whether it failed or was interrupted.
        is_error: bool,
        /// The start.
        model_request_start_id: EventId,
        /// What it used.
        model_usage: SpanUsage,
    },
}

/// What one model request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpanUsage {
    /// Input written to a cache.
    pub cache_creation_input_tokens: u64,
    /// Input read from a cache.
    pub cache_read_input_tokens: u64,
    /// Uncached input.
    pub input_tokens: u64,
    /// Output.
    pub output_tokens: u64,
}

impl From<&TokenUsage> for SpanUsage {
    fn from(usage: &TokenUsage) -> Self {
        Self {
            cache_creation_input_tokens: usage.cache_creation_input_tokens,
            cache_read_input_tokens: usage.cache_read_input_tokens,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
        }
    }
}

/// Whether a call may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluatedPermission {
    /// It runs.
    Allow,
    /// It waits for a person.
    Ask,
    /// It does not run.
    Deny,
}

/// Why a call may run, waits, or may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Evaluation {
    /// Its policy allows it.
    AlwaysAllow {},
    /// Its policy asks.
    AlwaysAsk {},
    /// Its policy is `auto`.
    Auto {
        /// What `auto` came to.
        evaluated_permission: AutoPermission,
    },
}

/// What the policy `auto` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AutoPermission {
    /// The tool is declared read-only.
    Allow {},
    /// It is not.
    Ask {
        /// Why a person has to look.
        reason_code: AutoReason,
    },
}

/// Why the policy `auto` did not allow a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoReason {
    /// The tool is not declared read-only, and no text is judged.
    Indeterminate,
}

/// For what an idle session waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// For the next input.
    EndTurn {},
    /// For answers to these calls.
    RequiresAction {
        /// The calls' events.
        event_ids: Vec<EventId>,
    },
    /// For the next input; this turn was given up.
    RetriesExhausted {},
    /// For the next input; the model declined.
    Refusal {},
    /// For a higher budget; the turn goes on by itself then.
    BudgetReached {},
}

/// Details of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalDetails {
    /// Always `refusal`.
    #[serde(rename = "type")]
    pub kind: RefusalDetailsKind,
    /// The provider's category.
    pub category: Option<String>,
    /// The provider's words.
    pub explanation: Option<String>,
}

/// The kind of stop details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalDetailsKind {
    /// The only one.
    Refusal,
}

/// What went wrong in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SessionError {
    /// Something without a name of its own.
    UnknownError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// The provider has no capacity.
    ModelOverloadedError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// Too many requests.
    ModelRateLimitedError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// The provider failed or refused.
    ModelRequestFailedError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// An MCP server cannot be reached.
    McpConnectionFailedError {
        /// Which.
        mcp_server_name: String,
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// The environment allows none of the hosts that a credential is for.
    CredentialHostUnreachableError {
        /// Which.
        credential_id: CredentialId,
        /// Where it is.
        vault_id: VaultId,
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// An MCP server does not take the credential, or wants one.
    McpAuthenticationFailedError {
        /// Which.
        mcp_server_name: String,
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// The provider wants money.
    BillingError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
    /// The turn took too many steps.
    ToolUseLimitReachedError {
        /// For people.
        message: String,
        /// What happens next.
        retry_status: RetryStatus,
    },
}

/// What happens after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStatus {
    /// It is tried again.
    Retrying {},
    /// The turn is given up.
    Exhausted {},
}

impl EventBody {
    /// The name on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UserMessage { .. } => "user.message",
            Self::UserInterrupt {} => "user.interrupt",
            Self::UserToolConfirmation { .. } => "user.tool_confirmation",
            Self::UserCustomToolResult { .. } => "user.custom_tool_result",
            Self::SystemMessage { .. } => "system.message",
            Self::AgentMessage { .. } => "agent.message",
            Self::AgentThinking {} => "agent.thinking",
            Self::AgentToolUse { .. } => "agent.tool_use",
            Self::AgentToolResult { .. } => "agent.tool_result",
            Self::AgentMcpToolUse { .. } => "agent.mcp_tool_use",
            Self::AgentMcpToolResult { .. } => "agent.mcp_tool_result",
            Self::AgentCustomToolUse { .. } => "agent.custom_tool_use",
            Self::SessionStatusRunning {} => "session.status_running",
            Self::SessionStatusIdle { .. } => "session.status_idle",
            Self::SessionStatusRescheduled {} => "session.status_rescheduled",
            Self::SessionStatusTerminated {} => "session.status_terminated",
            Self::SessionError { .. } => "session.error",
            Self::SessionUpdated { .. } => "session.updated",
            Self::SessionUsage { .. } => "session.usage",
            Self::SessionDeleted {} => "session.deleted",
            Self::ThreadStatusRunning { .. } => "session.thread_status_running",
            Self::ThreadStatusIdle { .. } => "session.thread_status_idle",
            Self::ThreadStatusRescheduled { .. } => "session.thread_status_rescheduled",
            Self::ThreadStatusTerminated { .. } => "session.thread_status_terminated",
            Self::ModelRequestStart {} => "span.model_request_start",
            Self::ModelRequestEnd { .. } => "span.model_request_end",
        }
    }
}

/// The names that a list of events can be filtered by.
pub const LISTABLE_KINDS: [&str; 41] = [
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "user.tool_result",
    "user.define_outcome",
    "system.message",
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "agent.custom_tool_use",
    "agent.thread_context_compacted",
    "agent.thread_message_received",
    "agent.thread_message_sent",
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.error",
    "session.updated",
    "session.usage",
    "session.thread_created",
    "session.thread_status_running",
    "session.thread_status_idle",
    "session.thread_status_rescheduled",
    "session.thread_status_terminated",
    "span.model_request_start",
    "span.model_request_end",
    "span.outcome_evaluation_start",
    "span.outcome_evaluation_ongoing",
    "span.outcome_evaluation_end",
    "workflow_run.created",
    "workflow_run.status_running",
    "workflow_run.status_idle",
    "workflow_run.status_ended",
    "workflow_run.phase_started",
    "workflow_run.phase_ended",
    "workflow_run.error",
];
