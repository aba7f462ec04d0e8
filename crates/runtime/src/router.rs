//! Finds the actor of a session, or wakes it, and brings it commands. Commands of one session are
//! worked on one after the other; sessions do not wait for each other.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ostler_core::cost::Cost;
use ostler_core::error::Refusal;
use ostler_core::events::client::ClientEvent;
use ostler_core::events::wire::Event;
use ostler_core::ids::{EnvironmentId, EventId, SessionId, ThreadId, VaultId, WorkspaceId};
use ostler_core::limits::DEATHS_BEFORE_SET_ASIDE;
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::environment::EnvironmentBody;
use ostler_core::resources::metadata::Metadata;
use ostler_core::resources::session::{SessionAgent, SessionUpdateParams};
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::record::RecordBody;
use ostler_core::session::step::{self, Input, SharedBudget};
pub use ostler_models::ListedModel;
use ostler_models::Models;
use ostler_store::{Epoch, OpenWork, SessionDeletion, SessionRow, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ambient::Ambient;
use crate::budget::CappedWorkspaces;
use crate::confirmations::Asking;
use crate::egress::Egress;
use crate::error::RuntimeError;
use crate::limits;
use crate::mcp::McpLinks;
use crate::network::Networks;
use crate::network_log;
use crate::parking::{Rest, Sleeps};
use crate::policy::SandboxPolicy;
use crate::recovery::LastEnd;
use crate::sandbox::SandboxBackend;
use crate::session::actor::{Actor, Answer, Begin, Exit, Message, is_passing, needs_work};
use crate::session::batch::{batch, json};
use crate::session::deps::Deps;
use crate::session::load::load;
use crate::session::request::{offered, plan};
use crate::subscribe::{Follower, Hub, Previews, StartAt};
use crate::turns::Turns;
use crate::web::{Engine, Web};

/// What a router is made of.
#[derive(Debug)]
pub struct RouterConfig {
    /// Where everything durable is.
    pub store: Arc<dyn Store>,
    /// This start of the process.
    pub epoch: Epoch,
    /// Who answers.
    pub models: Arc<Models>,
    /// Who isolates.
    pub sandboxes: Arc<dyn SandboxBackend>,
    /// The way out of sandboxes, and the one that opens secrets.
    pub egress: Arc<dyn Egress>,
    /// Time and chance.
    pub ambient: Ambient,
    /// The most tokens of one answer.
    pub max_output_tokens: u32,
    /// How the last process ended.
    pub last: LastEnd,
    /// What happens to sessions that have nothing to do.
    pub rest: Rest,
    /// What sandboxes get.
    pub policy: SandboxPolicy,
    /// Who is asked when something is searched.
    pub search: Option<Engine>,
}

/// A session to be.
#[derive(Debug)]
pub struct NewSession {
    /// Its copy of the agent.
    pub agent: SessionAgent,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// Its title.
    pub title: Option<String>,
    /// Its key-value pairs.
    pub metadata: Metadata,
    /// Whose credentials it may use, the first first.
    pub vaults: Vec<VaultId>,
    /// The most that it may cost.
    pub budget: Option<BudgetLimit>,
    /// Messages that start it at once.
    pub events: Vec<ClientEvent>,
}

/// What can be asked of a session.
#[derive(Debug)]
pub enum Command {
    /// Take these events; all or nothing.
    Send(Vec<ClientEvent>),
    /// Change title, metadata or, while idle, tools.
    Update(Box<SessionUpdateParams>),
    /// End; refused while it runs.
    Archive,
    /// Go on, after having been set aside.
    Retry,
}

/// What a command came to.
#[derive(Debug)]
pub struct Reply {
    /// The client's events with their ids.
    pub echo: Vec<Event>,
    /// The session's row afterwards; not for events that were sent.
    pub row: Option<SessionRow>,
}

#[derive(Debug, Clone)]
struct Handle {
    workspace: WorkspaceId,
    inbox: mpsc::Sender<Message>,
}

#[derive(Debug, Default)]
pub(crate) struct Maps {
    actors: HashMap<SessionId, Handle>,
    hubs: HashMap<SessionId, Weak<Hub>>,
    /// Of sessions that sleep beside a living sandbox.
    pub(crate) sleeps: Sleeps,
}

impl Maps {
    pub(crate) fn is_awake(&self, session: &SessionId) -> bool {
        self.actors.contains_key(session)
    }
}

#[derive(Debug)]
struct Shared {
    deps: Arc<Deps>,
    maps: Mutex<Maps>,
}

/// The way to every session of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionRouter {
    shared: Arc<Shared>,
}

impl SessionRouter {
    /// A router without any session awake.
    pub fn new(config: RouterConfig) -> Self {
        let deps = Arc::new(Deps {
            store: config.store,
            epoch: config.epoch,
            models: config.models,
            capped: CappedWorkspaces::default(),
            sandboxes: config.sandboxes,
            egress: config.egress,
            networks: Networks::default(),
            sealing: tokio::sync::RwLock::default(),
            work: TaskTracker::new(),
            mcp: McpLinks::default(),
            asking: Asking::default(),
            ambient: config.ambient,
            max_output_tokens: config.max_output_tokens,
            last: config.last,
            rest: config.rest,
            policy: config.policy,
            starts: Turns::new(limits::SANDBOX_STARTS),
            packages: crate::packages::Builds::default(),
            archives: Turns::new(limits::ARCHIVES),
            web: Web::new(config.search),
            stopping: CancellationToken::new(),
        });
        Self { shared: Arc::new(Shared { deps, maps: Mutex::default() }) }
    }

    /// The models that agents can name.
    pub async fn list_models(&self) -> Vec<ListedModel> {
        self.shared.deps.models.list().await
    }

    /// The way out of sandboxes, and the one that opens secrets.
    pub fn egress(&self) -> &Arc<dyn Egress> {
        &self.shared.deps.egress
    }

    /// Whether this server allows what an environment asks of its sandboxes.
    ///
    /// # Errors
    /// Which setting is too much, and how much there may be.
    pub fn check_environment(&self, body: &EnvironmentBody) -> Result<(), Refusal> {
        let policy = &self.deps().policy;
        body.sandbox.as_ref().map_or(Ok(()), |asked| policy.check(asked))?;
        body.egress.as_ref().map_or(Ok(()), |asked| policy.check_egress(asked))
    }

    pub(crate) fn deps(&self) -> &Arc<Deps> {
        &self.shared.deps
    }

    pub(crate) fn maps(&self) -> MutexGuard<'_, Maps> {
        self.shared.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.deps.work
    }

    /// Runs to its end what must not stop half-way because the client went away.
    pub(crate) async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RuntimeError>> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.tasks().spawn(work).await.unwrap_or(Err(RuntimeError::SessionFailed))
    }

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

    /// Brings a command to a session. Its effect is on disk when this returns.
    pub async fn submit(&self, scope: &Scope, session: &SessionId, command: Command) -> Result<Reply, RuntimeError> {
        if matches!(&command, Command::Send(events) if events.iter().any(|event| matches!(event, ClientEvent::UserMessage { .. }))) {
            self.check_disk()?;
        }
        let sends = matches!(command, Command::Send(_));
        let input = match command {
            Command::Send(events) => Input::Send { events, principal: scope.principal() },
            Command::Update(params) => Input::Update(params),
            Command::Archive => Input::Archive,
            Command::Retry => Input::Retry { principal: scope.principal() },
        };
        let answer =
            tokio::time::timeout(limits::COMMAND_TIMEOUT, self.ask(scope, session, input)).await.map_err(|_| RuntimeError::TimedOut)??;
        if sends {
            return Ok(Reply { echo: answer.echo, row: None });
        }
        // The command took effect: an error that invites to repeat it would be wrong now.
        let row = self.deps().store.session(scope, session).await.map_err(|_| RuntimeError::SessionFailed)?;
        Ok(Reply { echo: answer.echo, row: Some(row.ok_or_else(|| RuntimeError::no_session(session.as_str()))?) })
    }

    pub(crate) async fn ask(&self, scope: &Scope, session: &SessionId, input: Input) -> Result<Answer, RuntimeError> {
        let (reply, answer) = oneshot::channel();
        let mut message = Message { input, reply };
        loop {
            let handle = self.handle(scope, session).await?;
            // An actor that went to sleep in this moment took nothing; it is woken again.
            match handle.inbox.send(message).await {
                Ok(()) => break,
                Err(mpsc::error::SendError(back)) => message = back,
            }
            self.drop_handle(session, &handle);
        }
        answer.await.unwrap_or(Err(if self.deps().stopping.is_cancelled() { RuntimeError::Stopping } else { RuntimeError::SessionFailed }))
    }

    /// The way to a session's actor, awake afterwards. Foreign sessions are not found.
    async fn handle(&self, scope: &Scope, session: &SessionId) -> Result<Handle, RuntimeError> {
        if self.deps().stopping.is_cancelled() {
            return Err(RuntimeError::Stopping);
        }
        let known = self.maps().actors.get(session).cloned();
        if let Some(handle) = known {
            return match scope.workspace() {
                Some(workspace) if *workspace != handle.workspace => Err(RuntimeError::no_session(session.as_str())),
                _ => Ok(handle),
            };
        }
        let row = self.deps().store.session(scope, session).await?.ok_or_else(|| RuntimeError::no_session(session.as_str()))?;
        // A session that was left in the middle is counted before it is taken up, also when a client is
        // quicker than the recovery.
        let deaths =
            if needs_work(&row) && self.deps().last == LastEnd::Crash { self.deps().store.note_recovery(scope, session).await? } else { 0 };
        Ok(self.wake(&row, Begin::TakenUp { deaths, permit: None }))
    }

    /// Starts the actor of a session unless it is awake.
    fn wake(&self, row: &SessionRow, begin: Begin) -> Handle {
        let mut maps = self.maps();
        if let Some(handle) = maps.actors.get(&row.id) {
            return handle.clone();
        }
        let (inbox, receiver) = mpsc::channel(limits::SESSION_INBOX);
        let handle = Handle { workspace: row.workspace.clone(), inbox };
        maps.actors.insert(row.id.clone(), handle.clone());
        maps.sleeps.woke(&row.id);
        let hub = hub(&mut maps, &row.id);
        drop(maps);
        let (router, id, mine) = (self.clone(), row.id.clone(), handle.clone());
        self.tasks().spawn(async move { router.keep(id, hub, mine, receiver, begin).await });
        handle
    }

    /// Runs an actor to its end, and takes the session up again if it died.
    async fn keep(self, id: SessionId, hub: Arc<Hub>, handle: Handle, mut inbox: mpsc::Receiver<Message>, begin: Begin) {
        let (deps, session) = (Arc::clone(self.deps()), id.clone());
        let life = tokio::spawn(async move {
            let loaded = match load(&deps, &session).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => return (Exit::NotOurs, refuse_all(&mut inbox, &RuntimeError::no_session(session.as_str()))),
                Err(error) => {
                    tracing::error!(%session, %error, "a session cannot be read");
                    let exit = if is_passing(&error) { Exit::Unreadable } else { Exit::Asleep { leaves_sandbox: false } };
                    return (exit, refuse_all(&mut inbox, &RuntimeError::Store(error)));
                }
            };
            let exit = Actor::new(deps, hub, loaded).run(&mut inbox, begin).await;
            inbox.close();
            (exit, inbox)
        });
        let ended = life.await;
        self.drop_handle(&id, &handle);
        match ended {
            Ok((Exit::Stopping, _)) => {}
            Ok((exit, mut inbox)) => {
                self.hand_over(&id, &mut inbox).await;
                match exit {
                    Exit::NotOurs => self.clean_up(&id).await,
                    Exit::Unreadable => self.again_later(&id).await,
                    Exit::Failed => self.take_up(&id, None, true).await,
                    Exit::Asleep { leaves_sandbox: true } => self.park_later(&id),
                    Exit::Asleep { .. } | Exit::Stopping => {}
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(session = %id, "a session died and is taken up again");
                self.take_up(&id, None, true).await;
            }
            Err(_) => {}
        }
    }

    /// The store could not give the session just now.
    async fn again_later(&self, id: &SessionId) {
        tokio::select! {
            () = self.deps().stopping.cancelled() => {}
            () = tokio::time::sleep(limits::STORE_RETRY) => self.take_up(id, None, false).await,
        }
    }

    /// The store says that the session is not where its actor left it. If it was deleted, a sandbox
    /// may have been started meanwhile. If it is still ours, a commit landed that was reported as
    /// failed: the journal is right, and is read again.
    async fn clean_up(&self, id: &SessionId) {
        let (scope, deps) = (Scope::System(SystemReason::Recovery), self.deps());
        match deps.store.session(&scope, id).await {
            Ok(Some(row)) if row.epoch == deps.epoch => self.take_up(id, None, true).await,
            Ok(None) => {
                if let Err(why) = deps.sandboxes.remove(id).await {
                    tracing::error!(session = %id, %why, "the sandbox of a deleted session cannot be removed");
                }
            }
            Ok(Some(_)) => {}
            Err(_) => self.again_later(id).await,
        }
    }

    /// Messages that came while the actor went to sleep go to the next one.
    async fn hand_over(&self, id: &SessionId, inbox: &mut mpsc::Receiver<Message>) {
        while let Some(message) = inbox.recv().await {
            let scope = Scope::System(SystemReason::Recovery);
            match self.handle(&scope, id).await {
                Ok(handle) => {
                    let _ = handle.inbox.send(message).await;
                }
                Err(error) => {
                    let _ = message.reply.send(Err(error));
                }
            }
        }
    }

    /// Takes a session up that a process or an actor left in the middle of its work. After a death
    /// the attempt is counted on disk before it starts.
    pub(crate) async fn take_up(&self, id: &SessionId, permit: Option<tokio::sync::OwnedSemaphorePermit>, after_death: bool) {
        let scope = Scope::System(SystemReason::Recovery);
        let store = &self.deps().store;
        loop {
            let noted = async {
                let deaths = if after_death { store.note_recovery(&scope, id).await? } else { 0 };
                Ok::<_, StoreError>((deaths, store.session(&scope, id).await?))
            };
            match noted.await {
                // Even setting it aside failed: it is left alone until somebody asks for it.
                Ok((deaths, _)) if deaths > DEATHS_BEFORE_SET_ASIDE + 1 => {
                    tracing::error!(session = %id, deaths, "a session dies whatever is done; it is left alone");
                    return;
                }
                Ok((deaths, Some(row))) if needs_work(&row) => {
                    self.wake(&row, Begin::TakenUp { deaths, permit });
                    return;
                }
                Ok(_) | Err(StoreError::NotFound) => return,
                Err(error) if is_passing(&error) => {
                    tracing::error!(session = %id, %error, "a session cannot be taken up; trying again");
                    tokio::select! {
                        () = self.deps().stopping.cancelled() => return,
                        () = tokio::time::sleep(limits::STORE_RETRY) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(session = %id, %error, "a session cannot be taken up");
                    return;
                }
            }
        }
    }

    fn drop_handle(&self, id: &SessionId, handle: &Handle) {
        let mut maps = self.maps();
        if maps.actors.get(id).is_some_and(|known| known.inbox.same_channel(&handle.inbox)) {
            maps.actors.remove(id);
        }
        maps.hubs.retain(|_, hub| hub.strong_count() > 0);
    }

    /// Deletes a session with all that hangs on it; refused while it runs.
    pub async fn delete(&self, scope: &Scope, session: &SessionId) -> Result<(), RuntimeError> {
        let (router, scope, session) = (self.clone(), scope.clone(), session.clone());
        self.whole(async move { router.delete_whole(&scope, &session).await }).await
    }

    async fn delete_whole(&self, scope: &Scope, session: &SessionId) -> Result<(), RuntimeError> {
        let deps = self.deps();
        match deps.store.delete_session(scope, deps.epoch, session, deps.ambient.now(), OpenWork::Kept).await? {
            SessionDeletion::Deleted => {}
            SessionDeletion::NotFound => return Err(RuntimeError::no_session(session.as_str())),
            SessionDeletion::Unfinished if self.is_unreadable(session).await => {
                deps.store.delete_session(scope, deps.epoch, session, deps.ambient.now(), OpenWork::Deleted).await?;
            }
            SessionDeletion::Unfinished => {
                return Err(Refusal::invalid("the session is running; send user.interrupt and wait until it is idle").into());
            }
        }
        let hub = hub(&mut self.maps(), session);
        hub.deleted(EventId::mint(&mut deps.ambient.ids()), deps.ambient.now());
        self.maps().actors.remove(session);
        // The session is gone whatever comes of this; what is left over goes at the next start.
        if let Err(why) = deps.sandboxes.remove(session).await {
            tracing::error!(%session, %why, "the sandbox of a deleted session cannot be removed now");
        }
        Ok(())
    }

    /// Whether nobody can ever end the work of this session, because its journal cannot be read.
    async fn is_unreadable(&self, session: &SessionId) -> bool {
        let awake = self.maps().actors.contains_key(session);
        !awake && matches!(load(self.deps(), session).await, Err(StoreError::Corrupt(_)))
    }

    /// Follows a session from a position on, or from now on.
    pub async fn follow(&self, scope: &Scope, session: &SessionId, from: StartAt, previews: Previews) -> Result<Follower, RuntimeError> {
        let missing = || RuntimeError::no_session(session.as_str());
        if self.deps().store.last_position(scope, session).await?.is_none() {
            return Err(missing());
        }
        let hub = hub(&mut self.maps(), session);
        let mut follower = Follower::new(Arc::clone(&self.deps().store), scope.clone(), session.clone(), hub, previews);
        // Read again, now that nothing can be missed.
        let last = self.deps().store.last_position(scope, session).await?.ok_or_else(missing)?;
        match from {
            StartAt::Now => follower.start(last, false),
            StartAt::After(position) => follower.start(position.min(last), position < last),
        }
        Ok(follower)
    }

    fn check_disk(&self) -> Result<(), RuntimeError> {
        let free = self.deps().store.space().free_bytes;
        if free >= limits::DISK_RESERVE_BYTES {
            return Ok(());
        }
        let message = format!(
            "the disk of the data directory has {} MiB left, below the reserve of {} MiB; free some space, then send again",
            free >> 20,
            limits::DISK_RESERVE_BYTES >> 20
        );
        Err(Refusal::unavailable(message).into())
    }

    /// Sessions that are awake.
    pub fn awake(&self) -> usize {
        self.maps().actors.len()
    }

    /// Takes no more commands and lets actors write what they have. What they have under way is
    /// taken up at the next start.
    pub async fn stop(&self) {
        self.deps().stopping.cancel();
        self.tasks().close();
        if tokio::time::timeout(limits::DRAIN, self.tasks().wait()).await.is_err() {
            tracing::warn!("some sessions did not stop in time; they are taken up at the next start");
        }
        if self.shared.deps.egress.serves_sandboxes() {
            let _ = tokio::time::timeout(limits::NETWORK_LAST, network_log::collect(&self.shared.deps)).await;
        }
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

fn hub(maps: &mut Maps, id: &SessionId) -> Arc<Hub> {
    if let Some(hub) = maps.hubs.get(id).and_then(Weak::upgrade) {
        return hub;
    }
    let hub = Arc::new(Hub::default());
    maps.hubs.insert(id.clone(), Arc::downgrade(&hub));
    hub
}

/// Answers everything that waits and closes the inbox.
fn refuse_all(inbox: &mut mpsc::Receiver<Message>, error: &RuntimeError) -> mpsc::Receiver<Message> {
    inbox.close();
    while let Ok(message) = inbox.try_recv() {
        let _ = message.reply.send(Err(error.clone()));
    }
    let (_, empty) = mpsc::channel(1);
    std::mem::replace(inbox, empty)
}
