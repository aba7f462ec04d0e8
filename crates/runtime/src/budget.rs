//! The budget that the sessions of a workspace share: who waits for it goes on when there is room
//! again, because it was raised or because others needed less than they had set aside.

use std::collections::HashMap;
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
        if has_room(&budget) {
            let waiting = self.deps().store.capped_sessions(scope).await?;
            self.go_on(scope.clone(), waiting);
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
                if let Err(error) = self.let_in(scope, amount).await {
                    tracing::warn!(%error, "sessions that wait for budget cannot be looked for");
                }
            }
        }
    }

    /// As many as there is room for, judged by what one of them needs.
    async fn let_in(&self, scope: Scope, amount: Cost) -> Result<(), StoreError> {
        let store = &self.deps().store;
        let budget = store.workspace_budget(&scope).await?;
        if !has_room(&budget) {
            return Ok(());
        }
        let waiting = store.capped_sessions(&scope).await?;
        let room = budget.cap.map_or(u64::MAX, |cap| cap.minus(budget.spent).minus(budget.reserved).0 / amount.0.max(1));
        let count = usize::try_from(room).unwrap_or(usize::MAX).clamp(1, limits::LET_IN_AT_ONCE);
        self.go_on(scope, waiting.into_iter().take(count).collect());
        Ok(())
    }

    /// Tells sessions that there is room; those that wait for their own budget know better.
    fn go_on(&self, scope: Scope, sessions: Vec<SessionId>) {
        let router = self.clone();
        tokio::spawn(async move {
            for session in sessions {
                if let Err(error) = router.ask(&scope, &session, Input::SharedBudgetRaised).await {
                    tracing::warn!(%session, %error, "a session that waited for budget cannot go on");
                }
            }
        });
    }
}

fn has_room(budget: &WorkspaceBudget) -> bool {
    budget.cap.is_none_or(|cap| budget.spent.plus(budget.reserved) < cap)
}
