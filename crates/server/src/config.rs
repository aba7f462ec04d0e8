//! What the server is made of and how it is set up. Reading files and flags is the binary's part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ostler_runtime::ambient::Ambient;
use ostler_runtime::router::SessionRouter;
use ostler_store::Store;

use crate::limits;

/// What the server needs from its process.
#[derive(Debug, Clone)]
pub struct AppState {
    /// Everything durable.
    pub store: Arc<dyn Store>,
    /// The way to sessions.
    pub router: SessionRouter,
    /// Time and chance.
    pub ambient: Ambient,
    /// The settings.
    pub config: ServerConfig,
}

/// The settings of the server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address it listens on.
    pub listen: SocketAddr,
    /// Host names under which it may be asked, beside its own address: `name`, `name:port`, or `*`
    /// for any.
    pub allowed_hosts: Vec<String>,
    /// Bytes of one request body.
    pub body_limit: usize,
    /// A silent stream sends a sign of life this often.
    pub ping_interval: Duration,
    /// A stream checks its key this often.
    pub recheck_key_interval: Duration,
    /// Streams at once with one key.
    pub max_streams_per_key: usize,
    /// SHA-256 of what opens `/metrics`; without, an API key does while there is one workspace.
    pub metrics_token: Option<[u8; 32]>,
}

impl ServerConfig {
    /// The usual settings on an address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allowed_hosts: Vec::new(),
            body_limit: limits::BODY_BYTES,
            ping_interval: limits::PING,
            recheck_key_interval: limits::RECHECK_KEY,
            max_streams_per_key: limits::STREAMS_PER_KEY,
            metrics_token: None,
        }
    }
}
