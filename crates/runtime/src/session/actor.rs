//! The actor of one session: the only place that owns its state, and the only `select!`.
//!
//! Input -> step -> commit -> fold in, tell followers, start effects. In this order: nothing
//! starts and nobody is told before the records are on disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ostler_core::call::CallEnd;
use ostler_core::cost::Cost;
use ostler_core::error::Refusal;
use ostler_core::events::wire::Event;
use ostler_core::ids::{EffectId, EnvironmentId, EventId, IncarnationId, OrganizationId, SessionId, WorkspaceId};
use ostler_core::model::ToolSpec;
use ostler_core::resources::web::WEB_FETCH;
use ostler_core::session::calls::Place;
use ostler_core::session::context::Context;
use ostler_core::session::effect::{self, Effect};
use ostler_core::session::plan::ModelPlan;
use ostler_core::session::record::RecordBody;
use ostler_core::session::state::{Phase, SNAPSHOT_VERSION, State};
use ostler_core::session::step::{Input, SharedBudget, Step, step};
use ostler_store::{SessionRow, Snapshot, StoreError};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch::{batch, json};
use super::deps::Deps;
use super::effects::{self, Dispatch, Question};
use super::load::Loaded;
use super::place::{self, Ahead, Link, Whose};
use super::remote;
use super::request::{offered, plan, request};
use crate::error::RuntimeError;
use crate::fault::{self, Point};
use crate::limits;
use crate::mcp::User;
use crate::network;
use crate::subscribe::Hub;
use crate::web::Behalf;

/// A command, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) input: Input,
    pub(crate) reply: oneshot::Sender<Result<Answer, RuntimeError>>,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) echo: Vec<Event>,
}

/// Why an input came to nothing.
#[derive(Debug)]
enum Untaken {
    /// It makes no sense.
    Refused(Refusal),
    /// What it comes to could not be written.
    Unwritten(StoreError),
}

/// Why an actor ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nothing is to be done for it.
    Asleep {
        /// Whether its sandbox lives on.
        leaves_sandbox: bool,
    },
    /// Another epoch owns the session, or it is deleted, or the journal is not where it was left.
    NotOurs,
    /// What has to be written cannot be.
    Failed,
    /// The store could not give it just now.
    Unreadable,
    /// The server stops.
    Stopping,
}

#[derive(Debug)]
pub(crate) struct Actor {
    deps: Arc<Deps>,
    id: SessionId,
    organization: OrganizationId,
    workspace: WorkspaceId,
    environment: EnvironmentId,
    hub: Arc<Hub>,
    state: State,
    /// The tools of the agent, and what the configuration offers for its model.
    offered: Arc<[ToolSpec]>,
    plan: ModelPlan,
    context: Context,
    seq: u64,
    position: u64,
    snapshot_seq: u64,
    link: Link,
    /// How to give up what is under way.
    models: HashMap<EffectId, CancellationToken>,
    calls: HashMap<EventId, CancellationToken>,
    /// A sandbox is being started; a second one would end the first.
    starting: bool,
    /// MCP servers that are being asked for their tools.
    listing: HashSet<(String, String)>,
    results: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    /// Held by a session that was taken up after a restart, until it got on.
    permit: Option<OwnedSemaphorePermit>,
}

impl Actor {
    pub(crate) fn new(deps: Arc<Deps>, hub: Arc<Hub>, loaded: Loaded) -> Self {
        hub.wake(loaded.row.last_position);
        let offered = offered(&loaded.state.agent, &loaded.state.mcp, &deps);
        let plan = plan(&loaded.state.agent, &offered, &deps.models, deps.max_output_tokens);
        Self {
            deps,
            id: loaded.row.id,
            organization: loaded.row.organization,
            workspace: loaded.row.workspace,
            environment: loaded.row.environment_id,
            offered,
            plan,
            hub,
            state: loaded.state,
            context: loaded.context,
            seq: loaded.row.last_seq,
            position: loaded.row.last_position,
            snapshot_seq: loaded.snapshot_seq,
            link: Link::default(),
            models: HashMap::new(),
            calls: HashMap::new(),
            starting: false,
            listing: HashSet::new(),
            results: mpsc::channel(limits::SESSION_RESULTS),
            permit: None,
        }
    }

    /// Works until nothing is to be done for a while.
    pub(crate) async fn run(mut self, inbox: &mut mpsc::Receiver<Message>, begin: Begin) -> Exit {
        let first = match begin {
            Begin::TakenUp { deaths, permit } if deaths > ostler_core::limits::DEATHS_BEFORE_SET_ASIDE => {
                drop(permit);
                Some(Input::SetAside { deaths: deaths - 1 })
            }
            Begin::TakenUp { permit, .. } => {
                self.permit = permit;
                Some(Input::Recovered)
            }
            Begin::Created => {
                for effect in effect::outstanding(&self.state) {
                    self.start(effect, true);
                }
                None
            }
        };
        if let Some(input) = first
            && let Err(exit) = self.happened(input).await
        {
            return exit;
        }
        loop {
            if self.is_idle() {
                place::drop_ahead(&self.deps, &self.id, &self.link);
            }
            let asleep = self.is_idle().then(|| tokio::time::sleep(self.deps.rest.awake));
            let stopping = self.deps.stopping.clone();
            let next = tokio::select! {
                biased;
                () = stopping.cancelled() => return Exit::Stopping,
                Some(input) = self.results.1.recv() => self.happened(input).await,
                message = inbox.recv() => match message {
                    Some(message) => self.command(message).await,
                    None => return self.asleep(),
                },
                () = async { match asleep { Some(sleep) => sleep.await, None => std::future::pending().await } } => Err(self.asleep()),
            };
            if let Err(exit) = next {
                return exit;
            }
        }
    }

    fn whose(&self) -> Whose {
        Whose { session: self.id.clone(), workspace: self.workspace.clone(), environment: self.environment.clone() }
    }

    fn asleep(&self) -> Exit {
        Exit::Asleep { leaves_sandbox: self.state.sandbox.is_some() }
    }

    fn is_idle(&self) -> bool {
        self.models.is_empty() && self.calls.is_empty() && !self.starting && !self.state.is_unfinished()
    }

    async fn command(&mut self, message: Message) -> Result<(), Exit> {
        let recovers = matches!(message.input, Input::Retry { .. });
        let is_park = matches!(message.input, Input::Park);
        let parked = self.state.sandbox.clone();
        let taken = self.take(&message.input).await;
        // One that no record names was started ahead by a server that died.
        if is_park && taken.is_ok() && self.state.sandbox.is_none() && self.is_idle() {
            self.park(parked.as_ref()).await;
        }
        fault::point(Point::BeforeReply);
        let (answer, step, next) = match taken {
            Ok(step) => (Ok(Answer { echo: step.echo.clone() }), Some(step), Ok(())),
            Err(Untaken::Refused(refusal)) => (Err(RuntimeError::Refused(refusal)), None, Ok(())),
            Err(Untaken::Unwritten(StoreError::Stale | StoreError::NotFound)) => {
                (Err(RuntimeError::no_session(self.id.as_str())), None, Err(Exit::NotOurs))
            }
            Err(Untaken::Unwritten(error)) => (Err(RuntimeError::Store(error)), None, Ok(())),
        };
        let _ = message.reply.send(answer);
        if let Some(step) = step {
            self.follow_up(step, !recovers).await;
        }
        next
    }

    /// Decides what an input comes to and writes it. What a shared budget does not admit is decided
    /// again, with the knowledge that it does not.
    async fn take(&mut self, input: &Input) -> Result<Step, Untaken> {
        let mut shared_budget = SharedBudget::Open;
        loop {
            let now = self.deps.ambient.step(&self.plan, shared_budget);
            let step = step(&self.state, input.clone(), now).map_err(Untaken::Refused)?;
            let refused = match self.commit(&step).await {
                Ok(()) => return Ok(step),
                Err(StoreError::CapReached) => SharedBudget::Reached,
                Err(StoreError::CapNeedsPrice) => SharedBudget::Unpriced,
                Err(error) => return Err(Untaken::Unwritten(error)),
            };
            if shared_budget != SharedBudget::Open {
                return Err(Untaken::Unwritten(StoreError::Invalid("a request was decided against a budget that refuses it".into())));
            }
            self.deps.capped.note(&self.organization, &self.workspace);
            shared_budget = refused;
        }
    }

    /// Something happened that must not be lost: it is written, sooner or later.
    async fn happened(&mut self, input: Input) -> Result<(), Exit> {
        let fresh = !matches!(input, Input::Recovered);
        loop {
            match self.take(&input).await {
                Ok(step) => {
                    self.finished(&input);
                    // A result that changes nothing was journalled before and need not be kept.
                    if let (Input::CallFinished { call, .. }, true) = (&input, step.records.is_empty() && !self.state.set_aside) {
                        effects::acknowledge(&self.link, vec![call.clone()]);
                    }
                    self.follow_up(step, fresh).await;
                    if let Input::SandboxStarted { incarnation } = &input {
                        self.keep_or_end(incarnation).await;
                    }
                    return Ok(());
                }
                Err(Untaken::Refused(Refusal { message, .. })) => {
                    tracing::error!(session = %self.id, %message, "an input was refused by the engine");
                    return Ok(());
                }
                Err(Untaken::Unwritten(StoreError::Stale | StoreError::NotFound)) => return Err(Exit::NotOurs),
                Err(Untaken::Unwritten(error)) if !is_passing(&error) => {
                    tracing::error!(session = %self.id, %error, "a step cannot be written and never will");
                    return Err(Exit::Failed);
                }
                Err(Untaken::Unwritten(error)) => {
                    tracing::error!(session = %self.id, %error, "cannot write; trying again");
                    tokio::select! {
                        () = self.deps.stopping.cancelled() => return Err(Exit::Stopping),
                        () = tokio::time::sleep(limits::STORE_RETRY) => {}
                    }
                }
            }
        }
    }

    /// Writes a step. Afterwards, and only then, it is true.
    async fn commit(&mut self, step: &Step) -> Result<(), StoreError> {
        if step.records.is_empty() {
            return Ok(());
        }
        let batch = batch(&self.id, self.seq, self.position, &step.records, Some(&self.state), &step.state)?;
        let events = batch.events.clone();
        let released = batch.row.spend.map_or(Cost::ZERO, |spend| spend.release);
        let room = if batch.row.capped { released.max(Cost(1)) } else { released };
        fault::point(Point::BeforeCommit);
        self.deps.store.append(self.deps.epoch, batch).await?;
        fault::point(Point::AfterCommit);
        self.seq += step.records.len() as u64;
        self.position += events.len() as u64;
        self.state = step.state.clone();
        for record in &step.records {
            self.context.push(record);
        }
        self.hub.publish(&events);
        if step.records.iter().any(|record| self.changes_tools(&record.body)) {
            self.offered = offered(&self.state.agent, &self.state.mcp, &self.deps);
            self.plan = plan(&self.state.agent, &self.offered, &self.deps.models, self.deps.max_output_tokens);
        }
        if room > Cost::ZERO {
            self.deps.capped.room(&self.workspace, room);
        }
        Ok(())
    }

    /// Whether the model may be offered other tools after this.
    fn changes_tools(&self, body: &RecordBody) -> bool {
        match body {
            RecordBody::Updated { change, .. } => change.agent.is_some(),
            RecordBody::McpListed { .. } | RecordBody::McpUnavailable { .. } => true,
            RecordBody::TurnStarted { .. } => !self.state.mcp.is_empty(),
            _ => false,
        }
    }

    /// What an input brought is no longer under way.
    fn finished(&mut self, input: &Input) {
        match input {
            Input::ModelAnswered { effect, .. } | Input::ModelFailed { effect, .. } => {
                self.models.remove(effect);
            }
            Input::CallFinished { call, .. } | Input::CallNeverReceived { call, .. } | Input::CallLost { call, .. } => {
                self.calls.remove(call);
            }
            Input::SandboxStarted { .. } | Input::SandboxFailed { .. } => self.starting = false,
            Input::McpListed { server, url, .. } | Input::McpFailed { server, url, .. } => {
                self.listing.remove(&(server.clone(), url.clone()));
            }
            _ => return,
        }
        self.permit = None;
    }

    /// What follows from a written step.
    async fn follow_up(&mut self, step: Step, fresh: bool) {
        let settled = step.records.iter().filter_map(|record| match &record.body {
            RecordBody::CallSettled { call, outcome, mcp: false, .. } if outcome.end != CallEnd::NotRun => Some(call.clone()),
            _ => None,
        });
        effects::acknowledge(&self.link, settled.collect());
        for effect in step.effects {
            self.start(effect, fresh);
        }
        if matches!(self.state.phase, Phase::Archived { .. }) && !step.records.is_empty() {
            self.end_sandbox();
        }
        if matches!(self.state.phase, Phase::Idle | Phase::Capped) {
            self.permit = None;
        }
        self.keep_snapshot();
    }

    fn start(&mut self, effect: Effect, fresh: bool) {
        let results = self.results.0.clone();
        match effect {
            Effect::CallModel { effect, attempt } => {
                let cancel = CancellationToken::new();
                self.models.insert(effect.clone(), cancel.clone());
                let Phase::Requesting { ask, .. } = &self.state.phase else { return };
                let question = Question {
                    effect,
                    attempt,
                    target: ask.at.clone(),
                    workspace: self.workspace.clone(),
                    session: self.id.clone(),
                    request: request(&self.state.agent, &self.offered, &self.context, ask),
                    cancel,
                    ahead: self.state.sandbox.is_none().then(|| Ahead {
                        deps: Arc::clone(&self.deps),
                        whose: self.whose(),
                        link: self.link.clone(),
                    }),
                };
                effects::call_model(&self.deps, &self.hub, question, results);
            }
            Effect::CancelModel { effect } => {
                if let Some(cancel) = self.models.get(&effect) {
                    cancel.cancel();
                }
            }
            Effect::SetTimer { timer, until } => effects::set_timer(&self.deps, timer, until, results),
            Effect::StartSandbox => {
                if !std::mem::replace(&mut self.starting, true) {
                    place::start_sandbox(&self.deps, self.whose(), &self.link, results);
                }
            }
            Effect::RunCall { call, incarnation } => {
                if let Some(call) = self.state.call(&call).cloned() {
                    let cancel = CancellationToken::new();
                    self.calls.insert(call.id.clone(), cancel.clone());
                    let web = (call.name == WEB_FETCH).then(|| self.behalf());
                    effects::run_call(&self.deps, &self.id, &self.link, Dispatch { call, incarnation, fresh, cancel, web }, results);
                }
            }
            Effect::RunRemote { call } => {
                if let Some(call) = self.state.call(&call).cloned() {
                    let cancel = CancellationToken::new();
                    self.calls.insert(call.id.clone(), cancel.clone());
                    match call.place {
                        Place::Web => remote::search(&self.deps, self.behalf(), call, cancel, results),
                        Place::Mcp { .. } | Place::Sandbox => {
                            remote::run_call(&self.deps, self.user(), &self.state.agent, call, cancel, results);
                        }
                    }
                }
            }
            Effect::ListMcpTools { server, url } => {
                // What an earlier turn asked for answers this one, too.
                if self.listing.insert((server.clone(), url)) {
                    remote::list_tools(&self.deps, self.user(), &self.state.agent, &server, results);
                }
            }
            Effect::CancelCall { call } => {
                if let Some(cancel) = self.calls.get(&call) {
                    cancel.cancel();
                }
            }
        }
    }

    /// For whom the web is asked.
    fn behalf(&self) -> Behalf {
        let (session, workspace) = (self.id.clone(), self.workspace.clone());
        Behalf { session, workspace, agent: Arc::clone(&self.state.agent), messages: self.context.messages() }
    }

    fn user(&self) -> User {
        User {
            session: self.id.clone(),
            organization: self.organization.clone(),
            workspace: self.workspace.clone(),
            environment: self.environment.clone(),
            vaults: self.state.vaults.clone(),
        }
    }

    /// A sandbox that came too late, after the session was archived or set aside, is not left alone.
    async fn keep_or_end(&mut self, incarnation: &IncarnationId) {
        if self.state.sandbox.as_ref() != Some(incarnation) {
            place::forget(&self.link, incarnation).await;
            self.end_sandbox();
        }
    }

    /// Ends the sandbox before anything else is done, so that no later life can be meant. One that does
    /// not end now is ended before the next begins.
    async fn park(&self, incarnation: Option<&IncarnationId>) {
        if let Some(incarnation) = incarnation {
            place::forget(&self.link, incarnation).await;
        }
        network::leave(&self.deps, &self.id);
        match tokio::time::timeout(limits::PARK, self.deps.sandboxes.stop(&self.id)).await {
            Ok(Ok(())) => tracing::info!(session = %self.id, "parked its sandbox"),
            Ok(Err(why)) => tracing::error!(session = %self.id, %why, "a sandbox without work cannot be ended"),
            Err(_) => tracing::error!(session = %self.id, "a sandbox without work does not end"),
        }
    }

    fn end_sandbox(&self) {
        network::leave(&self.deps, &self.id);
        let (deps, id) = (Arc::clone(&self.deps), self.id.clone());
        tokio::spawn(async move {
            if let Err(why) = deps.sandboxes.stop(&id).await {
                tracing::error!(session = %id, %why, "the sandbox of an archived session cannot be ended");
            }
        });
    }

    fn keep_snapshot(&mut self) {
        if self.seq < self.snapshot_seq + limits::SNAPSHOT_RECORDS {
            return;
        }
        let Ok(body) = json(&self.state) else { return };
        self.snapshot_seq = self.seq;
        let (deps, id, snapshot) = (Arc::clone(&self.deps), self.id.clone(), Snapshot { seq: self.seq, version: SNAPSHOT_VERSION, body });
        tokio::spawn(async move {
            if let Err(error) = deps.store.save_snapshot(&id, snapshot).await {
                tracing::warn!(session = %id, %error, "a snapshot was not kept; the session wakes more slowly");
            }
        });
    }
}

impl Drop for Actor {
    /// Whoever asks the model for a session that nobody drives asks for nothing. What runs in the
    /// sandbox goes on: its results are kept there for the next actor.
    fn drop(&mut self) {
        for cancel in self.models.values() {
            cancel.cancel();
        }
        self.deps.mcp.leave(&self.id);
    }
}

/// What an actor finds when it begins.
#[derive(Debug)]
pub(crate) enum Begin {
    /// The session was created just now; nothing of it was ever under way.
    Created,
    /// Whatever there is; what another had under way is taken up.
    TakenUp {
        /// How often it was taken up without getting on, this time included.
        deaths: u32,
        /// Its place among those taken up at once.
        permit: Option<OwnedSemaphorePermit>,
    },
}

/// Whether the same write or read may succeed later.
pub(crate) fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Full | StoreError::Unavailable(_))
}

/// Whether this row needs to be taken up.
pub(crate) fn needs_work(row: &SessionRow) -> bool {
    row.unfinished
}
