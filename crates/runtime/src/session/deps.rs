//! What every session needs from outside.

use std::sync::Arc;

use ostler_models::Models;
use ostler_store::{Epoch, Store};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ambient::Ambient;
use crate::budget::CappedWorkspaces;
use crate::confirmations::Asking;
use crate::egress::Egress;
use crate::mcp::McpLinks;
use crate::network::Networks;
use crate::packages::Builds;
use crate::parking::Rest;
use crate::policy::SandboxPolicy;
use crate::recovery::LastEnd;
use crate::sandbox::SandboxBackend;
use crate::turns::Turns;
use crate::web::Web;

/// Shared by all sessions of a node.
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) epoch: Epoch,
    pub(crate) models: Arc<Models>,
    pub(crate) sandboxes: Arc<dyn SandboxBackend>,
    pub(crate) egress: Arc<dyn Egress>,
    /// The sandboxes that it is to serve.
    pub(crate) networks: Networks,
    /// Held by who seals, whole by who takes a key away.
    pub(crate) sealing: tokio::sync::RwLock<()>,
    /// What goes on when nobody waits for it any more, and what the end of the server waits for.
    pub(crate) work: TaskTracker,
    /// Connections to MCP servers.
    pub(crate) mcp: McpLinks,
    pub(crate) asking: Asking,
    pub(crate) ambient: Ambient,
    pub(crate) max_output_tokens: u32,
    pub(crate) last: LastEnd,
    pub(crate) rest: Rest,
    /// What sandboxes get.
    pub(crate) policy: SandboxPolicy,
    /// Who may start a sandbox now.
    pub(crate) starts: Turns,
    /// Packages that are being installed.
    pub(crate) packages: Builds,
    /// Who may have an archive made now.
    pub(crate) archives: Turns,
    /// What the web tools share.
    pub(crate) web: Web,
    /// Workspaces whose budget refused somebody.
    pub(crate) capped: CappedWorkspaces,
    /// Fires when the server stops.
    pub(crate) stopping: CancellationToken,
}
