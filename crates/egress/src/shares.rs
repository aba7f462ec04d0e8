//! Places that are for all, of which no workspace has more than its part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ostler_core::ids::WorkspaceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places.
#[derive(Debug)]
pub(crate) struct Shares {
    all: Arc<Semaphore>,
    part: usize,
    /// Of workspaces that have some.
    parts: Mutex<HashMap<WorkspaceId, Weak<Semaphore>>>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Share {
    _of_part: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Shares {
    /// So many, and of them so many for each workspace.
    pub(crate) fn new(all: usize, part: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), part, parts: Mutex::default() }
    }

    fn of(&self, workspace: &WorkspaceId) -> Arc<Semaphore> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(workspace).and_then(Weak::upgrade) {
            return part;
        }
        parts.retain(|_, part| part.strong_count() > 0);
        let part = Arc::new(Semaphore::new(self.part));
        parts.insert(workspace.clone(), Arc::downgrade(&part));
        part
    }

    /// A place, if there is one.
    pub(crate) fn try_take(&self, workspace: &WorkspaceId) -> Option<Share> {
        let of_part = self.of(workspace).try_acquire_owned().ok()?;
        Some(Share { _of_part: of_part, _of_all: Arc::clone(&self.all).try_acquire_owned().ok()? })
    }

    /// A place, once there is one. None only where there will never be.
    pub(crate) async fn take(&self, workspace: &WorkspaceId) -> Option<Share> {
        let of_part = self.of(workspace).acquire_owned().await.ok()?;
        Some(Share { _of_part: of_part, _of_all: Arc::clone(&self.all).acquire_owned().await.ok()? })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn nobody_has_more_than_a_part() {
        let shares = Shares::new(3, 2);
        let [one, other] = ["wrkspc_1", "wrkspc_2"].map(|id| id.parse::<WorkspaceId>().unwrap());
        let held: Vec<_> = (0..3).map_while(|_| shares.try_take(&one)).collect();
        assert_eq!(held.len(), 2);
        assert!(shares.take(&one).now_or_never().is_none());
        let others = shares.try_take(&other).unwrap();
        assert!(shares.try_take(&other).is_none(), "there are no more");
        drop(held);
        assert!(shares.take(&one).now_or_never().flatten().is_some());
        drop(others);
        assert!(shares.try_take(&other).is_some());
        assert_eq!(shares.parts.lock().unwrap().len(), 1, "who has none is forgotten");
    }
}
