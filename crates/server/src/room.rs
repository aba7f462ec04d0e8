//! Room in memory for request bodies, taken as they arrive, so that a body that was only announced
//! takes none.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, ApiResult};
use crate::limits;

/// Room for all bodies, in bytes. Small ones have their own, so that they never wait behind large
/// ones.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The room of one body; free again when dropped.
#[derive(Debug, Default)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Default for BodyRoom {
    fn default() -> Self {
        Self { small: Arc::new(Semaphore::new(limits::SMALL_BODIES_HELD)), large: Arc::new(Semaphore::new(limits::BODIES_HELD)) }
    }
}

impl BodyRoom {
    /// Makes `room` enough for the bytes that arrived of a body that was announced as `declared`
    /// bytes. A body that outgrows the small ones moves over to the large ones.
    pub(crate) async fn grow(&self, room: &mut Room, arrived: usize, declared: usize) -> ApiResult<()> {
        let large = arrived.max(declared) > limits::SMALL_BODY;
        let pool = if large { &self.large } else { &self.small };
        let held = room.0.take_if(|permit| Arc::ptr_eq(permit.semaphore(), pool));
        // A body larger than all the room can be read when it has all of it.
        let lacking = arrived.min(limits::BODIES_HELD) - held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = u32::try_from(lacking).map_err(|_| ApiError::internal())?;
        let more = tokio::time::timeout(limits::BODY_ROOM, Arc::clone(pool).acquire_many_owned(lacking));
        let mut more = more.await.map_err(|_| full())?.map_err(|_| ApiError::internal())?;
        if let Some(held) = held {
            more.merge(held);
        }
        room.0 = Some(more);
        Ok(())
    }
}

fn full() -> ApiError {
    ApiError::unavailable("the server has no room for this request body now; try again in a moment", 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    #[tokio::test(start_paused = true)]
    async fn large_bodies_take_what_arrived_and_leave_small_ones_alone() {
        let bodies = BodyRoom::default();
        let (mut first, mut second, mut small) = (Room::default(), Room::default(), Room::default());
        bodies.grow(&mut first, 1, limits::BODIES_HELD).await.unwrap();
        assert_eq!(bodies.large.available_permits(), limits::BODIES_HELD - 1);
        bodies.grow(&mut first, limits::BODIES_HELD, limits::BODIES_HELD).await.unwrap();
        bodies.grow(&mut first, limits::BODIES_HELD + 1, 0).await.unwrap();
        let full = bodies.grow(&mut second, 1, limits::SMALL_BODY + 1).await.unwrap_err();
        assert_eq!((full.status.as_u16(), full.retry), (503, Retry::After(5)));
        bodies.grow(&mut small, limits::SMALL_BODY, limits::SMALL_BODY).await.unwrap();
        drop(first);
        bodies.grow(&mut second, 1, limits::SMALL_BODY + 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_outgrows_the_small_ones_leaves_their_room() {
        let bodies = BodyRoom::default();
        let mut room = Room::default();
        for (arrived, small, large) in
            [(7, 7, 0), (limits::SMALL_BODY, limits::SMALL_BODY, 0), (limits::SMALL_BODY + 1, 0, limits::SMALL_BODY + 1)]
        {
            bodies.grow(&mut room, arrived, 0).await.unwrap();
            let taken =
                (limits::SMALL_BODIES_HELD - bodies.small.available_permits(), limits::BODIES_HELD - bodies.large.available_permits());
            assert_eq!(taken, (small, large));
        }
    }
}
