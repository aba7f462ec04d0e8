//! Sessions to be: with their first batch on disk, and awake if they have work.

use std::collections::BTreeMap;
use std::sync::Arc;

use ostler_core::cost::Cost;
use ostler_core::error::Refusal;
use ostler_core::ids::{SessionId, ThreadId};
use ostler_core::scope::Scope;
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::record::RecordBody;
use ostler_core::session::step::{self, SharedBudget};
use ostler_store::{SessionRow, StoreError};

use super::{NewSession, SessionRouter};
use crate::error::RuntimeError;
use crate::session::actor::Begin;
use crate::session::batch::{batch, json};
use crate::session::request::{offered, plan};

impl SessionRouter {
    /// Creates a session and starts it if it comes with messages. It is on disk when this returns.
    pub async fn create(&self, scope: &Scope, new: NewSession) -> Result<SessionRow, RuntimeError> {
        let (router, scope) = (self.clone(), scope.clone());
        self.whole(async move { router.create_whole(&scope, new).await }).await
    }

    async fn create_whole(&self, scope: &Scope, new: NewSession) -> Result<SessionRow, RuntimeError> {
        let deps = self.deps();
        let Scope::Tenant(tenant) = scope else { return Err(StoreError::OutOfScope("a session belongs to a workspace").into()) };
        if deps.stopping.is_cancelled() {
            return Err(RuntimeError::Stopping);
        }
        if !new.events.is_empty() {
            self.check_disk()?;
        }
        let mut ids = deps.ambient.ids();
        let (id, agent) = (SessionId::mint(&mut ids), Arc::new(new.agent));
        let plan = plan(&agent, &offered(&agent, &BTreeMap::new(), deps), &deps.models, deps.max_output_tokens);
        if new.budget.is_some() && plan.dearest().is_none() {
            return Err(not_budgetable(&agent.model.id, &plan).into());
        }
        let created = RecordBody::Created {
            thread: ThreadId::mint(&mut ids),
            agent: Arc::clone(&agent),
            title: new.title.clone(),
            metadata: new.metadata,
            budget: new.budget,
            vaults: new.vaults,
        };
        let mut shared_budget = SharedBudget::Open;
        let row = loop {
            let now = deps.ambient.step(&plan, shared_budget);
            let first = step::create(created.clone(), new.events.clone(), &scope.principal(), now)?;
            let batch = batch(&id, 0, 0, &first.records, None, &first.state)?;
            let row = SessionRow {
                id: id.clone(),
                organization: tenant.organization.clone(),
                workspace: tenant.workspace.clone(),
                agent_id: agent.id.clone(),
                agent_version: agent.version,
                environment_id: new.environment_id.clone(),
                deployment_id: None,
                status: batch.row.status.clone(),
                title: new.title.clone(),
                agent: json(agent.as_ref())?,
                view: batch.row.view.clone().unwrap_or_default(),
                created_at: now.at,
                updated_at: now.at,
                archived_at: None,
                epoch: deps.epoch,
                last_seq: batch.last_seq(),
                last_position: batch.events.len() as u64,
                unfinished: batch.row.unfinished,
                recoveries: 0,
            };
            match deps.store.create_session(scope, deps.epoch, &row, &batch).await {
                Ok(()) => {
                    if batch.row.capped {
                        deps.capped.room(&tenant.workspace, Cost(1));
                    }
                    break row;
                }
                Err(StoreError::CapReached) if shared_budget == SharedBudget::Open => shared_budget = SharedBudget::Reached,
                Err(StoreError::CapNeedsPrice) if shared_budget == SharedBudget::Open => shared_budget = SharedBudget::Unpriced,
                Err(error) => return Err(error.into()),
            }
            deps.capped.note(&tenant.organization, &tenant.workspace);
        };
        if row.unfinished {
            self.wake(&row, Begin::Created);
        }
        Ok(row)
    }
}

fn not_budgetable(model: &str, plan: &ModelPlan) -> Refusal {
    let why = plan.problem.clone().unwrap_or_else(|| {
        let unpriced: Vec<String> =
            plan.targets.iter().filter(|target| target.price.is_none()).map(|target| target.at.to_string()).collect();
        format!("the price of {} is not known; add it to the server's configuration under [prices]", unpriced.join(" and "))
    });
    Refusal::invalid(format!("budget: the model {model:?} cannot have one: {why} (model_not_budgetable)")).with_code("model_not_budgetable")
}
