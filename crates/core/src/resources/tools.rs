//! The `tools` of an agent: what a client sends, and what it resolves to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{schema, web};
use crate::error::{Refusal, check_chars, check_count};
use crate::limits;

/// The tools of `agent_toolset_20260401`, in the order in which they are offered.
pub const BUILTIN_TOOLS: [&str; 8] = ["bash", "read", "write", "edit", "glob", "grep", "web_fetch", "web_search"];

/// Those of them that this server can run. `web_search` needs a search engine besides.
pub const AVAILABLE_TOOLS: [&str; 8] = BUILTIN_TOOLS;

/// Those of them for which a sandbox is started: `web_fetch` makes text of a page there.
pub const SANDBOX_TOOLS: [&str; 7] = ["bash", "read", "write", "edit", "glob", "grep", "web_fetch"];

/// Those of them that are declared read-only: they overlap, may be run again after a crash, and
/// are, but for `web_fetch`, what the policy `auto` allows.
pub const READ_ONLY_TOOLS: [&str; 5] = ["read", "glob", "grep", "web_fetch", "web_search"];

/// Whether a call may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PermissionPolicy {
    /// Runs at once.
    AlwaysAllow,
    /// Waits for a person.
    AlwaysAsk,
    /// Read-only tools run at once, the rest waits for a person.
    Auto,
}

/// One entry of a client's `tools`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum ToolParams {
    /// The built-in tools.
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset {
        /// Settings of single tools.
        #[serde(default)]
        configs: Option<Vec<ToolConfigParams>>,
        /// Settings of the others.
        #[serde(default)]
        default_config: Option<DefaultConfigParams>,
    },
    /// The tools of an MCP server.
    #[serde(rename = "mcp_toolset")]
    McpToolset {
        /// Which of the agent's servers.
        mcp_server_name: String,
        /// Settings of single tools.
        #[serde(default)]
        configs: Option<Vec<ToolConfigParams>>,
        /// Settings of the others.
        #[serde(default)]
        default_config: Option<DefaultConfigParams>,
    },
    /// A tool that the client runs.
    #[serde(rename = "custom")]
    Custom {
        /// The name the model calls.
        name: String,
        /// What it does, for the model.
        description: String,
        /// JSON Schema of the input.
        #[schema(value_type = Object)]
        input_schema: Value,
    },
}

/// Settings of one tool, as sent.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ToolConfigParams {
    /// Which tool.
    pub name: String,
    /// Whether it is offered.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Whether its calls may run.
    #[serde(default)]
    pub permission_policy: Option<PermissionPolicy>,
    /// Further settings of the web tools.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub extra: Map<String, Value>,
}

/// Settings of all tools that have none of their own, as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
pub struct DefaultConfigParams {
    /// Whether they are offered.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Whether their calls may run.
    #[serde(default)]
    pub permission_policy: Option<PermissionPolicy>,
}

/// One entry of an agent's `tools`, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum Tool {
    /// The built-in tools.
    #[serde(rename = "agent_toolset_20260401")]
    AgentToolset {
        /// Settings of single tools.
        configs: Vec<ToolConfig>,
        /// Settings of the others.
        default_config: DefaultConfig,
    },
    /// The tools of an MCP server.
    #[serde(rename = "mcp_toolset")]
    McpToolset {
        /// Settings of single tools.
        configs: Vec<ToolConfig>,
        /// Settings of the others.
        default_config: DefaultConfig,
        /// Which of the agent's servers.
        mcp_server_name: String,
    },
    /// A tool that the client runs.
    #[serde(rename = "custom")]
    Custom {
        /// What it does, for the model.
        description: String,
        /// JSON Schema of the input.
        #[schema(value_type = Object)]
        input_schema: Value,
        /// The name the model calls.
        name: String,
    },
}

/// Settings of one tool, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolConfig {
    /// Whether it is offered.
    pub enabled: bool,
    /// Which tool.
    pub name: String,
    /// Whether its calls may run.
    pub permission_policy: PermissionPolicy,
    /// The name again, for built-in tools.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Further settings of the web tools.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub extra: Map<String, Value>,
}

/// Settings of all tools that have none of their own, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefaultConfig {
    /// Whether they are offered.
    pub enabled: bool,
    /// Whether their calls may run.
    pub permission_policy: PermissionPolicy,
}

/// Resolves a client's `tools`: defaults filled in, limits checked. `servers` are the names of the
/// agent's MCP servers; each must be used by exactly one toolset, and each toolset must name one.
pub fn resolve(params: Vec<ToolParams>, servers: &[&str]) -> Result<Vec<Tool>, Refusal> {
    check_count("tools", params.len(), limits::TOOL_ENTRIES)?;
    let tools = params.into_iter().map(resolve_one).collect::<Result<Vec<_>, _>>()?;
    check_together(&tools, servers)?;
    web::check_together(&tools)?;
    Ok(tools)
}

fn resolve_one(params: ToolParams) -> Result<Tool, Refusal> {
    match params {
        ToolParams::AgentToolset { configs, default_config } => {
            let default_config = resolve_default(default_config, PermissionPolicy::AlwaysAllow);
            let configs = resolve_configs(configs, default_config, true)?;
            Ok(Tool::AgentToolset { configs, default_config })
        }
        ToolParams::McpToolset { mcp_server_name, configs, default_config } => {
            let default_config = resolve_default(default_config, PermissionPolicy::AlwaysAsk);
            let configs = resolve_configs(configs, default_config, false)?;
            Ok(Tool::McpToolset { configs, default_config, mcp_server_name })
        }
        ToolParams::Custom { name, description, input_schema } => {
            check_custom(&name, &description)?;
            schema::check(&name, &input_schema)?;
            Ok(Tool::Custom { description, input_schema, name })
        }
    }
}

fn resolve_default(params: Option<DefaultConfigParams>, policy: PermissionPolicy) -> DefaultConfig {
    let params = params.unwrap_or_default();
    DefaultConfig { enabled: params.enabled.unwrap_or(true), permission_policy: params.permission_policy.unwrap_or(policy) }
}

fn resolve_configs(params: Option<Vec<ToolConfigParams>>, default: DefaultConfig, builtin: bool) -> Result<Vec<ToolConfig>, Refusal> {
    let params = params.unwrap_or_default();
    check_count("tools: configs", params.len(), limits::TOOL_ENTRIES)?;
    let mut configs: Vec<ToolConfig> = Vec::with_capacity(params.len());
    for config in params {
        if configs.iter().any(|other| other.name == config.name) {
            return Err(Refusal::invalid(format!("tools: {:?} is configured twice", config.name)));
        }
        configs.push(resolve_config(config, default, builtin)?);
    }
    Ok(configs)
}

fn resolve_config(params: ToolConfigParams, default: DefaultConfig, builtin: bool) -> Result<ToolConfig, Refusal> {
    let ToolConfigParams { name, enabled, permission_policy, mut extra } = params;
    check_chars("tools: config name", &name, limits::CUSTOM_TOOL_NAME_CHARS)?;
    if let Some(kind) = extra.remove("type")
        && kind.as_str() != Some(name.as_str())
        && builtin
    {
        return Err(Refusal::invalid(format!("tools: the config of {name:?} has the type {kind}")));
    }
    if builtin && !BUILTIN_TOOLS.contains(&name.as_str()) {
        return Err(Refusal::invalid(format!("tools: agent_toolset_20260401 has no tool {name:?}; it has {}", BUILTIN_TOOLS.join(", "))));
    }
    let extra = if builtin { web::settings(&name, extra)? } else { Map::new() };
    Ok(ToolConfig {
        enabled: enabled.unwrap_or(default.enabled),
        permission_policy: permission_policy.unwrap_or(default.permission_policy),
        kind: builtin.then(|| name.clone()),
        name,
        extra,
    })
}

/// Whether this is a plain ASCII host name of at least two labels that may be public.
pub fn is_public_hostname(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let label_ok = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = labels.last().map(|label| label.to_ascii_lowercase()).unwrap_or_default();
    host.len() <= 255
        && labels.len() >= 2
        && labels.iter().all(label_ok)
        && !last.bytes().all(|b| b.is_ascii_digit())
        && !["localhost", "local", "internal", "localdomain", "invalid"].contains(&last.as_str())
}

fn check_custom(name: &str, description: &str) -> Result<(), Refusal> {
    let well_formed =
        (1..=limits::CUSTOM_TOOL_NAME_CHARS).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !well_formed {
        return Err(Refusal::invalid(format!(
            "tools: a custom tool's name must be 1 to {} of [A-Za-z0-9_-], got {name:?}",
            limits::CUSTOM_TOOL_NAME_CHARS
        )));
    }
    if BUILTIN_TOOLS.contains(&name) || name.starts_with("mcp__") {
        return Err(Refusal::invalid(format!("tools: the name {name:?} is reserved")));
    }
    if description.trim().is_empty() {
        return Err(Refusal::invalid(format!("tools: the description of {name:?} is empty; the model needs it")));
    }
    check_chars("tools: description", description, limits::TOOL_DESCRIPTION_CHARS)
}

fn check_together(tools: &[Tool], servers: &[&str]) -> Result<(), Refusal> {
    let mut custom: Vec<&str> = Vec::new();
    let mut toolsets = 0;
    let mut used: Vec<&str> = Vec::new();
    for tool in tools {
        match tool {
            Tool::Custom { name, .. } if custom.contains(&name.as_str()) => {
                return Err(Refusal::invalid(format!("tools: there are two custom tools named {name:?}")));
            }
            Tool::Custom { name, .. } => custom.push(name),
            Tool::AgentToolset { .. } => toolsets += 1,
            Tool::McpToolset { mcp_server_name, .. } if !servers.contains(&mcp_server_name.as_str()) => {
                return Err(Refusal::invalid(format!(
                    "tools: mcp_toolset names {mcp_server_name:?}, which is none of the agent's mcp_servers"
                )));
            }
            Tool::McpToolset { mcp_server_name, .. } if used.contains(&mcp_server_name.as_str()) => {
                return Err(Refusal::invalid(format!("tools: two mcp_toolset entries name {mcp_server_name:?}")));
            }
            Tool::McpToolset { mcp_server_name, .. } => used.push(mcp_server_name),
        }
    }
    if toolsets > 1 {
        return Err(Refusal::invalid("tools: agent_toolset_20260401 stands there twice"));
    }
    if let Some(unused) = servers.iter().find(|server| !used.contains(server)) {
        return Err(Refusal::invalid(format!("mcp_servers: {unused:?} is used by no mcp_toolset in tools")));
    }
    Ok(())
}

/// The policy of a built-in tool, or `None` when the agent does not have it.
pub fn builtin_policy(tools: &[Tool], name: &str) -> Option<PermissionPolicy> {
    tools.iter().find_map(|tool| match tool {
        Tool::AgentToolset { configs, default_config } if BUILTIN_TOOLS.contains(&name) => {
            let config = configs.iter().find(|config| config.name == name);
            let (enabled, policy) =
                config.map_or((default_config.enabled, default_config.permission_policy), |c| (c.enabled, c.permission_policy));
            enabled.then_some(policy)
        }
        _ => None,
    })
}

/// The policy of a tool of an MCP server, or `None` when the agent does not have it.
pub fn mcp_policy(tools: &[Tool], server: &str, name: &str) -> Option<PermissionPolicy> {
    tools.iter().find_map(|tool| match tool {
        Tool::McpToolset { configs, default_config, mcp_server_name } if mcp_server_name == server => {
            let config = configs.iter().find(|config| config.name == name);
            let (enabled, policy) =
                config.map_or((default_config.enabled, default_config.permission_policy), |c| (c.enabled, c.permission_policy));
            enabled.then_some(policy)
        }
        _ => None,
    })
}

/// Whether the agent has this custom tool.
pub fn has_custom(tools: &[Tool], name: &str) -> bool {
    tools.iter().any(|tool| matches!(tool, Tool::Custom { name: custom, .. } if custom == name))
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
