//! The sandboxes of a node as a whole: those that sessions need are said to be needed, and what no session
//! needs is ended, at the start and every minute. And what people see and end by hand.

use std::collections::HashSet;
use std::fs::File;

use ostler_core::error::Refusal;
use ostler_core::ids::SessionId;
use ostler_core::scope::{Scope, SystemReason};
use ostler_store::StoreError;

use crate::error::RuntimeError;
use crate::limits;
use crate::packages;
use crate::policy;
use crate::router::SessionRouter;
use crate::sandbox::Living;
use crate::session::place::{self, Whose};

/// What was found and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Sandboxes, living or parked, that are needed.
    pub needed: usize,
    /// Those that were ended or removed.
    pub ended: usize,
}

impl SessionRouter {
    /// Compares sandboxes with sessions until the server stops.
    pub async fn watch_sandboxes(self) {
        loop {
            match self.reconcile_sandboxes().await {
                Ok(done) => tracing::debug!(needed = done.needed, ended = done.ended, "sandboxes were compared with sessions"),
                Err(error) => tracing::error!(%error, "sandboxes cannot be compared with sessions"),
            }
            tokio::select! {
                () = self.deps().stopping.cancelled() => return,
                () = tokio::time::sleep(limits::RECONCILE) => {}
            }
        }
    }

    /// Ends sandboxes of sessions that are archived, removes those of sessions that are gone, has those parked in
    /// their time that sleep, and says which are needed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reconcile_sandboxes(&self) -> Result<Reconciled, StoreError> {
        let (deps, scope) = (self.deps(), Scope::System(SystemReason::Recovery));
        let unlisted = |why: String| {
            tracing::error!(%why, "sandboxes cannot be listed; those that no session needs stay");
            Vec::new()
        };
        // Before the store is asked: a session is there before its sandbox is.
        let kept = deps.sandboxes.list().await.unwrap_or_else(unlisted);
        let networks = self.networks();
        let living: HashSet<SessionId> = match deps.sandboxes.living().await {
            Ok(living) => {
                let living = living.into_iter().map(|one| one.session).collect();
                self.leave_networks(&networks, &living);
                living
            }
            Err(why) => {
                tracing::error!(%why, "living sandboxes cannot be listed; those that are archived or idle live on");
                HashSet::new()
            }
        };
        let mut done = Reconciled::default();
        let mut needed = Vec::new();
        for id in kept {
            let ended = match deps.store.session(&scope, &id).await? {
                None => deps.sandboxes.remove(&id).await,
                Some(row) if row.archived_at.is_some() && living.contains(&id) => deps.sandboxes.stop(&id).await,
                // Needed whether it was seen to live or not: to be told of one that does not does no harm.
                Some(row) => {
                    if living.contains(&id) {
                        self.park_in_time(&id);
                    }
                    if row.archived_at.is_none() {
                        needed.push(id);
                    }
                    continue;
                }
            };
            match ended {
                Ok(()) => {
                    done.ended += 1;
                    tracing::info!(session = %id, "ended what was left of a sandbox");
                }
                Err(why) => tracing::error!(session = %id, %why, "a sandbox that no session needs cannot be ended"),
            }
        }
        packages::needed::sweep(deps).await;
        done.needed = needed.len();
        let mut spare = deps.policy.spec(None);
        if deps.store.has_several_workspaces().await? {
            policy::for_several_workspaces(&mut spare);
        }
        if let Err(why) = deps.sandboxes.attend(needed, &spare).await {
            tracing::error!(%why, "the sandbox spawner does not hear which sandboxes are needed");
        }
        Ok(done)
    }

    /// The living sandboxes that the scope may see.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn sandboxes(&self, scope: &Scope) -> Result<Vec<Living>, RuntimeError> {
        let living = self.deps().sandboxes.living().await.map_err(RuntimeError::Sandboxes)?;
        let mut seen = Vec::new();
        for one in living {
            if self.deps().store.session(scope, &one.session).await?.is_some() {
                seen.push(one);
            }
        }
        Ok(seen)
    }

    /// An archive (tar) of the files of a session: `workspace/`, `home/`, `outputs/`, `uploads/`, `shell/`. A sandbox
    /// that is parked is started for it and ended again.
    ///
    /// # Errors
    /// When there is no such session in the scope, it has no files yet or too many, or its sandbox cannot be had.
    pub async fn archive_sandbox(&self, scope: &Scope, session: &SessionId) -> Result<File, RuntimeError> {
        let deps = self.deps();
        let Some(row) = deps.store.session(scope, session).await? else { return Err(RuntimeError::no_session(session.as_str())) };
        if !deps.sandboxes.list().await.map_err(RuntimeError::Sandboxes)?.contains(session) {
            return Err(Refusal::not_found(format!("the session {session} has had no sandbox yet, so it has no files")).into());
        }
        let whose = Whose { session: session.clone(), workspace: row.workspace, environment: row.environment_id };
        let spec = place::spec(deps, &whose).await.map_err(RuntimeError::Sandboxes)?;
        // What is packed may be changed meanwhile, which only takes others' turns for archives.
        let _place = deps.archives.take(&whose.workspace).await;
        let most = if spec.disk_bytes == 0 { limits::ARCHIVE_BYTES } else { spec.disk_bytes.saturating_mul(2).min(limits::ARCHIVE_BYTES) };
        let taken = tokio::time::timeout(limits::ARCHIVE, deps.sandboxes.snapshot(session, &spec, most)).await;
        let late = || format!("the archive was not made within {} seconds", limits::ARCHIVE.as_secs());
        taken.unwrap_or_else(|_| Err(late())).map_err(RuntimeError::Sandboxes)
    }

    /// Ends the sandbox of a session at once, whatever runs in it; the session's next call starts another
    /// with its files. What ran is told the model as *outcome unknown*.
    ///
    /// # Errors
    /// When there is no such session in the scope, or the sandbox does not end.
    pub async fn kill_sandbox(&self, scope: &Scope, session: &SessionId) -> Result<(), RuntimeError> {
        if self.deps().store.session(scope, session).await?.is_none() {
            return Err(RuntimeError::no_session(session.as_str()));
        }
        self.deps().sandboxes.stop(session).await.map_err(RuntimeError::Sandboxes)
    }
}
