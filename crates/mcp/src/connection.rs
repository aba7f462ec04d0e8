//! A connection to an MCP server.

use std::fmt;
use std::sync::Arc;

use ostler_core::call::CallOutcome;
use ostler_core::ids::EventId;
use ostler_core::session::mcp::McpTool;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams, ProtocolVersion,
};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, RunningService, ServiceError, serve_client_with_lifecycle};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, UnixSocketHttpClient};

use rmcp::{ErrorData, RoleClient};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::failure::short;
use crate::target::Target;
use crate::way::{Current, Named, Way};
use crate::{Failure, limits, result, tools};

/// A connection to an MCP server; it ends with this.
pub struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    current: Current,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects; servers of before 2026-07-28 are spoken to as they want it.
    ///
    /// # Errors
    /// When the server cannot be reached, does not speak the protocol, or does not take the credential.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let socket = target.socket.to_str().ok_or_else(|| Failure::connection("the way to egress has a name that is no text"))?;
        let uri = Target::uri();
        let config = StreamableHttpClientTransportConfig::with_uri(uri.as_str())
            .custom_headers(target.headers()?)
            .max_sse_event_size(limits::EVENT_BYTES)
            // A server that forgot a session did nothing in it.
            .reinit_on_expired_session(true);
        let current = Current::default();
        let way = Way { client: UnixSocketHttpClient::new(socket, &uri), current: Arc::clone(&current) };
        let transport = StreamableHttpClientTransport::with_client(way, config);
        // Nothing is offered to the server.
        let about = ClientConfig::new(ClientCapabilities::default(), Implementation::new("ostler", env!("CARGO_PKG_VERSION")));
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        match timeout(limits::CONNECT_TIME, serve_client_with_lifecycle(about, transport, lifecycle)).await {
            Ok(Ok(service)) => Ok(Self { service, current }),
            Ok(Err(error)) if error.is_authorization_required() => Err(Failure::unauthorized()),
            // What came first is only that it is of before 2026.
            Ok(Err(ClientInitializeError::LegacyFallbackFailed { fallback, .. })) => Err(Failure::of(&*fallback)),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => Err(Failure::connection(format!("it did not answer within {} s", limits::CONNECT_TIME.as_secs()))),
        }
    }

    /// Whether it can still be used.
    pub fn is_open(&self) -> bool {
        !self.service.is_closed() && !self.service.is_transport_closed()
    }

    /// The tools that can be offered to models.
    ///
    /// # Errors
    /// When the server does not list them.
    pub async fn tools(&self) -> Result<Vec<McpTool>, Failure> {
        let all = async {
            let (mut list, mut cursor) = (tools::List::default(), None);
            for _ in 0..limits::PAGES {
                let page = self.service.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor))).await;
                let page = page.map_err(failed)?;
                cursor = page.next_cursor;
                // At once, so that what is not kept is not held.
                if !list.take(page.tools) || cursor.is_none() {
                    break;
                }
            }
            Ok(list.into_tools())
        };
        let late = || Failure::connection(format!("it did not list its tools within {} s", limits::LIST_TIME.as_secs()));
        timeout(limits::LIST_TIME, all).await.unwrap_or_else(|_| Err(late()))
    }

    /// Has the server run a tool for a call, of which there is one at a time. Given up (by dropping this) the server is told so.
    ///
    /// # Errors
    /// When it did not, or when nobody knows.
    pub async fn call(&self, call: &EventId, tool: &str, input: Map<String, Value>) -> Result<CallOutcome, Failure> {
        let _named = Named::new(&self.current, call);
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = Some(input);
        let called = timeout(limits::CALL_TIME, self.service.call_tool_once(params)).await;
        let Ok(called) = called else {
            return Err(Failure::Unknown(format!("the MCP server did not answer within {} s", limits::CALL_TIME.as_secs())));
        };
        match called {
            Ok(CallToolResponse::Complete(complete)) => Ok(result::outcome(complete)),
            Ok(CallToolResponse::InputRequired(_)) => {
                Err(Failure::Refused("the tool wants to ask a person or a model while it runs, which is not offered to it".into()))
            }
            Ok(_) => Err(Failure::Refused("the tool began a task that goes on by itself, which is not followed".into())),
            Err(error) => Err(match failed(error) {
                // It may have arrived.
                Failure::Connection(why) => Failure::Unknown(why),
                failure => failure,
            }),
        }
    }
}

fn failed(error: ServiceError) -> Failure {
    match error {
        ServiceError::McpError(ErrorData { message, code, .. }) => Failure::Refused(short(&format!("{message} ({})", code.0))),
        ServiceError::TransportSend(error) => Failure::of(error.error.as_ref()),
        other => Failure::connection(short(&other.to_string())),
    }
}
