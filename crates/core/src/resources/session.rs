//! Sessions as resources: what creates one, what changes one, what a client reads of one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::agent::{AgentBody, ExecutionIdentity, McpServer, ModelConfig, ModelParams, replace_tools, resolve_model};
use super::budget::{BudgetLimit, MonetaryAmount};
use super::metadata::{self, EmptyValue, Metadata, MetadataPatch, MetadataPatchSchema, MetadataSchema};
use super::patch;
use super::tools::{Tool, ToolParams};
use super::web::{WEB_FETCH, WEB_SEARCH};
use crate::cost::Cost;
use crate::error::{Refusal, check_chars, check_count};
use crate::ids::{AgentId, EnvironmentId, SessionId, VaultId};
use crate::limits;
use crate::model::TokenUsage;
use crate::time::Timestamp;

/// `POST /v1/sessions`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct SessionCreateParams {
    /// Which agent, in which version, with which overrides.
    pub agent: AgentRef,
    /// In which environment.
    pub environment_id: String,
    /// The most that it may cost; can only be given here.
    #[serde(default)]
    pub budget: Option<BudgetLimit>,
    /// Messages that start it at once.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub initial_events: Option<Vec<Value>>,
    /// Key-value pairs.
    #[serde(default)]
    #[schema(value_type = Option<MetadataSchema>)]
    pub metadata: Option<Metadata>,
    /// Not built yet; must be empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub resources: Option<Vec<Value>>,
    /// A title for people.
    #[serde(default)]
    pub title: Option<String>,
    /// Vaults whose credentials it may use; where several have one for the same thing, the first counts.
    #[serde(default)]
    pub vault_ids: Option<Vec<String>>,
}

/// An agent as a session names it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "an agent is its id, an object of type `agent` with `id` and perhaps `version`, or one of type \
        `agent_with_overrides` with `id` and what it replaces, each as in an agent"
)]
pub enum AgentRef {
    /// The latest version of this agent.
    Id(String),
    /// A version, perhaps with overrides.
    Object(Box<AgentRefObject>),
}

/// An agent as a session names it, with a version or overrides.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentRefObject {
    /// A version as it is.
    Agent {
        /// The agent's id.
        id: String,
        /// The latest when left out.
        #[serde(default)]
        version: Option<u64>,
    },
    /// A version with parts replaced for this session.
    AgentWithOverrides(AgentOverrides),
}

/// Parts of an agent replaced for one session: absent inherits, null clears, a value replaces.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct AgentOverrides {
    /// The agent's id.
    pub id: String,
    /// The latest when left out.
    #[serde(default)]
    pub version: Option<u64>,
    /// Replaces the model whole; cannot be null.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<ModelParams>)]
    pub model: Option<Option<ModelParams>>,
    /// Replaces the system prompt.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub system: Option<Option<String>>,
    /// Replaces the tools.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<ToolParams>>)]
    pub tools: Option<Option<Vec<ToolParams>>>,
    /// Replaces the MCP servers.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<McpServer>>)]
    pub mcp_servers: Option<Option<Vec<McpServer>>>,
    /// Not built yet; must be empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub skills: Option<Vec<Value>>,
}

impl AgentRef {
    /// The agent's id as sent and the version asked for.
    pub fn target(&self) -> (&str, Option<u64>) {
        match self {
            Self::Id(id) => (id, None),
            Self::Object(object) => match object.as_ref() {
                AgentRefObject::Agent { id, version } => (id, *version),
                AgentRefObject::AgentWithOverrides(overrides) => (&overrides.id, overrides.version),
            },
        }
    }

    /// The agent as this session will use it.
    pub fn snapshot(self, id: AgentId, version: u64, body: AgentBody) -> Result<SessionAgent, Refusal> {
        let body = match self {
            Self::Object(object) => match *object {
                AgentRefObject::AgentWithOverrides(overrides) => overridden(body, overrides)?,
                AgentRefObject::Agent { .. } => body,
            },
            Self::Id(_) => body,
        };
        Ok(SessionAgent::new(id, version, body))
    }
}

fn overridden(mut body: AgentBody, overrides: AgentOverrides) -> Result<AgentBody, Refusal> {
    if let Some(model) = overrides.model {
        let model = model.ok_or_else(|| {
            Refusal::invalid("agent.model: cannot be null; leave it out to inherit the agent's (agent_model_required)")
                .with_code("agent_model_required")
        })?;
        body.model = resolve_model(model, None)?;
    }
    if let Some(system) = overrides.system {
        check_chars("agent.system", system.as_deref().unwrap_or_default(), limits::SYSTEM_CHARS)?;
        body.system = system.filter(|text| !text.is_empty());
    }
    if overrides.skills.is_some_and(|skills| !skills.is_empty()) {
        return Err(Refusal::invalid("agent.skills: not supported by this server yet; leave them out"));
    }
    replace_tools(&mut body, overrides.mcp_servers, overrides.tools)?;
    Ok(body)
}

/// The agent of a session: a full copy, which later changes of the agent do not touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionAgent {
    /// The agent's id.
    pub id: AgentId,
    /// Always `agent`.
    #[serde(rename = "type")]
    pub kind: AgentKind,
    /// The version that was copied.
    pub version: u64,
    /// A name for people.
    pub name: String,
    /// A description for people.
    pub description: Option<String>,
    /// As whom it acts.
    pub execution_identity: ExecutionIdentity,
    /// MCP servers.
    pub mcp_servers: Vec<McpServer>,
    /// The model.
    pub model: ModelConfig,
    /// Always null until several agents can work together.
    #[schema(value_type = Option<Object>)]
    pub multiagent: Option<Value>,
    /// Always empty until skills are built.
    #[schema(value_type = Vec<Object>)]
    pub skills: Vec<Value>,
    /// The system prompt.
    pub system: Option<String>,
    /// The tools.
    pub tools: Vec<Tool>,
}

/// The kind of a session's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// The only one.
    Agent,
}

impl SessionAgent {
    /// Copies an agent version.
    pub fn new(id: AgentId, version: u64, body: AgentBody) -> Self {
        Self {
            id,
            kind: AgentKind::Agent,
            version,
            name: body.name,
            description: body.description,
            execution_identity: body.execution_identity,
            mcp_servers: body.mcp_servers,
            model: body.model,
            multiagent: None,
            skills: Vec::new(),
            system: body.system,
            tools: body.tools,
        }
    }

    fn with_tools(&self, servers: Option<Option<Vec<McpServer>>>, tools: Option<Option<Vec<ToolParams>>>) -> Result<Self, Refusal> {
        let mut body = AgentBody {
            description: None,
            execution_identity: ExecutionIdentity::ServiceAccount {},
            mcp_servers: self.mcp_servers.clone(),
            metadata: Metadata::new(),
            model: self.model.clone(),
            multiagent: None,
            name: self.name.clone(),
            skills: Vec::new(),
            system: None,
            tools: self.tools.clone(),
        };
        replace_tools(&mut body, servers, tools)?;
        Ok(Self { mcp_servers: body.mcp_servers, tools: body.tools, ..self.clone() })
    }
}

/// `POST /v1/sessions/{id}`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct SessionUpdateParams {
    /// Replaces tools and servers; only while idle.
    #[serde(default)]
    pub agent: Option<SessionAgentUpdateParams>,
    /// Replaces the budget, above what was spent; null removes it for good.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<BudgetLimit>)]
    pub budget: Option<Option<BudgetLimit>>,
    /// Merged by key; null deletes a key.
    #[serde(default)]
    #[schema(value_type = Option<MetadataPatchSchema>)]
    pub metadata: Option<MetadataPatch>,
    /// Replaces the title; null clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub title: Option<Option<String>>,
    /// Reserved: setting it is refused.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<String>>)]
    pub vault_ids: Option<Option<Value>>,
}

/// The parts of a session's agent that can be replaced.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct SessionAgentUpdateParams {
    /// Replaces the MCP servers.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<McpServer>>)]
    pub mcp_servers: Option<Option<Vec<McpServer>>>,
    /// Replaces the tools.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<ToolParams>>)]
    pub tools: Option<Option<Vec<ToolParams>>>,
}

/// What an update changes; empty when nothing does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionChange {
    /// The agent, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<SessionAgent>>,
    /// The metadata, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The title.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "patch::field")]
    pub title: Option<Option<String>>,
    /// The budget; none inside: there is none any more.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "patch::field")]
    pub budget: Option<Option<BudgetLimit>>,
}

impl SessionUpdateParams {
    /// Whether it touches the agent, which only an idle session allows.
    pub fn touches_agent(&self) -> bool {
        self.agent.is_some()
    }

    /// What it changes about a session as it is.
    pub fn change(self, now: &Changeable<'_>) -> Result<SessionChange, Refusal> {
        let Changeable { agent, title, metadata, .. } = *now;
        if self.vault_ids.is_some() {
            return Err(Refusal::invalid("vault_ids: cannot be changed after creation"));
        }
        let mut change = SessionChange::default();
        if let Some(next) = self.budget {
            change.budget = next_budget(next, now)?;
        }
        if let Some(next) = self.title {
            check_chars("title", next.as_deref().unwrap_or_default(), limits::TITLE_CHARS)?;
            if next.as_deref() != title {
                change.title = Some(next);
            }
        }
        if let Some(patch) = self.metadata {
            let next = metadata::patched(metadata, patch, EmptyValue::Kept)?;
            if &next != metadata {
                change.metadata = Some(next);
            }
        }
        if let Some(params) = self.agent {
            let next = agent.with_tools(params.mcp_servers, params.tools)?;
            if &next != agent {
                change.agent = Some(Box::new(next));
            }
        }
        Ok(change)
    }
}

/// What an update may change of a session, as it is.
#[derive(Debug, Clone, Copy)]
pub struct Changeable<'a> {
    /// The agent.
    pub agent: &'a SessionAgent,
    /// The title.
    pub title: Option<&'a str>,
    /// The metadata.
    pub metadata: &'a Metadata,
    /// The budget.
    pub budget: Option<&'a BudgetLimit>,
    /// What was charged so far.
    pub cost: Cost,
}

/// A budget can be moved, above what was spent, and removed; it cannot be added.
fn next_budget(next: Option<BudgetLimit>, now: &Changeable<'_>) -> Result<Option<Option<BudgetLimit>>, Refusal> {
    match (now.budget, next) {
        (None, None) => Ok(None),
        (Some(_), None) => Ok(Some(None)),
        (None, Some(_)) => Err(Refusal::invalid(
            "budget: can only be given when the session is created, and not again once it was removed (budget_create_only)",
        )
        .with_code("budget_create_only")),
        (Some(old), Some(next)) => {
            if next.cap("budget")? <= now.cost {
                return Err(Refusal::invalid(format!(
                    "budget.max_list_cost: must be above the {} US dollars that were consumed (budget_not_raised)",
                    now.cost.dollars()
                ))
                .with_code("budget_not_raised"));
            }
            Ok((&next != old).then_some(Some(next)))
        }
    }
}

/// Refuses what a new session names and this server does not have yet; checks the rest.
pub fn check_create(params: &SessionCreateParams) -> Result<(), Refusal> {
    let missing = |what: &str| Err(Refusal::not_found(format!("{what}: not supported by this server yet; leave it out")));
    check_count("vault_ids", params.vault_ids.as_ref().map_or(0, Vec::len), limits::VAULTS_PER_SESSION)?;
    if params.resources.as_ref().is_some_and(|resources| !resources.is_empty()) {
        return missing("resources");
    }
    if let Some(budget) = &params.budget {
        budget.cap("budget")?;
    }
    check_count("initial_events", params.initial_events.as_ref().map_or(0, Vec::len), limits::INITIAL_EVENTS)?;
    check_chars("title", params.title.as_deref().unwrap_or_default(), limits::TITLE_CHARS)?;
    if let Some(metadata) = &params.metadata {
        metadata::check(metadata)?;
    }
    Ok(())
}

/// The public status of a session or thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// Waits for input or for answers.
    Idle,
    /// Works.
    Running,
    /// Waits to repeat what failed.
    Rescheduling,
    /// Over.
    Terminated,
}

impl SessionStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }
}

/// A session as a client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its copy of the agent.
    pub agent: SessionAgent,
    /// When it was archived.
    pub archived_at: Option<Timestamp>,
    /// The most that it may cost.
    pub budget: Option<BudgetLimit>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Key-value pairs.
    #[schema(value_type = MetadataSchema)]
    pub metadata: Metadata,
    /// Always empty until outcomes are built.
    #[schema(value_type = Vec<Object>)]
    pub outcome_evaluations: Vec<Value>,
    /// Always empty until resources are built.
    #[schema(value_type = Vec<Object>)]
    pub resources: Vec<Value>,
    /// Times.
    pub stats: SessionStats,
    /// What it does.
    pub status: SessionStatus,
    /// A title for people.
    pub title: Option<String>,
    /// Always `session`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it used.
    pub usage: SessionUsage,
    /// Vaults whose credentials it may use, the first first.
    pub vault_ids: Vec<VaultId>,
}

/// How long a session ran and exists, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct SessionStats {
    /// Time not idle.
    pub active_seconds: f64,
    /// Time since creation, until termination.
    pub duration_seconds: f64,
}

/// What a session used so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionUsage {
    /// Time not idle, in seconds.
    pub active_seconds: f64,
    /// Input written to caches, by lifetime.
    pub cache_creation: CacheCreationUsage,
    /// Input read from caches.
    pub cache_read_input_tokens: u64,
    /// Uncached input.
    pub input_tokens: u64,
    /// Output.
    pub output_tokens: u64,
    /// What it cost at list prices, in whole cents rounded down; absent until a model with a price was
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_cost: Option<MonetaryAmount>,
    /// Calls of server tools.
    pub server_tool_use: ServerToolUsage,
}

/// Tokens written to caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheCreationUsage {
    /// Kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
    /// Kept for five minutes.
    pub ephemeral_5m_input_tokens: u64,
}

/// Calls of server tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ServerToolUsage {
    /// Pages fetched.
    pub web_fetch_requests: u64,
    /// Searches made.
    pub web_search_requests: u64,
}

impl ServerToolUsage {
    /// Whether there was none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// With one more call, if this tool is counted.
    #[must_use]
    pub fn with(self, tool: &str) -> Self {
        match tool {
            WEB_FETCH => Self { web_fetch_requests: self.web_fetch_requests + 1, ..self },
            WEB_SEARCH => Self { web_search_requests: self.web_search_requests + 1, ..self },
            _ => self,
        }
    }
}

impl SessionUsage {
    /// From token counts, calls of server tools, cost and active time.
    pub fn new(tokens: &TokenUsage, server_tool_use: ServerToolUsage, cost: Option<Cost>, active_micros: i64) -> Self {
        Self {
            active_seconds: seconds(active_micros),
            cache_creation: CacheCreationUsage {
                ephemeral_1h_input_tokens: tokens.cache_creation_1h_input_tokens,
                ephemeral_5m_input_tokens: tokens.cache_creation_input_tokens.saturating_sub(tokens.cache_creation_1h_input_tokens),
            },
            cache_read_input_tokens: tokens.cache_read_input_tokens,
            input_tokens: tokens.input_tokens,
            output_tokens: tokens.output_tokens,
            list_cost: cost.map(MonetaryAmount::from),
            server_tool_use,
        }
    }
}

/// Microseconds as seconds, to the millisecond.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of any session fit the mantissa")]
pub fn seconds(micros: i64) -> f64 {
    (micros / 1_000) as f64 / 1_000.0
}
