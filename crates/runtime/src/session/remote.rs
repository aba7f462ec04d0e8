//! Effects outside of the sandbox: MCP servers are asked for their tools, and have calls run.

use std::sync::Arc;

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::resources::agent::McpServer;
use ostler_core::resources::session::SessionAgent;
use ostler_core::session::calls::{Call, Place};
use ostler_core::session::step::Input;
use ostler_mcp::Failure;
use tokio_util::sync::CancellationToken;

use super::deps::Deps;
use super::effects::{Results, supervised};
use crate::fault::{self, Point};
use crate::mcp::{self, User};
use crate::web::{self, Behalf};

fn server(agent: &SessionAgent, name: &str) -> Option<McpServer> {
    agent.mcp_servers.iter().find(|server| server.name == name).cloned()
}

/// Asks an MCP server for its tools.
pub(crate) fn list_tools(deps: &Arc<Deps>, user: User, agent: &SessionAgent, name: &str, results: Results) {
    let (deps, Some(server)) = (Arc::clone(deps), server(agent, name)) else { return };
    let failed = |server: &McpServer, message: String, is_authentication| {
        let (server, url) = (server.name.clone(), server.url.clone());
        Input::McpFailed { server, url, message, is_authentication }
    };
    let died = failed(&server, "asking for its tools failed".into(), false);
    supervised(results, died, async move {
        match mcp::list(&deps, &user, &server).await {
            Ok(tools) => Input::McpListed { server: server.name, url: server.url, tools },
            Err(failure) => {
                tracing::info!(session = %user.session, server = server.name, %failure, "the tools of an MCP server are not there");
                let is_authentication = matches!(failure, Failure::Authentication(_));
                let message = format!("the MCP server {:?} cannot be used: {failure}; the session goes on without its tools", server.name);
                failed(&server, message, is_authentication)
            }
        }
    });
}

/// Asks the web. It changes nothing, so nobody needs to know what became of it when it is given up.
pub(crate) fn search(deps: &Arc<Deps>, behalf: Behalf, call: Call, cancel: CancellationToken, results: Results) {
    let deps = Arc::clone(deps);
    let id = call.id.clone();
    let finished = move |outcome: CallOutcome| Input::CallFinished { call: id.clone(), outcome };
    let died = finished(CallOutcome::text("unavailable: the search failed inside the server.", true, CallEnd::Finished));
    supervised(results, died, async move {
        fault::point(Point::BeforeDispatch);
        tokio::select! {
            outcome = web::search(&deps, &behalf, &call) => finished(outcome),
            () = cancel.cancelled() => finished(CallOutcome::text("Interrupted by the user.", true, CallEnd::Cancelled)),
        }
    });
}

/// Has an MCP server run a call.
pub(crate) fn run_call(deps: &Arc<Deps>, user: User, agent: &SessionAgent, call: Call, cancel: CancellationToken, results: Results) {
    let deps = Arc::clone(deps);
    let id = call.id.clone();
    let finished = move |outcome: CallOutcome| Input::CallFinished { call: id.clone(), outcome };
    let unknown = |why: &str| CallOutcome::text(format!("Outcome unknown: {why}"), true, CallEnd::OutcomeUnknown);
    let died = finished(unknown("waiting for the MCP server failed."));
    let place = match &call.place {
        Place::Mcp { server: name, tool } => server(agent, name).map(|server| (server, tool.clone())),
        Place::Sandbox | Place::Web => None,
    };
    supervised(results, died, async move {
        let Some((server, tool)) = place else {
            return finished(CallOutcome::text("Not run: the agent does not have this MCP server any more.", true, CallEnd::NotRun));
        };
        if cancel.is_cancelled() {
            return finished(CallOutcome::text("Interrupted by the user before it ran.", true, CallEnd::NotRun));
        }
        fault::point(Point::BeforeDispatch);
        tokio::select! {
            outcome = mcp::call(&deps, &user, &server, &tool, &call) => finished(outcome),
            () = cancel.cancelled() => {
                finished(unknown("interrupted by the user while the MCP server ran it. The server was told; whether it stopped is not known."))
            }
        }
    });
}
