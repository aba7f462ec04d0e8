//! What every session needs from outside.

use std::sync::Arc;

use ostler_models::Model;
use ostler_store::{Epoch, Store};
use tokio_util::sync::CancellationToken;

use crate::ambient::Ambient;
use crate::recovery::LastEnd;
use crate::sandbox::SandboxBackend;

/// Shared by all sessions of a node.
#[derive(Debug)]
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) epoch: Epoch,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) sandboxes: Arc<dyn SandboxBackend>,
    pub(crate) ambient: Ambient,
    pub(crate) max_output_tokens: u32,
    pub(crate) last: LastEnd,
    /// Fires when the server stops.
    pub(crate) stopping: CancellationToken,
}
