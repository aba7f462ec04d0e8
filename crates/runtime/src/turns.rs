//! Places for work that the machine can do only little of at once, given to workspaces in turn: one that asks
//! for a hundred makes its neighbour wait for one of them, not for all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::ids::WorkspaceId;
use tokio::sync::oneshot;

/// The places, and who waits for one.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Workspaces in whose name somebody waits, the next first.
    order: VecDeque<WorkspaceId>,
    waiting: HashMap<WorkspaceId, VecDeque<oneshot::Sender<Place>>>,
}

/// A place; given to the next when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// Nothing once it is given back.
    state: Option<Arc<Mutex<State>>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State { free: places, order: VecDeque::new(), waiting: HashMap::new() })) }
    }

    fn place(&self) -> Place {
        Place { state: Some(Arc::clone(&self.state)) }
    }

    /// Waits for a place in the name of a workspace.
    pub(crate) async fn take(&self, workspace: &WorkspaceId) -> Place {
        let receiver = {
            let mut state = lock(&self.state);
            if state.free > 0 {
                state.free -= 1;
                return self.place();
            }
            let (sender, receiver) = oneshot::channel();
            let queue = state.waiting.entry(workspace.clone()).or_default();
            queue.push_back(sender);
            if queue.len() == 1 {
                state.order.push_back(workspace.clone());
            }
            receiver
        };
        match receiver.await {
            Ok(place) => place,
            // Only if the queue is gone, and then nobody counts.
            Err(_) => self.place(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shared) = self.state.take() else { return };
        loop {
            let next = {
                let mut state = lock(&shared);
                let Some(workspace) = state.order.pop_front() else {
                    state.free += 1;
                    return;
                };
                let next = state.waiting.get_mut(&workspace).and_then(VecDeque::pop_front);
                if state.waiting.get(&workspace).is_some_and(|queue| !queue.is_empty()) {
                    state.order.push_back(workspace);
                } else {
                    state.waiting.remove(&workspace);
                }
                next
            };
            let Some(next) = next else { continue };
            match next.send(Place { state: Some(Arc::clone(&shared)) }) {
                Ok(()) => return,
                // Who waited has gone; the place is still this one and must not be given twice.
                Err(mut place) => drop(place.state.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::ids::IdSource;

    #[tokio::test]
    async fn workspaces_take_turns_and_those_who_leave_lose_nothing_for_others() {
        let mut ids = IdSource::new(1, 1);
        let (loud, quiet) = (WorkspaceId::mint(&mut ids), WorkspaceId::mint(&mut ids));
        let turns = Arc::new(Turns::new(1));
        let first = turns.take(&loud).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        let gone = tokio::spawn({
            let (turns, loud) = (Arc::clone(&turns), loud.clone());
            async move { turns.take(&loud).await }
        });
        tokio::task::yield_now().await;
        for (name, workspace) in [("loud 1", &loud), ("loud 2", &loud), ("loud 3", &loud), ("quiet", &quiet)] {
            let (turns, workspace, order) = (Arc::clone(&turns), workspace.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _place = turns.take(&workspace).await;
                order.lock().unwrap().push(name);
            }));
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.is_err());
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["quiet", "loud 1", "loud 2", "loud 3"]);
        assert_eq!(lock(&turns.state).free, 1);
    }
}
