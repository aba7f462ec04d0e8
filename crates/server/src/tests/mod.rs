//! The API as a client sees it, over a store in a temporary directory. Turns of a model are tested
//! in `ostler-runtime`.

mod access;
mod bodies;
mod docs;
mod documents;
mod events;
mod golden;
mod network;
mod serving;
mod sessions;
mod vaults;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use ostler_core::egress::{Terms, Unusable};
use ostler_core::ids::{IncarnationId, SessionId};
use ostler_core::scope::{Principal, Scope, Tenant};
use ostler_models::{DemoModel, Models, Prices};
use ostler_runtime::ambient::Ambient;
use ostler_runtime::egress::{Egress, EgressError, Fetched, Owner, TokenAnswer, TokenToRenew};
use ostler_runtime::policy::SandboxPolicy;
use ostler_runtime::router::{RouterConfig, SessionRouter};
use ostler_runtime::sandbox::{AttachFailure, Living, SandboxBackend, SandboxLink, SandboxSpec};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_seal::{Binding, KeyId, PublicKey, Sealed, seal};
use ostler_store::{NewApiKey, SqliteStore, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::api::Api;
use crate::config::{AppState, ServerConfig};
use crate::keys::ApiKeySecret;

#[derive(Debug)]
struct NoSandboxes;

#[async_trait]
impl SandboxBackend for NoSandboxes {
    async fn room(&self, _: &SandboxSpec) -> Result<(), String> {
        Ok(())
    }

    async fn create(&self, _: &SessionId, _: &IncarnationId, _: &SandboxSpec) -> Result<Arc<dyn SandboxLink>, String> {
        Err("no sandboxes here".to_owned())
    }

    async fn attach(&self, _: &SessionId, _: &IncarnationId) -> Result<Arc<dyn SandboxLink>, AttachFailure> {
        Err(AttachFailure::Gone)
    }

    async fn living(&self) -> Result<Vec<Living>, String> {
        Ok(Vec::new())
    }

    async fn attend(&self, _: Vec<SessionId>, _: &SandboxSpec) -> Result<(), String> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SessionId>, String> {
        Ok(Vec::new())
    }

    async fn stop(&self, _: &SessionId) -> Result<(), String> {
        Ok(())
    }

    async fn snapshot(&self, _: &SessionId, _: &SandboxSpec, _: u64) -> Result<std::fs::File, String> {
        Err("no files here".to_owned())
    }

    async fn restore(&self, _: &SessionId, _: &SandboxSpec, _: std::fs::File) -> Result<(), String> {
        Err("no files here".to_owned())
    }

    async fn remove(&self, _: &SessionId) -> Result<(), String> {
        Ok(())
    }
}

/// An egress that opens and closes, and reaches nobody.
#[derive(Debug)]
struct Opener(KeyRing);

#[async_trait]
impl Egress for Opener {
    fn public_key(&self) -> PublicKey {
        self.0.public().clone()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.0.ids()
    }

    async fn reseal(&self, of: &Owner, sealed: &Sealed, binding: &Binding) -> Result<Sealed, EgressError> {
        let (bound, secret) = self.0.open(sealed).map_err(|error| EgressError::Refused(error.to_string()))?;
        assert_eq!((&bound.workspace, &bound.vault, &bound.credential), (&of.workspace, &of.vault, &of.credential));
        seal(self.0.public(), binding, secret.expose()).map_err(|error| EgressError::Refused(error.to_string()))
    }

    async fn renew_token(&self, _: TokenToRenew) -> Result<TokenAnswer, EgressError> {
        Err(EgressError::Unavailable("it reaches nobody".into()))
    }

    fn calls(&self) -> Option<&std::path::Path> {
        None
    }

    fn serves_sandboxes(&self) -> bool {
        false
    }

    async fn admit(&self, _: &SessionId, _: &Terms, _: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError> {
        Ok(Vec::new())
    }

    async fn change(&self, _: &SessionId, _: &Terms) -> Result<Option<Vec<Unusable>>, EgressError> {
        Ok(None)
    }

    async fn renew(&self, _: &[SessionId]) -> Result<Vec<SessionId>, EgressError> {
        Ok(Vec::new())
    }

    async fn release(&self, _: &SessionId) -> Result<(), EgressError> {
        Ok(())
    }

    async fn records(&self, _: usize) -> Result<Fetched, EgressError> {
        Ok(Fetched::default())
    }
}

/// A server with two workspaces.
struct Server {
    state: AppState,
    app: Router,
    stopping: CancellationToken,
    keys: KeyRing,
    home: Client,
    stranger: Client,
}

/// A client with a key.
#[derive(Clone)]
struct Client {
    app: Router,
    key: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The message of an error with this status and this class, in a complete envelope.
    fn refused(self, status: u16, kind: &str) -> String {
        assert_eq!((self.status.as_u16(), self.body["error"]["type"].as_str()), (status, Some(kind)), "{}", self.body);
        assert_eq!(self.body["type"], "error");
        assert_eq!(self.body["request_id"], self.headers["request-id"].to_str().unwrap());
        self.body["error"]["message"].as_str().unwrap().to_owned()
    }
}

async fn key_for(store: &dyn Store, workspace: &str) -> String {
    let secret = ApiKeySecret::generate(&Ambient::system()).unwrap();
    let scope = Scope::Tenant(Tenant {
        organization: format!("org_{workspace}").parse().unwrap(),
        workspace: format!("wrkspc_{workspace}").parse().unwrap(),
        principal: Principal::System,
    });
    let new = NewApiKey { id: secret.id.clone(), sha256: secret.sha256, name: workspace.to_owned(), created_at: Ambient::system().now() };
    store.add_api_key(&scope, new).await.unwrap();
    secret.text().to_owned()
}

async fn server_with(adapt: impl FnOnce(&mut ServerConfig)) -> Server {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory_for_tests().unwrap());
    let epoch = store.begin_epoch().await.unwrap();
    let ambient = Ambient::system();
    let keys = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
    let router = SessionRouter::new(RouterConfig {
        store: Arc::clone(&store),
        epoch,
        models: Arc::new(Models::single("demo", Arc::new(DemoModel::with_pause(Duration::ZERO)), Prices::default())),
        sandboxes: Arc::new(NoSandboxes),
        egress: Arc::new(Opener(keys.clone())),
        ambient: ambient.clone(),
        max_output_tokens: 1_000,
        last: ostler_runtime::recovery::LastEnd::Orderly,
        rest: ostler_runtime::parking::Rest::default(),
        policy: SandboxPolicy::default(),
        search: None,
    });
    let mut config = ServerConfig::new(SocketAddr::from(([127, 0, 0, 1], 8787)));
    adapt(&mut config);
    let (home, stranger) = (key_for(store.as_ref(), "home").await, key_for(store.as_ref(), "stranger").await);
    let state = AppState { store, router, ambient, config };
    let stopping = CancellationToken::new();
    let app = crate::app::router(Api::new(state.clone(), stopping.clone()));
    let client = |key: String| Client { app: app.clone(), key };
    Server { home: client(home), stranger: client(stranger), state, app, stopping, keys }
}

async fn server() -> Server {
    server_with(|_| {}).await
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request =
        Request::builder().method(method).uri(path).header("host", "localhost:8787").header("anthropic-beta", "managed-agents-2026-04-01");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

async fn answer(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
}

impl Client {
    fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    async fn send(&self, method: &str, path: &str, body: Body) -> Answer {
        answer(&self.app, request(method, path, &[("authorization", &self.bearer())], body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Body::from(body.to_string())).await
    }

    async fn action(&self, path: &str) -> Answer {
        self.send("POST", path, Body::empty()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, Body::empty()).await
    }

    async fn agent(&self) -> String {
        text(&self.post("/v1/agents", json!({"name": "a", "model": "m"})).await.ok()["id"])
    }

    async fn environment(&self) -> String {
        text(&self.post("/v1/environments", json!({"name": "e"})).await.ok()["id"])
    }

    async fn session(&self, agent: &str, environment: &str) -> String {
        text(&self.post("/v1/sessions", json!({"agent": agent, "environment_id": environment})).await.ok()["id"])
    }

    async fn new_session(&self) -> String {
        let (agent, environment) = (self.agent().await, self.environment().await);
        self.session(&agent, &environment).await
    }

    /// Opens a stream; its first chunk is read.
    async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let bearer = self.bearer();
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        let response = self.app.clone().oneshot(request("GET", path, &headers, Body::empty())).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        assert_eq!(
            (&response.headers()["cache-control"], &response.headers()["x-accel-buffering"]),
            (&"no-cache".parse().unwrap(), &"no".parse().unwrap())
        );
        let mut stream = Stream(response.into_body().into_data_stream());
        assert!(stream.next().await.unwrap().starts_with(':'));
        stream
    }
}

struct Stream(BodyDataStream);

impl Stream {
    /// The next chunk; `None` at the end. A minute is for a broken server only.
    async fn next(&mut self) -> Option<String> {
        let chunk = tokio::time::timeout(Duration::from_secs(60), self.0.next()).await.expect("the stream is silent");
        chunk.map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|row| text(&row["id"])).collect()
}
