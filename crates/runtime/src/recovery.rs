//! Taking up what the last process left in the middle: in the background, a few at a time, each
//! workspace in its turn. The server does not wait for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ostler_core::ids::{SessionId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_store::{StoreError, UnfinishedSession};
use tokio::sync::Semaphore;

use crate::limits;
use crate::router::SessionRouter;

/// How the last process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEnd {
    /// In order; taking its sessions up says nothing against them.
    Orderly,
    /// Not in order; each session it left in the middle may be why.
    Crash,
}

/// Takes up every unfinished session; returns when the last one was started.
pub async fn recover(router: SessionRouter) -> Result<usize, StoreError> {
    let deps = Arc::clone(router.deps());
    let open = deps.store.unfinished_sessions(&Scope::System(SystemReason::Recovery)).await?;
    let count = open.len();
    if count > 0 {
        tracing::info!(count, "taking up sessions that were running");
    }
    // One that was taken up before without getting on may be why the last process died. Those come
    // last and one by one, so that they cannot bring others into disrepute.
    let (suspects, others): (Vec<_>, Vec<_>) = open.into_iter().partition(|session| session.recoveries > 0);
    take_up(&router, in_turns(others), limits::RECOVERING).await;
    take_up(&router, in_turns(suspects), 1).await;
    Ok(count)
}

async fn take_up(router: &SessionRouter, sessions: Vec<SessionId>, at_once: usize) {
    let deps = router.deps();
    let places = Arc::new(Semaphore::new(at_once));
    for id in sessions {
        let jitter = deps.ambient.random() % (limits::RECOVERY_JITTER_MS + 1);
        let place = tokio::select! {
            () = deps.stopping.cancelled() => return,
            // A session that hangs gives up its place in favour of the others.
            place = tokio::time::timeout(limits::RECOVERY_HOLD, Arc::clone(&places).acquire_owned()) => place.ok().and_then(Result::ok),
        };
        let (router, after_death) = (router.clone(), deps.last == LastEnd::Crash);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(jitter)).await;
            router.take_up(&id, place, after_death).await;
        });
    }
}

/// One of each workspace, then the second of each, and so on.
fn in_turns(open: Vec<UnfinishedSession>) -> Vec<SessionId> {
    let mut order: Vec<WorkspaceId> = Vec::new();
    let mut queues: HashMap<WorkspaceId, VecDeque<SessionId>> = HashMap::new();
    for session in open {
        if !queues.contains_key(&session.workspace) {
            order.push(session.workspace.clone());
        }
        queues.entry(session.workspace).or_default().push_back(session.id);
    }
    let mut turns = Vec::new();
    while !queues.is_empty() {
        for workspace in &order {
            let Some(queue) = queues.get_mut(workspace) else { continue };
            match queue.pop_front() {
                Some(id) => turns.push(id),
                None => {
                    queues.remove(workspace);
                }
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::ids::{IdSource, OrganizationId};

    #[test]
    fn workspaces_take_turns() {
        let mut ids = IdSource::new(1, 1);
        let organization = OrganizationId::mint(&mut ids);
        let workspaces = [WorkspaceId::mint(&mut ids), WorkspaceId::mint(&mut ids)];
        let mut session = |workspace: usize| UnfinishedSession {
            id: SessionId::mint(&mut ids),
            organization: organization.clone(),
            workspace: workspaces[workspace].clone(),
            recoveries: 0,
        };
        let open = vec![session(0), session(0), session(0), session(1)];
        let ids: Vec<SessionId> = open.iter().map(|session| session.id.clone()).collect();
        assert_eq!(in_turns(open), [0, 3, 1, 2].map(|index| ids[index].clone()));
    }
}
