//! How much a sandbox may move: bytes in its life, bytes a second, connections at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use ostler_core::egress::Caps;

/// A sandbox has moved as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spent;

/// What a sandbox moves, all of its connections together.
#[derive(Debug)]
pub(crate) struct Traffic {
    moved: AtomicU64,
    state: Mutex<State>,
    /// Told when the last byte that it may move was moved.
    spent: Notify,
    /// Told when a connection may have room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    caps: Caps,
    connections: u64,
    /// When all that was moved would have been moved at the rate that it may have.
    paid_at: Instant,
}

/// A place among the connections of a sandbox.
#[derive(Debug)]
pub(crate) struct Place(Arc<Traffic>);

impl Traffic {
    pub(crate) fn new(caps: Caps) -> Arc<Self> {
        let state = State { caps, connections: 0, paid_at: Instant::now() };
        Arc::new(Self { moved: AtomicU64::new(0), state: Mutex::new(state), spent: Notify::new(), room: Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other caps; what was moved stays counted.
    pub(crate) fn cap(&self, caps: Caps) {
        self.lock().caps = caps;
        self.room.notify_waiters();
        if self.is_spent() {
            self.spent.notify_one();
        }
    }

    /// Goes on with what another one counted.
    pub(crate) fn resume(&self, former: &Self) {
        self.moved.store(former.moved.load(Ordering::Relaxed), Ordering::Relaxed);
        self.lock().paid_at = former.lock().paid_at;
    }

    /// Whether nothing may be moved any more.
    pub(crate) fn is_spent(&self) -> bool {
        let most = self.lock().caps.bytes;
        most.is_some_and(|most| self.moved.load(Ordering::Relaxed) >= most)
    }

    /// Resolves when that begins.
    pub(crate) async fn spent(&self) {
        self.spent.notified().await;
    }

    /// Counts bytes; until when whoever moved them waits before moving more.
    pub(crate) fn moved(&self, bytes: usize) -> Result<Option<Instant>, Spent> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.moved.fetch_add(bytes, Ordering::Relaxed);
        let mut state = self.lock();
        if let Some(most) = state.caps.bytes {
            if before >= most {
                return Err(Spent);
            }
            if before.saturating_add(bytes) >= most {
                self.spent.notify_one();
            }
        }
        let Some(rate) = state.caps.bytes_per_second.filter(|rate| *rate > 0) else { return Ok(None) };
        let now = Instant::now();
        let begin = now.checked_sub(limits::BURST).map_or(state.paid_at, |burst| state.paid_at.max(burst));
        state.paid_at = begin + Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        Ok(Some(state.paid_at).filter(|until| *until > now))
    }

    /// Counts bytes and waits as long as their mover has to.
    pub(crate) async fn pace(&self, bytes: usize) -> Result<(), Spent> {
        if let Some(until) = self.moved(bytes)? {
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// Waits for a place for another connection.
    pub(crate) async fn place(self: &Arc<Self>) -> Place {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // Before looking, so that a place that is given back meanwhile is not missed.
            room.as_mut().enable();
            if let Some(place) = self.try_place() {
                return place;
            }
            room.await;
        }
    }

    fn try_place(self: &Arc<Self>) -> Option<Place> {
        let most = u64::try_from(limits::CONNECTIONS_PER_SANDBOX).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let has_room = state.connections < state.caps.connections.map_or(most, |cap| cap.min(most));
        state.connections += u64::from(has_room);
        drop(state);
        has_room.then(|| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.connections = state.connections.saturating_sub(1);
        drop(state);
        // All that wait, because each looks for itself.
        self.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_their_rate_after_a_burst() {
        let traffic = Traffic::new(Caps { bytes_per_second: Some(1_000), ..Caps::default() });
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(60)).await;
        let at = Instant::now();
        assert_eq!(traffic.moved(1_000), Ok(None), "a second's worth goes at once");
        traffic.pace(2_000).await.unwrap();
        assert_eq!(at.elapsed().as_secs(), 2);
        // Two that share it have half of it each.
        let (one, two) = tokio::join!(traffic.pace(1_000), traffic.pace(1_000));
        assert!(one.is_ok() && two.is_ok() && at.elapsed().as_secs() == 4, "{:?}", began.elapsed());
        traffic.cap(Caps::default());
        assert_eq!(traffic.moved(1 << 30), Ok(None));
    }

    #[tokio::test]
    async fn what_is_spent_is_spent_until_the_cap_is_raised() {
        let traffic = Traffic::new(Caps { bytes: Some(10), ..Caps::default() });
        assert_eq!((traffic.moved(9), traffic.is_spent()), (Ok(None), false));
        assert_eq!((traffic.moved(9), traffic.is_spent()), (Ok(None), true));
        traffic.spent().await;
        assert_eq!(traffic.moved(1), Err(Spent));
        let next = Traffic::new(Caps { bytes: Some(10), ..Caps::default() });
        next.resume(&traffic);
        assert!(next.is_spent());
        next.cap(Caps { bytes: Some(100), ..Caps::default() });
        assert_eq!((next.is_spent(), next.moved(1)), (false, Ok(None)));
    }

    #[tokio::test]
    async fn connections_wait_for_a_place() {
        let traffic = Traffic::new(Caps { connections: Some(1), ..Caps::default() });
        let first = traffic.place().await;
        assert!(traffic.try_place().is_none());
        let waits = tokio::spawn({
            let traffic = Arc::clone(&traffic);
            async move { traffic.place().await }
        });
        drop(first);
        let _second = waits.await.unwrap();
        assert!(traffic.try_place().is_none());
        traffic.cap(Caps { connections: Some(2), ..Caps::default() });
        assert!(traffic.try_place().is_some());
    }
}
