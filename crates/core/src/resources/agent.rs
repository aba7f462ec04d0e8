//! Agents: a definition of model, prompt and tools, in immutable versions.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::metadata::{self, EmptyValue, Metadata, MetadataPatch, MetadataPatchSchema, MetadataSchema};
use super::patch;
use super::tools::{self, Tool, ToolParams};
use crate::error::{Refusal, check_chars, check_count};
use crate::limits;
use crate::model::EffortLevel;

/// A model as a client names it: its id, or an object.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a model is its id, or an object with `id` and perhaps `effort`, `inference_geo`, `speed`")]
pub enum ModelParams {
    /// The id alone.
    Id(String),
    /// The id with settings.
    Config(ModelConfigParams),
}

/// A model with settings, as sent.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ModelConfigParams {
    /// The model id.
    pub id: String,
    /// How hard it should think.
    #[serde(default)]
    pub effort: Option<EffortParams>,
    /// Where it should run; kept, not interpreted.
    #[serde(default)]
    pub inference_geo: Option<String>,
    /// Kept, not interpreted.
    #[serde(default)]
    pub speed: Option<Speed>,
}

/// An effort as sent: its name or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "an effort is low, medium, high, xhigh or max, or an object with one of them as `type`")]
pub enum EffortParams {
    /// The name alone.
    Level(EffortLevel),
    /// `{"type": name}`.
    Object(Effort),
}

/// An effort as answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Effort {
    /// Its name.
    #[serde(rename = "type")]
    pub level: EffortLevel,
}

/// A provider's speed class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// The usual.
    Standard,
    /// Faster, dearer.
    Fast,
}

/// A model with settings, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelConfig {
    /// The model id.
    pub id: String,
    /// How hard it should think; absent where the client never said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Where it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference_geo: Option<String>,
    /// The speed class.
    #[serde(default = "standard")]
    pub speed: Speed,
}

fn standard() -> Speed {
    Speed::Standard
}

/// Resolves a model; `before` lends its effort when the id stays and none is given.
pub fn resolve_model(params: ModelParams, before: Option<&ModelConfig>) -> Result<ModelConfig, Refusal> {
    let params = match params {
        ModelParams::Id(id) => ModelConfigParams { id, effort: None, inference_geo: None, speed: None },
        ModelParams::Config(config) => config,
    };
    if params.id.trim().is_empty() {
        return Err(Refusal::invalid("model: the id is empty"));
    }
    check_chars("model: id", &params.id, limits::MODEL_ID_CHARS)?;
    let given = params.effort.map(|effort| match effort {
        EffortParams::Level(level) => Effort { level },
        EffortParams::Object(effort) => effort,
    });
    let kept = before.filter(|before| before.id == params.id).and_then(|before| before.effort);
    Ok(ModelConfig {
        effort: given.or(kept),
        id: params.id,
        inference_geo: params.inference_geo,
        speed: params.speed.unwrap_or(Speed::Standard),
    })
}

/// An MCP server of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct McpServer {
    /// The name that a toolset refers to.
    pub name: String,
    /// Always `url`.
    #[serde(rename = "type")]
    pub kind: McpServerKind,
    /// Where it is.
    pub url: String,
}

/// The kinds of MCP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum McpServerKind {
    /// Reached over streamable HTTP.
    Url,
}

/// As whom the agent acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecutionIdentity {
    /// As the workspace's service account.
    ServiceAccount {},
}

/// `POST /v1/agents`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct AgentCreateParams {
    /// The model.
    pub model: ModelParams,
    /// A name for people.
    pub name: String,
    /// A description for people.
    #[serde(default)]
    pub description: Option<String>,
    /// As whom it acts; only the default is supported.
    #[serde(default)]
    #[schema(value_type = Option<ExecutionIdentity>)]
    pub execution_identity: Option<Value>,
    /// MCP servers.
    #[serde(default)]
    pub mcp_servers: Option<Vec<McpServer>>,
    /// Key-value pairs.
    #[serde(default)]
    #[schema(value_type = Option<MetadataSchema>)]
    pub metadata: Option<Metadata>,
    /// Not built yet; must be null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub multiagent: Option<Value>,
    /// Not built yet; must be empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub skills: Option<Vec<Value>>,
    /// The system prompt.
    #[serde(default)]
    pub system: Option<String>,
    /// The tools.
    #[serde(default)]
    pub tools: Option<Vec<ToolParams>>,
}

/// `POST /v1/agents/{id}`: absent fields stay.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct AgentUpdateParams {
    /// Replaces the model.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<ModelParams>)]
    pub model: Option<Option<ModelParams>>,
    /// Replaces the name.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Option<String>>,
    /// Replaces the description; null or empty clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    /// Only the default is supported.
    #[serde(default)]
    #[schema(value_type = Option<ExecutionIdentity>)]
    pub execution_identity: Option<Value>,
    /// Replaces the servers; null clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<McpServer>>)]
    pub mcp_servers: Option<Option<Vec<McpServer>>>,
    /// Merged by key; null deletes a key.
    #[serde(default)]
    #[schema(value_type = Option<MetadataPatchSchema>)]
    pub metadata: Option<MetadataPatch>,
    /// Not built yet; must be null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub multiagent: Option<Value>,
    /// Not built yet; must be empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pub skills: Option<Vec<Value>>,
    /// Replaces the system prompt; null or empty clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<String>)]
    pub system: Option<Option<String>>,
    /// Replaces the tools; null clears.
    #[serde(default, deserialize_with = "patch::field")]
    #[schema(value_type = Option<Vec<ToolParams>>)]
    pub tools: Option<Option<Vec<ToolParams>>>,
    /// The version that the caller read; a mismatch is refused.
    #[serde(default)]
    pub version: Option<u64>,
}

/// What an agent is, without its identity: the content of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentBody {
    /// A description for people.
    pub description: Option<String>,
    /// As whom it acts.
    pub execution_identity: ExecutionIdentity,
    /// MCP servers.
    pub mcp_servers: Vec<McpServer>,
    /// Key-value pairs.
    #[schema(value_type = MetadataSchema)]
    pub metadata: Metadata,
    /// The model.
    pub model: ModelConfig,
    /// Always null until several agents can work together.
    #[schema(value_type = Option<Object>)]
    pub multiagent: Option<Value>,
    /// A name for people.
    pub name: String,
    /// Always empty until skills are built.
    #[schema(value_type = Vec<Object>)]
    pub skills: Vec<Value>,
    /// The system prompt.
    pub system: Option<String>,
    /// The tools.
    pub tools: Vec<Tool>,
}

impl AgentBody {
    /// A new agent from what a client sent.
    pub fn create(params: AgentCreateParams) -> Result<Self, Refusal> {
        check_unbuilt(params.multiagent.as_ref(), params.skills.as_deref(), params.execution_identity.as_ref())?;
        let mcp_servers = params.mcp_servers.unwrap_or_default();
        let servers = check_servers(&mcp_servers)?;
        let body = Self {
            tools: tools::resolve(params.tools.unwrap_or_default(), &servers)?,
            description: cleared(params.description),
            execution_identity: ExecutionIdentity::ServiceAccount {},
            metadata: params.metadata.unwrap_or_default(),
            model: resolve_model(params.model, None)?,
            multiagent: None,
            name: params.name,
            skills: Vec::new(),
            system: cleared(params.system),
            mcp_servers,
        };
        body.check()?;
        Ok(body)
    }

    /// This agent after an update; equal to it when nothing changes.
    pub fn updated(&self, params: AgentUpdateParams) -> Result<Self, Refusal> {
        check_unbuilt(params.multiagent.as_ref(), params.skills.as_deref(), params.execution_identity.as_ref())?;
        let mut next = self.clone();
        if let Some(model) = params.model {
            let model = model.ok_or_else(|| Refusal::invalid("model: cannot be cleared"))?;
            next.model = resolve_model(model, Some(&self.model))?;
        }
        if let Some(name) = params.name {
            next.name = name.unwrap_or_default();
        }
        if let Some(description) = params.description {
            next.description = cleared(description);
        }
        if let Some(system) = params.system {
            next.system = cleared(system);
        }
        if let Some(patch) = params.metadata {
            next.metadata = metadata::patched(&self.metadata, patch, EmptyValue::Kept)?;
        }
        replace_tools(&mut next, params.mcp_servers, params.tools)?;
        next.check()?;
        Ok(next)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.name.trim().is_empty() {
            return Err(Refusal::invalid("name: must not be empty"));
        }
        check_chars("name", &self.name, limits::NAME_CHARS)?;
        check_chars("description", self.description.as_deref().unwrap_or_default(), limits::DESCRIPTION_CHARS)?;
        check_chars("system", self.system.as_deref().unwrap_or_default(), limits::SYSTEM_CHARS)?;
        metadata::check(&self.metadata)
    }
}

/// Replaces servers and tools together, because each must refer to the other.
pub(super) fn replace_tools(
    body: &mut AgentBody,
    servers: Option<Option<Vec<McpServer>>>,
    tools: Option<Option<Vec<ToolParams>>>,
) -> Result<(), Refusal> {
    if servers.is_none() && tools.is_none() {
        return Ok(());
    }
    if let Some(servers) = servers {
        body.mcp_servers = servers.unwrap_or_default();
    }
    let names = check_servers(&body.mcp_servers)?;
    let params = match tools {
        Some(tools) => tools.unwrap_or_default(),
        None => reread(&body.tools)?,
    };
    body.tools = tools::resolve(params, &names)?;
    Ok(())
}

/// Resolved tools are valid requests, too.
fn reread(tools: &[Tool]) -> Result<Vec<ToolParams>, Refusal> {
    let value = serde_json::to_value(tools).map_err(|error| Refusal::invalid(format!("tools: {error}")))?;
    serde_json::from_value(value).map_err(|error| Refusal::invalid(format!("tools: {error}")))
}

fn cleared(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn check_servers(servers: &[McpServer]) -> Result<Vec<&str>, Refusal> {
    check_count("mcp_servers", servers.len(), limits::MCP_SERVERS)?;
    let mut names: Vec<&str> = Vec::new();
    for server in servers {
        if server.name.is_empty() {
            return Err(Refusal::invalid("mcp_servers: a name is empty"));
        }
        check_chars("mcp_servers: name", &server.name, limits::MCP_SERVER_NAME_CHARS)?;
        check_chars("mcp_servers: url", &server.url, limits::URL_CHARS)?;
        if !(server.url.starts_with("https://") || server.url.starts_with("http://")) {
            return Err(Refusal::invalid(format!("mcp_servers: the url of {:?} must start with https:// or http://", server.name)));
        }
        if names.contains(&server.name.as_str()) {
            return Err(Refusal::invalid(format!("mcp_servers: two servers are named {:?}", server.name)));
        }
        names.push(&server.name);
    }
    Ok(names)
}

fn check_unbuilt(multiagent: Option<&Value>, skills: Option<&[Value]>, identity: Option<&Value>) -> Result<(), Refusal> {
    if multiagent.is_some_and(|value| !value.is_null()) {
        return Err(Refusal::invalid("multiagent: not supported by this server yet; leave it out"));
    }
    if skills.is_some_and(|skills| !skills.is_empty()) {
        return Err(Refusal::invalid("skills: not supported by this server yet; leave them out"));
    }
    match identity {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.get("type").and_then(Value::as_str) == Some("service_account") => Ok(()),
        Some(_) => Err(Refusal::invalid("execution_identity: only {\"type\": \"service_account\"} is supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn create(value: Value) -> Result<AgentBody, String> {
        let params = serde_json::from_value(value).map_err(|error| error.to_string())?;
        AgentBody::create(params).map_err(|refusal| refusal.message)
    }

    fn update(body: &AgentBody, value: Value) -> Result<AgentBody, String> {
        let params = serde_json::from_value(value).map_err(|error| error.to_string())?;
        body.updated(params).map_err(|refusal| refusal.message)
    }

    #[test]
    fn a_minimal_agent_has_every_field() {
        let body = create(json!({"name": "n", "model": "m"})).unwrap();
        assert_eq!(
            serde_json::to_value(&body).unwrap(),
            json!({"name": "n", "model": {"id": "m", "speed": "standard"}, "description": null, "system": null, "tools": [], "skills": [],
                   "mcp_servers": [], "metadata": {}, "multiagent": null, "execution_identity": {"type": "service_account"}})
        );
    }

    #[test]
    fn effort_is_normalised_and_kept_while_the_model_stays() {
        let body = create(json!({"name": "n", "model": {"id": "m", "effort": "high"}})).unwrap();
        assert_eq!(serde_json::to_value(&body.model).unwrap()["effort"], json!({"type": "high"}));
        let same = update(&body, json!({"model": {"id": "m", "effort": null, "speed": "fast"}})).unwrap();
        assert_eq!(same.model.effort, body.model.effort);
        assert_eq!(update(&body, json!({"model": "other"})).unwrap().model.effort, None);
    }

    #[test]
    fn null_clears_what_can_be_cleared() {
        let body = create(json!({"name": "n", "model": "m", "system": "s", "description": "d", "metadata": {"a": "1"},
            "tools": [{"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}]}))
        .unwrap();
        let next = update(&body, json!({"system": null, "description": "", "tools": null, "metadata": {"a": null, "b": "2"}})).unwrap();
        assert!(next.system.is_none() && next.description.is_none() && next.tools.is_empty());
        assert_eq!(next.metadata, Metadata::from([("b".into(), "2".into())]));
        assert!(update(&body, json!({"name": ""})).is_err());
        assert!(update(&body, json!({"name": null})).is_err());
        assert!(update(&body, json!({"model": null})).is_err());
        assert_eq!(update(&body, json!({})).unwrap(), body);
    }

    #[test]
    fn sending_back_the_answer_changes_nothing() {
        let body = create(json!({"name": "n", "model": "m", "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "web_fetch", "enabled": false}]}]})).unwrap();
        let answer = serde_json::to_value(&body).unwrap();
        assert_eq!(update(&body, answer).unwrap(), body);
    }

    #[test]
    fn what_is_not_built_is_refused_clearly() {
        for extra in [
            json!({"skills": [{"type": "custom", "skill_id": "x"}]}),
            json!({"multiagent": {"type": "coordinator", "agents": []}}),
            json!({"execution_identity": {"type": "aws_role", "role_arn": "x"}}),
        ] {
            let mut value = json!({"name": "n", "model": "m"});
            value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            assert!(create(value).unwrap_err().contains("supported"));
        }
    }
}
