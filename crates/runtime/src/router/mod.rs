//! Finds the actor of a session, or wakes it, and brings it commands. Commands of one session are
//! worked on one after the other; sessions do not wait for each other.

mod create;
mod delete;
mod life;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ostler_core::error::Refusal;
use ostler_core::events::client::ClientEvent;
use ostler_core::events::wire::Event;
use ostler_core::ids::{EnvironmentId, SessionId, VaultId, WorkspaceId};
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::environment::EnvironmentBody;
use ostler_core::resources::metadata::Metadata;
use ostler_core::resources::session::{SessionAgent, SessionUpdateParams};
use ostler_core::scope::Scope;
use ostler_core::session::step::Input;
pub use ostler_models::ListedModel;
use ostler_models::Models;
use ostler_store::{Epoch, SessionRow, Store};
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
use crate::session::actor::{Answer, Begin, Message, needs_work};
use crate::session::deps::Deps;
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

fn hub(maps: &mut Maps, id: &SessionId) -> Arc<Hub> {
    if let Some(hub) = maps.hubs.get(id).and_then(Weak::upgrade) {
        return hub;
    }
    let hub = Arc::new(Hub::default());
    maps.hubs.insert(id.clone(), Arc::downgrade(&hub));
    hub
}
