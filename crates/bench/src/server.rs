//! The server under test: the real binary with a data directory, started, killed, ended.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::http::Client;
use crate::{clock, limits, process};

/// The key of every server of a run.
pub(crate) const KEY: &str = "the-key-of-the-benchmark-0123456789abcdef";

/// How servers are started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// Where it finds its model.
    pub(crate) provider: SocketAddr,
    /// What it logs.
    pub(crate) log: &'static str,
}

/// The last lines of a server's log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{line}\n")).collect()
    }

    fn read(&self, pipe: impl AsyncRead + Unpin + Send + 'static) {
        let log = self.clone();
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                let mut lines = log.lines();
                if lines.len() == limits::LOG_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        });
    }
}

/// A running server. Dropping it ends it and all that it left behind.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    plan: Plan,
    child: Child,
    log: Log,
    /// When it was started, on [`clock`].
    pub(crate) launched: u64,
    dir: Option<tempfile::TempDir>,
    data_dir: PathBuf,
}

impl Server {
    /// Starts one with a new data directory and waits until it is ready.
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let dir = process::scratch()?;
        let data_dir = dir.path().join("data");
        let mut server = Self::launch(plan.clone(), data_dir, free_port()?)?;
        server.dir = Some(dir);
        server.ready().await?;
        Ok(server)
    }

    fn launch(plan: Plan, data_dir: PathBuf, address: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(&plan.binary);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/nonexistent");
        command.env("OSTLER_DATA_DIR", &data_dir).env("OSTLER_BOOTSTRAP_API_KEY", KEY).env("OSTLER_LOG", plan.log);
        command.env("ANTHROPIC_BASE_URL", format!("http://{}", plan.provider));
        command.args(["serve", "--listen", &address.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let launched = clock::now();
        let mut child = command.spawn().with_context(|| format!("starting {}", plan.binary.display()))?;
        let log = Log::default();
        log.read(child.stderr.take().context("its standard error is a pipe")?);
        Ok(Self { address, plan, child, log, launched, dir: None, data_dir })
    }

    /// Waits until it says that it takes requests; gives the milliseconds since its start.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<f64> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log.text());
            }
            if let Ok(mut client) = Client::connect(self.address, None).await
                && let Ok((StatusCode::OK, _)) = client.send(Method::GET, "/readyz", Bytes::new()).await
            {
                return Ok(clock::millis(self.launched, clock::now()));
            }
            if clock::millis(self.launched, clock::now()) > limits::START.as_secs_f64() * 1_000.0 {
                bail!("the server is not ready:\n{}", self.log.text());
            }
            tokio::time::sleep(limits::LOOK).await;
        }
    }

    /// A connection with the key.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.address, Some(KEY)).await
    }

    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        i32::try_from(self.child.id().context("the server ended")?).context("a process id is a small number")
    }

    /// Its memory, once it has come to rest.
    pub(crate) async fn resident(&self) -> anyhow::Result<f64> {
        tokio::time::sleep(limits::SETTLE).await;
        process::resident(self.pid()?)
    }

    /// The last line of its log that contains this.
    pub(crate) fn last_line(&self, wanted: &str) -> Option<String> {
        self.log.lines().iter().rev().find(|line| line.contains(wanted)).cloned()
    }

    /// Kills it as the kernel would and starts the next one where it was, without waiting for that.
    pub(crate) async fn kill_and_relaunch(&mut self) -> anyhow::Result<()> {
        process::signal(self.pid()?, Signal::SIGKILL);
        self.child.wait().await?;
        self.relaunch()
    }

    /// Ends it in order and starts it again where it was, without waiting for that.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        process::signal(self.pid()?, Signal::SIGTERM);
        tokio::time::timeout(limits::END, self.child.wait()).await.context("the server does not end")??;
        self.relaunch()
    }

    fn relaunch(&mut self) -> anyhow::Result<()> {
        let next = Self::launch(self.plan.clone(), self.data_dir.clone(), self.address)?;
        let dir = self.dir.take();
        // The one that ended must not take the directory with it.
        let old = std::mem::replace(self, next);
        old.forget();
        self.dir = dir;
        Ok(())
    }

    /// Drops it without looking for what it left behind.
    fn forget(mut self) {
        self.data_dir = PathBuf::new();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data_dir == Path::new("") {
            return;
        }
        if let Ok(pid) = self.pid() {
            process::signal(pid, Signal::SIGKILL);
        }
        process::kill_leftovers(&self.data_dir);
    }
}

/// An address that is free now, so that a server can come back to it.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
