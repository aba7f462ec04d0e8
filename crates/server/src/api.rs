//! What all handlers share. No logic of its own.

use std::ops::Deref;
use std::sync::Arc;

use ostler_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::AppState;
use crate::key_cache::KeyCache;
use crate::limits;
use crate::room::BodyRoom;
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
    pub(crate) bodies: BodyRoom,
    /// Fires when the server stops.
    pub(crate) stopping: CancellationToken,
}

impl Api {
    pub(crate) fn new(state: AppState, stopping: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            keys: KeyCache::default(),
            streams: StreamSlots::new(limits::STREAMS, state.config.max_streams_per_key),
            bodies: BodyRoom::default(),
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
