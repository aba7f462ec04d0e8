//! What a session asks the model.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ostler_core::model::{ModelRequest, ToolSpec};
use ostler_core::resources::session::SessionAgent;
use ostler_core::resources::tools::{self, Tool};
use ostler_core::session::context::Context;
use ostler_core::session::mcp::{self, McpServerState};
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::record::Ask;
use ostler_models::Models;

use super::deps::Deps;
use crate::web;

/// Tells the model where its tools run; behind the agent's own prompt, only for agents with tools.
const SANDBOX_NOTE: &str = "Your built-in tools run in an isolated Linux sandbox. The working directory is /workspace; it is kept for the whole session. \
Put files meant for the user into /mnt/session/outputs. What it reaches on the network is limited by its environment; a refusal says why. \
Variables that hold secrets have placeholders in them, which work as the secrets do in requests to the hosts that they are for.";

/// Tokens that providers add for tools as such, and around each of them.
const TOKENS_AROUND_TOOLS: usize = 1_000;
const TOKENS_AROUND_A_TOOL: usize = 64;

/// The request for the next step. Stable in its beginning, so that prompt caches hit.
pub(crate) fn request(agent: &SessionAgent, offered: &Arc<[ToolSpec]>, context: &Context, ask: &Ask) -> ModelRequest {
    ModelRequest {
        model: ask.at.model.clone(),
        system: system(agent, offered),
        tools: Arc::clone(offered),
        messages: context.messages(),
        max_tokens: ask.max_tokens,
        effort: agent.model.effort.map(|effort| effort.level),
    }
}

/// What the configuration offers for this agent's model.
pub(crate) fn plan(agent: &SessionAgent, offered: &[ToolSpec], models: &Models, max_tokens: u32) -> ModelPlan {
    let (targets, problem) = match models.resolve(&agent.model.id) {
        Ok(targets) => (targets, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let tools: usize =
        offered.iter().map(|tool| tool.name.len() + tool.description.len() + tool.input_schema.get().len() + TOKENS_AROUND_A_TOOL).sum();
    let system: usize = system(agent, offered).iter().map(String::len).sum();
    // A token has at least a byte.
    let around = if offered.is_empty() { 0 } else { TOKENS_AROUND_TOOLS };
    let overhead_tokens = u64::try_from(around + tools + system).unwrap_or(u64::MAX);
    ModelPlan { targets, problem, max_tokens, overhead_tokens }
}

fn system(agent: &SessionAgent, offered: &[ToolSpec]) -> Vec<String> {
    let has_builtin = offered.iter().any(|tool| tools::SANDBOX_TOOLS.contains(&&*tool.name));
    let note = has_builtin.then(|| SANDBOX_NOTE.to_owned());
    agent.system.iter().cloned().chain(note).collect()
}

/// The tools that the agent has and this server can offer: built-in ones first, then its own, then those of MCP servers.
pub(crate) fn offered(agent: &SessionAgent, servers: &BTreeMap<String, McpServerState>, deps: &Deps) -> Arc<[ToolSpec]> {
    static BUILTIN: LazyLock<Vec<ToolSpec>> = LazyLock::new(|| {
        let builtin = ostler_sandbox::builtin_tools().iter();
        builtin.map(|tool| ToolSpec::new(tool.name, tool.description, &tool.input_schema)).collect()
    });
    let builtin = BUILTIN.iter().cloned().chain(web::specs(deps)).filter(|tool| tools::builtin_policy(&agent.tools, &tool.name).is_some());
    let custom = agent.tools.iter().filter_map(|tool| match tool {
        Tool::Custom { name, description, input_schema } => Some(ToolSpec::new(name.as_str(), description.as_str(), input_schema)),
        Tool::AgentToolset { .. } | Tool::McpToolset { .. } => None,
    });
    let far = mcp::offered(agent, servers);
    let far = far.iter().map(|(name, offered)| ToolSpec::new(name.as_str(), offered.tool.description.as_str(), &offered.tool.input_schema));
    builtin.chain(custom).chain(far).collect()
}
