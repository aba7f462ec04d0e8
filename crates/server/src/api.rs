//! What all handlers share. No logic of its own.

use std::ops::Deref;
use std::sync::Arc;

use ostler_core::time::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::AppState;
use crate::key_cache::KeyCache;
use crate::limits;
use crate::slots::StreamSlots;

/// The shared state of all handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Api(Arc<Shared>);

/// What is behind [`Api`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: AppState,
    pub(crate) keys: KeyCache,
    pub(crate) streams: StreamSlots,
    /// Room for request bodies, in units of [`limits::BODY_UNIT`].
    pub(crate) bodies: Semaphore,
    /// Fires when the server stops.
    pub(crate) stopping: CancellationToken,
}

impl Api {
    pub(crate) fn new(state: AppState, stopping: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            keys: KeyCache::default(),
            streams: StreamSlots::new(limits::STREAMS, state.config.max_streams_per_key),
            bodies: Semaphore::new(limits::BODIES_HELD / limits::BODY_UNIT),
            stopping,
            state,
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.state.ambient.now()
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
