//! A node for tests: started, stopped and started again on the same data.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::cost::Cost;
use ostler_core::events::client;
use ostler_core::ids::{AgentId, ApiKeyId, EnvironmentId, EventId, IdSource, IncarnationId, OrganizationId, SessionId, WorkspaceId};
use ostler_core::resources::agent::AgentBody;
use ostler_core::resources::session::SessionAgent;
use ostler_core::scope::{Principal, Scope, SystemReason, Tenant};
use ostler_egress::provider::ProviderConfig;
use ostler_egress::{EgressConfig, Machine};
use ostler_models::{Anthropic, Catalog, CatalogProvider, HttpTransport, Model, ModelTransport, Models, Prices, ProviderKind};
use ostler_runtime::ambient::Ambient;
use ostler_runtime::parking::Rest;
use ostler_runtime::policy::SandboxPolicy;
use ostler_runtime::recovery::{LastEnd, recover};
use ostler_runtime::router::{Command, NewSession, RouterConfig, SessionRouter};
use ostler_runtime::sandbox::{AttachFailure, Living, SandboxBackend, SandboxLink};
use ostler_runtime::subscribe::{Follower, Frame, Previews, StartAt};
use ostler_sandbox::{CallError, CallRequest, SandboxSpec};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_store::{Bootstrap, EventQuery, NewApiKey, SessionRow, SqliteConfig, SqliteStore, Store};
use ostler_testkit::ModelServer;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::network::Broker;

/// Sandboxes that outlive nodes: what they ran, and what they were told to wait for.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    lives: Mutex<HashMap<SessionId, (IncarnationId, Arc<Life>)>>,
    pub(crate) ran: Mutex<Vec<String>>,
    pub(crate) removed: Mutex<HashSet<SessionId>>,
    pub(crate) needed: Mutex<Vec<SessionId>>,
    pub(crate) created: AtomicU64,
    /// Whether the machine has no room for more.
    pub(crate) full: AtomicBool,
    /// Sessions whose sandboxes were begun, in order.
    pub(crate) begun: Mutex<Vec<SessionId>>,
    /// What each start needs one of, if anything.
    pub(crate) starts: Option<Semaphore>,
    /// Who serves their networks, if somebody does.
    pub(crate) egress: Option<Arc<Broker>>,
}

#[derive(Debug, Default)]
struct Life {
    results: Mutex<HashMap<EventId, Option<CallOutcome>>>,
    changed: Notify,
}

#[derive(Debug)]
struct Shared(Arc<Sandboxes>);

#[derive(Debug)]
struct Link {
    life: Arc<Life>,
    sandboxes: Arc<Sandboxes>,
}

#[async_trait]
impl SandboxBackend for Shared {
    async fn room(&self, _: &SandboxSpec) -> Result<(), String> {
        if self.0.full.load(Ordering::Relaxed) { Err("the machine is full".to_owned()) } else { Ok(()) }
    }

    async fn create(&self, session: &SessionId, incarnation: &IncarnationId, _: &SandboxSpec) -> Result<Arc<dyn SandboxLink>, String> {
        self.0.begun.lock().unwrap().push(session.clone());
        if let Some(starts) = &self.0.starts {
            starts.acquire().await.unwrap().forget();
        }
        let life = Arc::new(Life::default());
        self.0.created.fetch_add(1, Ordering::Relaxed);
        self.0.lives.lock().unwrap().insert(session.clone(), (incarnation.clone(), Arc::clone(&life)));
        Ok(Arc::new(Link { life, sandboxes: Arc::clone(&self.0) }))
    }

    async fn attach(&self, session: &SessionId, incarnation: &IncarnationId) -> Result<Arc<dyn SandboxLink>, AttachFailure> {
        match self.0.lives.lock().unwrap().get(session) {
            Some((life, link)) if life == incarnation => Ok(Arc::new(Link { life: Arc::clone(link), sandboxes: Arc::clone(&self.0) })),
            _ => Err(AttachFailure::Gone),
        }
    }

    async fn stop(&self, session: &SessionId) -> Result<(), String> {
        self.0.lives.lock().unwrap().remove(session);
        Ok(())
    }

    async fn living(&self) -> Result<Vec<Living>, String> {
        let living = |session| Living { session, age_ms: 1, memory_bytes: None, processes: None, cpu_ms: None };
        Ok(self.list().await?.into_iter().map(living).collect())
    }

    async fn attend(&self, needed: Vec<SessionId>, _: &SandboxSpec) -> Result<(), String> {
        *self.0.needed.lock().unwrap() = needed;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SessionId>, String> {
        Ok(self.0.lives.lock().unwrap().keys().cloned().collect())
    }

    async fn snapshot(&self, _: &SessionId, _: &SandboxSpec, _: u64) -> Result<std::fs::File, String> {
        Err("no files here".to_owned())
    }

    async fn restore(&self, _: &SessionId, _: &SandboxSpec, _: std::fs::File) -> Result<(), String> {
        Err("no files here".to_owned())
    }

    async fn remove(&self, session: &SessionId) -> Result<(), String> {
        self.0.removed.lock().unwrap().insert(session.clone());
        self.stop(session).await
    }
}

#[async_trait]
impl SandboxLink for Link {
    /// `{"command": "hold"}` runs until [`Sandboxes::release`]; everything else is echoed at once.
    async fn run(&self, call: &CallRequest) -> Result<CallOutcome, CallError> {
        let command = call.input["command"].as_str().unwrap_or_default().to_owned();
        if !self.life.results.lock().unwrap().contains_key(&call.id) {
            self.sandboxes.ran.lock().unwrap().push(command.clone());
            let at_once = (command != "hold").then(|| CallOutcome::text(format!("ran {command}"), false, CallEnd::Finished));
            self.life.results.lock().unwrap().insert(call.id.clone(), at_once);
        }
        loop {
            let changed = self.life.changed.notified();
            if let Some(Some(outcome)) = self.life.results.lock().unwrap().get(&call.id) {
                return Ok(outcome.clone());
            }
            changed.await;
        }
    }

    async fn cancel(&self, call: &EventId) {
        self.life.settle(|id| id == call, &CallOutcome::text("interrupted", true, CallEnd::Cancelled));
    }

    async fn acknowledge(&self, _: &EventId) {}

    async fn doors(&self) -> Result<Option<Vec<std::os::fd::OwnedFd>>, String> {
        Ok(self.sandboxes.egress.is_some().then(Vec::new))
    }
}

impl Life {
    fn settle(&self, which: impl Fn(&EventId) -> bool, outcome: &CallOutcome) {
        for (id, result) in self.results.lock().unwrap().iter_mut() {
            if result.is_none() && which(id) {
                *result = Some(outcome.clone());
            }
        }
        self.changed.notify_waiters();
    }
}

impl Sandboxes {
    /// Ones whose starts wait for permits.
    pub(crate) fn held() -> Self {
        Self { starts: Some(Semaphore::new(0)), ..Self::default() }
    }

    /// Ones whose networks somebody serves.
    pub(crate) fn with(egress: Arc<Broker>) -> Self {
        Self { egress: Some(egress), ..Self::default() }
    }

    /// Ones of a machine without room.
    pub(crate) fn without_room() -> Self {
        Self { full: true.into(), ..Self::default() }
    }

    /// Lets every held call end.
    pub(crate) fn release(&self) {
        for (_, life) in self.lives.lock().unwrap().values() {
            life.settle(|_| true, &CallOutcome::text("ran hold", false, CallEnd::Finished));
        }
    }

    /// Waits until the start of so many was begun.
    pub(crate) async fn begun(&self, count: usize) {
        let begun = async {
            while self.begun.lock().unwrap().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), begun).await.expect("sandboxes do not start");
    }

    /// Waits until a sandbox lives.
    pub(crate) async fn lives(&self) {
        let lives = async {
            while self.lives.lock().unwrap().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), lives).await.expect("no sandbox lives");
    }

    /// Waits until no sandbox lives.
    pub(crate) async fn gone(&self) {
        let gone = async {
            while !self.lives.lock().unwrap().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("a sandbox lives on");
    }

    /// All sandboxes die.
    pub(crate) fn kill(&self) {
        self.lives.lock().unwrap().clear();
    }
}

/// A node and all it stands on.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    rest: Rest,
    pub(crate) model: ModelServer,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) router: SessionRouter,
    pub(crate) scope: Scope,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(Rest::default()).await
    }

    /// One that puts away what nobody uses when this says.
    pub(crate) async fn start_with(rest: Rest) -> Self {
        Self::start_on(rest, Sandboxes::default()).await
    }

    /// One with these sandboxes.
    pub(crate) async fn start_on(rest: Rest, sandboxes: Sandboxes) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ids = IdSource::new(1, 1);
        let tenant = Tenant {
            organization: OrganizationId::mint(&mut ids),
            workspace: WorkspaceId::mint(&mut ids),
            principal: Principal::ApiKey { id: ApiKeyId::mint(&mut ids) },
        };
        let model = ModelServer::start().await;
        let sandboxes = Arc::new(sandboxes);
        let (store, router) = open(dir.path(), &model, &sandboxes, LastEnd::Orderly, rest).await;
        let Principal::ApiKey { id } = tenant.principal.clone() else { unreachable!() };
        let key = NewApiKey { id, sha256: [0; 32], name: "k".into(), created_at: Ambient::system().now() };
        let first = Bootstrap { organization: tenant.organization.clone(), workspace: tenant.workspace.clone(), key };
        store.bootstrap(&Scope::System(SystemReason::Bootstrap), &first).await.unwrap();
        Self { dir, rest, model, sandboxes, store, router, scope: Scope::Tenant(tenant) }
    }

    /// Stops the node where it is and starts another one on the same data.
    pub(crate) async fn restart(&mut self) {
        self.start_again(LastEnd::Orderly).await;
    }

    /// The same, but the new one takes it that the last one died.
    pub(crate) async fn restart_after_death(&mut self) {
        self.start_again(LastEnd::Crash).await;
    }

    async fn start_again(&mut self, last: LastEnd) {
        self.router.stop().await;
        let (store, router) = open(self.dir.path(), &self.model, &self.sandboxes, last, self.rest).await;
        (self.store, self.router) = (store, router);
        recover(self.router.clone()).await.unwrap();
        self.router.reconcile_sandboxes().await.unwrap();
    }

    pub(crate) async fn store_row(&self, session: &SessionId) -> SessionRow {
        self.store.session(&self.scope, session).await.unwrap().unwrap()
    }

    /// Waits until the workspace's budget is used up and nothing is under way any more.
    pub(crate) async fn at_rest_under_cap(&self) {
        let rests = async {
            loop {
                let budget = self.store.workspace_budget(&self.scope).await.unwrap();
                if budget.cap.is_some_and(|cap| budget.spent >= cap) && budget.reserved == Cost::ZERO {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), rests).await.expect("the budget is not used up");
    }

    /// Speaks for a workspace of its own from now on.
    pub(crate) fn as_neighbour(&mut self) {
        let Scope::Tenant(tenant) = &mut self.scope else { unreachable!("a node speaks for a tenant") };
        tenant.workspace = WorkspaceId::mint(&mut IdSource::new(2, 2));
    }

    pub(crate) async fn session(&self, tools: Value) -> SessionId {
        self.router.create(&self.scope, new_session(tools, Vec::new())).await.unwrap().id
    }

    pub(crate) async fn send(&self, session: &SessionId, events: Value) -> Vec<String> {
        let events = client::parse(serde_json::from_value(events).unwrap()).unwrap();
        let reply = self.router.submit(&self.scope, session, Command::Send(events)).await.unwrap();
        reply.echo.into_iter().map(|event| event.id.as_str().to_owned()).collect()
    }

    pub(crate) async fn say(&self, session: &SessionId, script: &str) {
        self.send(session, json!([{"type": "user.message", "content": [{"type": "text", "text": script}]}])).await;
    }

    pub(crate) async fn follow(&self, session: &SessionId, from: StartAt) -> Tail {
        let previews = Previews { message: true, thinking: true };
        Tail { follower: self.router.follow(&self.scope, session, from, previews).await.unwrap(), seen: Vec::new() }
    }

    /// The whole history, as the store has it.
    pub(crate) async fn history(&self, session: &SessionId) -> Vec<Value> {
        let events = self.store.events(&self.scope, session, &EventQuery::after(0, 10_000)).await.unwrap().unwrap();
        events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }
}

/// A session to be, of an agent with these tools.
pub(crate) fn new_session(tools: Value, events: Vec<client::ClientEvent>) -> NewSession {
    session_of("m", tools, events)
}

/// The same with another model.
pub(crate) fn session_of(model: &str, tools: Value, events: Vec<client::ClientEvent>) -> NewSession {
    let params = serde_json::from_value(json!({"name": "a", "model": model, "tools": tools})).unwrap();
    let mut ids = Ambient::system().ids();
    let agent = SessionAgent::new(AgentId::mint(&mut ids), 1, AgentBody::create(params).unwrap());
    NewSession {
        agent,
        environment_id: EnvironmentId::mint(&mut ids),
        title: None,
        metadata: Default::default(),
        vaults: Vec::new(),
        budget: None,
        events,
    }
}

/// A model called `m` costs a dollar per million tokens of input, and five of output.
fn prices() -> Prices {
    Prices::new([("m".to_owned(), ostler_models::prices::price([1.0, 5.0, 1.0, 1.0, 1.0]))].into())
}

/// Starts to take calls for these providers; where.
fn calls(dir: &std::path::Path, providers: &[ProviderConfig]) -> std::path::PathBuf {
    let socket = dir.join("calls");
    // A node before this one was here.
    let _ = std::fs::remove_file(&socket);
    let config = EgressConfig::default();
    let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
    let egress = ostler_egress::Egress::start(ring, &config, providers, &Machine::read(&config).unwrap()).unwrap();
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(ostler_egress::calls::serve(egress, listener, nix::unistd::geteuid()));
    socket
}

async fn open(
    dir: &std::path::Path,
    model: &ModelServer,
    sandboxes: &Arc<Sandboxes>,
    last: LastEnd,
    rest: Rest,
) -> (Arc<SqliteStore>, SessionRouter) {
    let store = Arc::new(SqliteStore::open(SqliteConfig::new(dir)).unwrap());
    let epoch = store.begin_epoch().await.unwrap();
    let endpoint = |name: &str, base_url: String| ProviderConfig {
        name: name.into(),
        base_url,
        kind: ProviderKind::Anthropic,
        key: "k".to_owned().into(),
    };
    // Nothing listens on the discard port.
    let endpoints = vec![endpoint("anthropic", model.base_url()), endpoint("broken", "http://127.0.0.1:9".into())];
    let transport: Arc<dyn ModelTransport> = Arc::new(HttpTransport::new(calls(dir, &endpoints)).unwrap());
    let adapter = |name: &str| -> (String, Arc<dyn Model>) { (name.into(), Arc::new(Anthropic::new(Arc::clone(&transport), name))) };
    let provider = |name: &str, models: Vec<String>| CatalogProvider { name: name.into(), kind: ProviderKind::Anthropic, models };
    let routes = [("pair".to_owned(), vec!["broken/m".to_owned(), "m".to_owned()])].into();
    let catalog = Catalog::new(vec![provider("anthropic", vec!["m".into()]), provider("broken", Vec::new())], routes, prices()).unwrap();
    let models = Models::new(catalog, [adapter("anthropic"), adapter("broken")].into());
    let router = SessionRouter::new(RouterConfig {
        store: Arc::clone(&store) as Arc<dyn Store>,
        epoch,
        models: Arc::new(models),
        sandboxes: Arc::new(Shared(Arc::clone(sandboxes))),
        egress: sandboxes.egress.clone().unwrap_or_else(|| Arc::new(Broker::new(false))),
        ambient: Ambient::system(),
        max_output_tokens: 1_000,
        last,
        rest,
        policy: SandboxPolicy::default(),
        search: None,
    });
    tokio::spawn(router.clone().watch_budgets());
    (store, router)
}

/// A follower that remembers.
pub(crate) struct Tail {
    follower: Follower,
    pub(crate) seen: Vec<Value>,
}

impl Tail {
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(30), self.follower.next()).await.expect("nothing came for 30 s");
        let (Frame::Event { body, .. } | Frame::Preview { body, .. }) = frame?;
        let value: Value = serde_json::from_str(&body).unwrap();
        self.seen.push(value.clone());
        Some(value)
    }

    /// Reads until an event of this type; returns it.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// Reads until the session waits; returns for what.
    pub(crate) async fn idle(&mut self) -> String {
        self.until("session.status_idle").await["stop_reason"]["type"].as_str().unwrap().to_owned()
    }

    /// The types seen, without previews.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.seen.iter().filter_map(|event| event["type"].as_str()).filter(|kind| !kind.starts_with("event_")).collect()
    }
}
