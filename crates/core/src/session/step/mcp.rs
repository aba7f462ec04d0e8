//! MCP servers: their tools before the first request of a turn, and calls of them.

use std::sync::Arc;

use super::Stepper;
use super::model::evaluate;
use crate::call::{CallEnd, CallOutcome};
use crate::events::wire::{EvaluatedPermission, Evaluation, RetryStatus, SessionError};
use crate::ids::EventId;
use crate::limits;
use crate::session::mcp::{self, McpTool};
use crate::session::record::{CallTarget, RecordBody};
use crate::session::state::Phase;

/// What is told of a call that a server outside was given and that nobody heard of again.
pub(super) fn remote_unknown() -> CallOutcome {
    let text = "Outcome unknown: the connection to the MCP server was lost while this call ran. It may have run fully, in part, or not at all; check before repeating it.";
    CallOutcome::text(text, true, CallEnd::OutcomeUnknown)
}

impl Stepper<'_> {
    pub(super) fn mcp_listed(&mut self, server: String, url: &str, tools: Vec<McpTool>) {
        if !self.is_due(&server, url) {
            return;
        }
        let known = self.state.mcp.get(&server);
        let is_new = known.is_none_or(|known| !known.is_pinned || *known.tools != tools);
        // The plan was made without them.
        let bytes = |tool: &McpTool| tool.name.len() + tool.description.len() + tool.input_schema.to_string().len() + AROUND_A_TOOL;
        let grown: usize = tools.iter().map(bytes).sum();
        self.grown_overhead = self.grown_overhead.saturating_add(u64::try_from(grown).unwrap_or(u64::MAX));
        self.emit(RecordBody::McpListed { server, tools: is_new.then(|| Arc::new(tools)) });
        self.advance();
    }

    pub(super) fn mcp_failed(&mut self, server: String, url: &str, message: &str, is_authentication: bool) {
        if !self.is_due(&server, url) {
            return;
        }
        let message: String = message.chars().take(limits::ERROR_MESSAGE_CHARS).collect();
        let (mcp_server_name, retry_status) = (server.clone(), RetryStatus::Retrying {});
        let error = if is_authentication {
            SessionError::McpAuthenticationFailedError { mcp_server_name, message, retry_status }
        } else {
            SessionError::McpConnectionFailedError { mcp_server_name, message, retry_status }
        };
        let event = self.event_id();
        self.emit(RecordBody::McpUnavailable { server, event, error });
        self.advance();
    }

    /// Whether the turn waits for it; what comes later is asked for again.
    fn is_due(&self, name: &str, url: &str) -> bool {
        self.state.phase == (Phase::Acting { paused: false }) && self.state.mcp_due().any(|server| server.name == name && server.url == url)
    }

    /// Who runs a tool of an MCP server, by the name that the model was offered.
    pub(super) fn mcp_target(&self, name: &str) -> Option<CallTarget> {
        let offered = mcp::offered(&self.state.agent, &self.state.mcp);
        let found = offered.iter().find(|(known, _)| known == name).map(|(_, offered)| *offered)?;
        let (permission, evaluation) = match evaluate(found.policy, false) {
            // Somebody has to see first what it has become.
            (EvaluatedPermission::Allow, _) if !found.is_accepted => (EvaluatedPermission::Ask, Evaluation::AlwaysAsk {}),
            judged => judged,
        };
        Some(CallTarget::Mcp { server: found.server.to_owned(), tool: found.tool.name.clone(), permission, evaluation })
    }

    /// What servers outside were given has no result any more: the process that waited for it is gone. What only reads is asked again.
    pub(super) fn lose_remote(&mut self) {
        let lost: Vec<EventId> = self
            .state
            .calls
            .iter()
            .filter(|call| call.is_under_way() && !call.is_of_sandbox() && !call.read_only)
            .map(|call| call.id.clone())
            .collect();
        for call in lost {
            self.settle_unknown(call);
        }
    }
}

/// Bytes around a tool in a request, at most.
const AROUND_A_TOOL: usize = 64;
