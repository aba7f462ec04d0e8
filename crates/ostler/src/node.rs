//! The composition root: from settings to a node that serves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ostler_egress::keystore;
use ostler_models::{
    Anthropic, Catalog, CatalogProvider, DemoModel, HttpTransport, Model, ModelTransport, Models, OpenAi, OpenAiOptions, Prices,
    ProviderKind,
};
use ostler_runtime::ambient::Ambient;
use ostler_runtime::egress::Egress;
use ostler_runtime::parking::Rest;
use ostler_runtime::recovery::{self, LastEnd};
use ostler_runtime::router::{RouterConfig, SessionRouter};
use ostler_runtime::sandbox::LocalSandboxes;
use ostler_sandbox::{Sandboxes, SandboxesConfig, SpawnerCommand, Trusted, Wishes};
use ostler_server::keys::ApiKeySecret;
use ostler_server::{AppState, ServerConfig};
use ostler_store::{DataDirLock, LockError, SqliteConfig, SqliteStore, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::bootstrap;
use crate::client::Access;
use crate::config::{Provider, Settings};
use crate::handover::Begun;
use crate::vault::KeyHolder;
use crate::{egress, vault};

/// What is logged unless something is said.
const DEFAULT_LOG: &str = "info";
/// The demo model as a provider.
const DEMO: &str = "demo";

/// A node that holds its data directory and serves.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) access: Access,
    pub(crate) new_key: bool,
    pub(crate) demo: bool,
    data_dir: PathBuf,
    router: SessionRouter,
    sandboxes: Sandboxes,
    egress: egress::Running,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
    admin: tokio::task::JoinHandle<()>,
    _lock: DataDirLock,
}

/// Takes the data directory. `None`: a server holds it already.
pub(crate) fn lock(data_dir: &Path) -> anyhow::Result<Option<DataDirLock>> {
    match DataDirLock::acquire(data_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("data directory {}", data_dir.display())),
    }
}

/// What is logged.
pub(crate) fn log_of(settings: &Settings) -> &str {
    settings.log.as_deref().unwrap_or(DEFAULT_LOG)
}

impl Node {
    /// Starts everything: store, sandboxes, model, router, HTTP server, recovery.
    pub(crate) async fn start(settings: &Settings, begun: Begun, listen: SocketAddr) -> anyhow::Result<Self> {
        let data_dir = settings.data_dir.clone();
        let ambient = Ambient::system();
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}; if another program has the port, choose one with --listen"))?;
        let address = listener.local_addr()?;

        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteConfig::new(&data_dir)).context("opening the database")?);
        let epoch = store.begin_epoch().await.context("beginning an epoch")?;
        let (key, new_key) = bootstrap::first_key(store.as_ref(), &ambient, &data_dir, settings.bootstrap_key.as_deref()).await?;

        // An orderly end takes the file away; from here on, an end is orderly only if it says so.
        let last = if bootstrap::access_file(&data_dir).exists() { LastEnd::Crash } else { LastEnd::Orderly };
        let access = Access { url: format!("http://{}", reachable(address)), key };
        bootstrap::write_access(&data_dir, &access)?;

        let egress = begun.egress.connect().await?;
        let models = Arc::new(models(settings, &egress.calls)?);
        let sandboxes = Sandboxes::start(sandboxes_config(settings, epoch)?).await.context("starting the sandbox spawner")?;
        sandboxes.sweep().await.context("removing what is left of trials of sandboxes")?;
        sandboxes.abandon_builds().await.context("removing what is left of builds of packages")?;
        let pem = egress.certificates.as_str();
        let trusted = Trusted { pem, java: &keystore::java(pem) };
        let trusts_others = sandboxes.trust(&trusted).context("telling sandboxes whom to trust")?;
        let mut policy = settings.sandbox.policy.clone();
        policy.usual.doors = true;
        let wishes = Wishes { spec: policy.usual.clone(), ..settings.sandbox.wishes() };
        if trusts_others {
            let none = Wishes { spares: 0, ..wishes.clone() };
            sandboxes.attend(Vec::new(), &none).await.context("ending sandboxes that wait for sessions and trust others")?;
        }
        let backend = Arc::new(LocalSandboxes::new(sandboxes.clone(), wishes));
        let router = SessionRouter::new(RouterConfig {
            store: Arc::clone(&store),
            epoch,
            models,
            sandboxes: backend,
            ambient: ambient.clone(),
            max_output_tokens: settings.max_output_tokens,
            last,
            rest: rest(settings),
            policy,
            egress: Arc::clone(&egress.link) as Arc<dyn Egress>,
            search: settings.search.as_ref().map(|search| search.engine.clone()),
        });

        let stop = CancellationToken::new();
        let config = ServerConfig {
            allowed_hosts: settings.allowed_hosts.clone(),
            metrics_token: settings.metrics_token.as_ref().map(|token| ApiKeySecret::from_preset(token.expose()).sha256),
            ..ServerConfig::new(address)
        };
        let stored = Arc::clone(&store);
        let state = AppState { store, router: router.clone(), ambient, config };
        let shutdown = stop.clone();
        let server = tokio::spawn(async move { ostler_server::serve(state, listener, shutdown).await.context("the HTTP server failed") });
        tokio::spawn(router.clone().watch_budgets());
        tokio::spawn(router.clone().watch_sandboxes());
        tokio::spawn(router.clone().watch_networks());
        tokio::spawn(router.clone().check_packages());
        let (kept, opens) = (Arc::clone(&stored), Arc::clone(&egress.link));
        tokio::spawn(async move { vault::report(kept.as_ref(), opens.as_ref()).await });
        let admin = Admin {
            vault_key: settings.vault_key.clone(),
            store: stored,
            egress: Arc::clone(&egress.link) as Arc<dyn Egress>,
            holder: Arc::clone(&egress.keys) as Arc<dyn KeyHolder>,
            router: router.clone(),
        };
        let admin = admin::serve(&data_dir, admin)?;
        let recovering = router.clone();
        tokio::spawn(async move {
            if let Err(error) = recovery::recover(recovering).await {
                tracing::error!(%error, "unfinished sessions cannot be listed; restart the server to try again");
            }
        });

        Ok(Self {
            access,
            new_key,
            demo: settings.providers.is_empty(),
            data_dir,
            router,
            sandboxes,
            egress,
            stop,
            server,
            admin,
            _lock: begun.lock,
        })
    }

    /// Resolves when the HTTP server or egress ended by itself, which they should not.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            ended = &mut self.server => ended,
            error = self.egress.ended() => return error,
        };
        match ended {
            Ok(Ok(())) => anyhow::anyhow!("the HTTP server ended"),
            Ok(Err(error)) => error,
            Err(error) => anyhow::Error::new(error).context("the HTTP server died"),
        }
    }

    /// The sandboxes, for a caller that leaves none behind.
    pub(crate) fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    /// Takes no more requests, lets sessions write what they have, ends. Sandboxes live on, and with
    /// them the spawner.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.admin.abort();
        self.router.stop().await;
        let ended = match (&mut self.server).await {
            Ok(result) => result,
            Err(error) => Err(anyhow::Error::new(error).context("the HTTP server died")),
        };
        if let Err(error) = self.sandboxes.abandon_builds().await {
            tracing::warn!(%error, "builds of packages do not end; the next start removes what is left of them");
        }
        drop(self.egress);
        end_idle_spawner(&self.sandboxes).await;
        // Last, because it says that the end was orderly. It can be gone already; nobody is misled then.
        let _ = std::fs::remove_file(bootstrap::access_file(&self.data_dir));
        ended
    }
}

/// The sandboxes of the data directory for somebody who is no server.
pub(crate) async fn sandboxes(settings: &Settings) -> anyhow::Result<Sandboxes> {
    const NO_SERVER: u64 = 0;
    // What is done here needs no container, and a server may be using the engine.
    Sandboxes::start(SandboxesConfig { oci: None, ..sandboxes_config(settings, NO_SERVER)? }).await.context("starting the sandbox spawner")
}

/// Ends the spawner unless sandboxes live on: nobody is left to use it.
pub(crate) async fn end_idle_spawner(sandboxes: &Sandboxes) {
    if let Ok(living) = sandboxes.list().await
        && living.is_empty()
        && let Err(error) = sandboxes.shutdown().await
    {
        tracing::warn!(%error, "the sandbox spawner did not end");
    }
}

/// The models of the settings. They are asked by way of egress, which has their keys.
fn models(settings: &Settings, calls: &Path) -> anyhow::Result<Models> {
    if settings.providers.is_empty() {
        tracing::warn!(
            "no model is configured: the built-in demo model answers (a script, no AI); set ANTHROPIC_API_KEY, OPENAI_API_KEY, OPENROUTER_API_KEY or OLLAMA_HOST, or add a provider to ostler.toml"
        );
        return Ok(Models::single(DEMO, Arc::new(DemoModel::default()), Prices::free(settings.prices.clone())));
    }
    let known = |provider: &Provider| CatalogProvider { name: provider.name.clone(), kind: provider.kind, models: provider.models.clone() };
    let known = settings.providers.iter().map(known).collect();
    let transport: Arc<dyn ModelTransport> = Arc::new(HttpTransport::new(calls.to_owned())?);
    let adapter = |provider: &Provider| -> Arc<dyn Model> {
        match provider.kind {
            ProviderKind::Anthropic => Arc::new(Anthropic::new(Arc::clone(&transport), &provider.name)),
            ProviderKind::OpenAi => {
                let options = OpenAiOptions::for_base_url(&provider.base_url);
                Arc::new(OpenAi::new(Arc::clone(&transport), &provider.name, options))
            }
        }
    };
    let adapters = settings.providers.iter().map(|provider| (provider.name.clone(), adapter(provider))).collect();
    let catalog = Catalog::new(known, settings.routes.clone(), Prices::new(settings.prices.clone()))
        .map_err(anyhow::Error::msg)
        .context("the settings")?;
    Ok(Models::new(catalog, adapters))
}

/// The time that a session stays awake is part of its sandbox's.
fn rest(settings: &Settings) -> Rest {
    let usual = Rest::default();
    Rest { sandbox: settings.sandbox.idle.map(|idle| idle.saturating_sub(usual.awake)), ..usual }
}

fn sandboxes_config(settings: &Settings, epoch: u64) -> anyhow::Result<SandboxesConfig> {
    let program = std::env::current_exe().context("finding this program, which is also the sandbox spawner")?;
    Ok(SandboxesConfig {
        dir: settings.data_dir.join("sandboxes"),
        spawner: SpawnerCommand { program, args: vec!["spawner".into()] },
        uid_block: settings.sandbox.uids,
        epoch,
        oci: settings.sandbox.oci.clone(),
    })
}

/// The address under which this machine reaches the server.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        other => other,
    }
}
