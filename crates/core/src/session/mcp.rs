//! What a session knows of its MCP servers: the tools as they were listed, and which of them somebody has to look at first.
//!
//! A list is pinned when it is first heard. Whatever differs later, be it new or described in other words, is asked about however
//! the agent's policy reads, until somebody has allowed a call of it: a server must not be able to turn a tool that was judged
//! harmless into another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::hex::hex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::limits;
use crate::resources::session::SessionAgent;
use crate::resources::tools::{self, PermissionPolicy};
use crate::time::Timestamp;

/// A tool as an MCP server lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct McpTool {
    /// Its name there.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input, an object.
    pub input_schema: Value,
}

impl McpTool {
    /// SHA-256 in hex of all that the model sees of it.
    pub fn sha256(&self) -> String {
        let text = [self.name.as_str(), &self.description, &self.input_schema.to_string()].join("\0");
        hex(Sha256::digest(text.as_bytes()))
    }
}

/// What a session knows of one MCP server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct McpServerState {
    /// Its tools as last heard.
    pub tools: Arc<Vec<McpTool>>,
    /// Tools by name, as they were accepted: by the first list, or by a person since.
    pub accepted: BTreeMap<String, String>,
    /// Whether a list was ever heard.
    pub is_pinned: bool,
    /// Where asking for the list is.
    pub look: Look,
}

/// Where asking for a list of tools is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Look {
    /// It is to be asked for before the model is asked.
    #[default]
    Due,
    /// It is there.
    Listed {
        /// Since when.
        at: Timestamp,
    },
    /// It could not be had; the next turn asks again.
    Failed,
}

impl McpServerState {
    /// Takes in a list; none: it is as it was.
    pub(super) fn listed(&mut self, tools: Option<&Arc<Vec<McpTool>>>, at: Timestamp) {
        if let Some(tools) = tools {
            self.tools = Arc::clone(tools);
        }
        if !self.is_pinned {
            self.accepted = self.tools.iter().map(|tool| (tool.name.clone(), tool.sha256())).collect();
            self.is_pinned = true;
        }
        self.look = Look::Listed { at };
    }

    /// A new turn begins.
    pub(super) fn turn(&mut self, now: Timestamp) {
        let is_fresh = matches!(self.look, Look::Listed { at } if now.micros_since(at) < limits::MCP_LIST_MICROS);
        if !is_fresh {
            self.look = Look::Due;
        }
    }

    /// Somebody allowed a call of this tool.
    pub(super) fn accept(&mut self, name: &str) {
        if let Some(tool) = self.tools.iter().find(|tool| tool.name == name) {
            self.accepted.insert(tool.name.clone(), tool.sha256());
        }
    }

    fn is_accepted(&self, tool: &McpTool) -> bool {
        self.accepted.get(&tool.name).is_some_and(|sha256| *sha256 == tool.sha256())
    }
}

/// A tool of an MCP server as the model is offered it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offered<'a> {
    /// The server, as the agent calls it.
    pub server: &'a str,
    /// The tool.
    pub tool: &'a McpTool,
    /// Whether its calls may run.
    pub policy: PermissionPolicy,
    /// Whether it is as it was accepted; if not, its calls wait for a person.
    pub is_accepted: bool,
}

/// The tools that are offered, by the names that the model calls, in a stable order.
pub fn offered<'a>(agent: &'a SessionAgent, servers: &'a BTreeMap<String, McpServerState>) -> Vec<(String, Offered<'a>)> {
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for server in &agent.mcp_servers {
        let Some(state) = servers.get(&server.name).filter(|state| matches!(state.look, Look::Listed { .. })) else { continue };
        for tool in state.tools.iter() {
            let Some(policy) = tools::mcp_policy(&agent.tools, &server.name, &tool.name) else { continue };
            let name = offered_name(&server.name, &tool.name);
            if all.len() < limits::TOOLS_OFFERED && taken.insert(name.clone()) {
                all.push((name, Offered { server: &server.name, tool, policy, is_accepted: state.is_accepted(tool) }));
            }
        }
    }
    all
}

/// The name under which the model is offered a tool: `mcp__server__tool`. The part of the server never contains two underscores in a row and
/// ends in none, so that no server can list a tool under the name of another's; no other tool begins so.
pub fn offered_name(server: &str, tool: &str) -> String {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let is_short = |text: &str, most: usize| !text.is_empty() && text.len() <= most;
    let is_clear = is_plain(server) && !server.contains("__") && !server.starts_with('_') && !server.ends_with('_');
    let server = if is_clear && is_short(server, SERVER_PART) { server.to_owned() } else { shortened(server, SERVER_PART, server) };
    let most = NAME_MOST - "mcp____".len() - server.len();
    let tool_part =
        if is_plain(tool) && is_short(tool, most) { tool.to_owned() } else { shortened(tool, most, &format!("{server}\0{tool}")) };
    format!("mcp__{server}__{tool_part}")
}

/// What all providers take as a tool's name.
const NAME_MOST: usize = 64;
const SERVER_PART: usize = 24;
const DIGITS: usize = 8;

/// Letters of a name, and digits that stand for all of it.
fn shortened(text: &str, most: usize, whole: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        let letter = if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
        if letter != '_' || !(plain.is_empty() || plain.ends_with('_')) {
            plain.push(letter);
        }
    }
    plain.truncate(most - DIGITS - 1);
    let digits = &hex(Sha256::digest(whole.as_bytes()))[..DIGITS];
    match plain.trim_matches('_') {
        "" => digits.to_owned(),
        plain => format!("{plain}_{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_providers_take_and_never_of_two_servers() {
        assert_eq!(offered_name("github", "create_issue"), "mcp__github__create_issue");
        assert_eq!(offered_name("a", "_b__c"), "mcp__a___b__c");
        let long = "x".repeat(200);
        let pairs = [
            ("a", "b__c"),
            ("a__b", "c"),
            ("a_", "c"),
            ("a", "_c"),
            ("_a", "c"),
            ("a b", "c"),
            ("a.b", "c"),
            ("ä", "c"),
            ("", "c"),
            ("a", ""),
            ("a", "c d"),
            ("a", "c.d"),
            (&long, "c"),
            ("a", &long),
            (&long, &long),
        ];
        let mut seen = BTreeSet::new();
        for (server, tool) in pairs {
            let name = offered_name(server, tool);
            assert!(name.len() <= NAME_MOST && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{name}");
            let part = name.strip_prefix("mcp__").unwrap().split("__").next().unwrap();
            assert!(!part.is_empty() && !part.ends_with('_') && !part.starts_with('_'), "{name}");
            assert!(seen.insert(name.clone()), "{name}");
        }
    }

    #[test]
    fn a_list_is_pinned_and_what_differs_is_not_accepted() {
        let tool = |name: &str, description: &str| McpTool {
            name: name.into(),
            description: description.into(),
            input_schema: serde_json::json!({"type": "object"}),
        };
        let at = Timestamp(0);
        let mut state = McpServerState::default();
        state.listed(Some(&Arc::new(vec![tool("a", "1"), tool("b", "1")])), at);
        assert!(state.tools.iter().all(|tool| state.is_accepted(tool)));
        state.listed(Some(&Arc::new(vec![tool("a", "2"), tool("b", "1"), tool("c", "1")])), at);
        let accepted: Vec<bool> = state.tools.iter().map(|tool| state.is_accepted(tool)).collect();
        assert_eq!(accepted, [false, true, false]);
        state.accept("a");
        assert!(state.is_accepted(&state.tools[0]) && !state.is_accepted(&state.tools[2]));
    }

    #[test]
    fn a_list_is_asked_for_again_when_it_is_old_or_failed() {
        let at = Timestamp(1_000_000);
        let mut state = McpServerState::default();
        state.listed(None, at);
        state.turn(at.plus_micros(limits::MCP_LIST_MICROS - 1));
        assert_eq!(state.look, Look::Listed { at });
        state.turn(at.plus_micros(limits::MCP_LIST_MICROS));
        assert_eq!(state.look, Look::Due);
        state.look = Look::Failed;
        state.turn(at);
        assert_eq!(state.look, Look::Due);
    }
}
