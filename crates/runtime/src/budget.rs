//! The budget that the sessions of a workspace share: who waits for it goes on when there is room
//! again, because it was raised or because others needed less than they had set aside.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use ostler_core::cost::Cost;
use ostler_core::ids::{OrganizationId, SessionId, WorkspaceId};
use ostler_core::scope::{Principal, Scope, SystemReason, Tenant};
use ostler_core::session::step::Input;
use ostler_store::{StoreError, WorkspaceBudget};
use tokio::sync::Notify;

use crate::error::RuntimeError;
use crate::limits;
use crate::router::SessionRouter;

/// Workspaces whose budget refused somebody since this process started, and what was released there
/// since. Empty where nobody has a budget, so that a turn pays nothing for it.
#[derive(Debug, Default)]
pub(crate) struct CappedWorkspaces {
    known: Mutex<HashMap<WorkspaceId, Capped>>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Capped {
    organization: OrganizationId,
    /// The largest reservation that was given back since somebody looked.
    released: Cost,
}

impl CappedWorkspaces {
    /// The budget of this workspace refused a request.
    pub(crate) fn note(&self, organization: &OrganizationId, workspace: &WorkspaceId) {
        let capped = || Capped { organization: organization.clone(), released: Cost::ZERO };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(workspace.clone()).or_insert_with(capped);
    }

    /// There may be room for somebody who needs about this much: it was given back, or somebody just
    /// began to wait, who may have missed that.
    pub(crate) fn room(&self, workspace: &WorkspaceId, amount: Cost) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(capped) = known.get_mut(workspace) {
            capped.released = capped.released.max(amount);
            self.wake.notify_one();
        }
    }

    /// Where there may be room, and for how much.
    fn take(&self) -> Vec<(Scope, Cost)> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let some = known.iter_mut().filter(|(_, capped)| capped.released > Cost::ZERO);
        some.map(|(workspace, capped)| {
            let (organization, workspace) = (capped.organization.clone(), workspace.clone());
            (Scope::Tenant(Tenant { organization, workspace, principal: Principal::System }), std::mem::take(&mut capped.released))
        })
        .collect()
    }
}

impl SessionRouter {
    /// The budget that the tenant's sessions share.
    pub async fn budget(&self, scope: &Scope) -> Result<WorkspaceBudget, RuntimeError> {
        Ok(self.deps().store.workspace_budget(scope).await?)
    }

    /// Sets or removes the most that the tenant's sessions may spend together. Sessions that waited
    /// for it go on by themselves.
    pub async fn set_budget(&self, scope: &Scope, cap: Option<Cost>) -> Result<WorkspaceBudget, RuntimeError> {
        let budget = self.deps().store.set_workspace_cap(scope, cap).await?;
        if let Scope::Tenant(Tenant { organization, workspace, .. }) = scope {
            self.deps().capped.note(organization, workspace);
            self.deps().capped.room(workspace, Cost(1));
        }
        Ok(budget)
    }

    /// Lets sessions that wait for a shared budget go on as room appears; ends with the server.
    /// Begins with those that waited when the last process ended.
    pub async fn watch_budgets(self) {
        match self.deps().store.capped_workspaces(&Scope::System(SystemReason::Recovery)).await {
            Ok(waiting) => waiting.iter().for_each(|(organization, workspace)| {
                self.deps().capped.note(organization, workspace);
                self.deps().capped.room(workspace, Cost(1));
            }),
            Err(error) => tracing::error!(%error, "sessions that wait for budget go on only when it is raised"),
        }
        let wake = Arc::clone(&self.deps().capped.wake);
        loop {
            tokio::select! {
                () = self.deps().stopping.cancelled() => return,
                () = wake.notified() => {}
            }
            for (scope, amount) in self.deps().capped.take() {
                tokio::spawn(self.clone().let_in(scope, amount));
            }
        }
    }

    /// Lets in who waits while there is room, a few at a time, as many as there is room for judged by
    /// what one of them needs. Each is asked once: some wait for more than this.
    async fn let_in(self, scope: Scope, amount: Cost) {
        let mut asked = HashSet::new();
        loop {
            match self.next_in(&scope, amount, &asked).await {
                Ok(next) if next.is_empty() => return,
                Ok(next) => {
                    let told = next.iter().map(|session| self.ask(&scope, session, Input::SharedBudgetRaised));
                    for (session, outcome) in next.iter().zip(futures::future::join_all(told).await) {
                        if let Err(error) = outcome {
                            tracing::warn!(%session, %error, "a session that waited for budget cannot go on");
                        }
                    }
                    asked.extend(next);
                }
                Err(error) => {
                    tracing::warn!(%error, "sessions that wait for budget cannot be looked for; trying again");
                    tokio::select! {
                        () = self.deps().stopping.cancelled() => return,
                        () = tokio::time::sleep(limits::STORE_RETRY) => {}
                    }
                }
            }
        }
    }

    async fn next_in(&self, scope: &Scope, amount: Cost, asked: &HashSet<SessionId>) -> Result<Vec<SessionId>, StoreError> {
        let store = &self.deps().store;
        let budget = store.workspace_budget(scope).await?;
        if !has_room(&budget) {
            return Ok(Vec::new());
        }
        let room = budget.cap.map_or(u64::MAX, |cap| cap.minus(budget.spent).minus(budget.reserved).0 / amount.0.max(1));
        let count = usize::try_from(room).unwrap_or(usize::MAX).clamp(1, limits::LET_IN_AT_ONCE);
        let waiting = store.capped_sessions(scope).await?;
        Ok(waiting.into_iter().filter(|session| !asked.contains(session)).take(count).collect())
    }
}

fn has_room(budget: &WorkspaceBudget) -> bool {
    budget.cap.is_none_or(|cap| budget.spent.plus(budget.reserved) < cap)
}
