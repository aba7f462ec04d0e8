//! The server as a process with a data directory: started, killed, asked to end, started again.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::Signal;
use ostler_testkit::ModelServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::api::Api;
use super::session::{Session, Tools};
use super::{limits, processes};

/// The key that servers of tests are given.
pub(crate) const KEY: &str = "the-key-of-the-tests-0123456789abcdef";
/// The binary that cargo built for these tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ostler");

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    binary: PathBuf,
    listen: String,
    env: Vec<(String, String)>,
}

/// What a process said on its standard error.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    text: Arc<Mutex<String>>,
    lines: watch::Receiver<usize>,
}

impl Log {
    /// Reads a pipe to its end, in the background.
    pub(crate) fn of(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let (count, lines) = watch::channel(0);
        let sink = Arc::clone(&text);
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                let mut text = sink.lock().unwrap_or_else(PoisonError::into_inner);
                if text.len() < limits::LOG_BYTES {
                    text.push_str(&line);
                    text.push('\n');
                }
                drop(text);
                count.send_modify(|count| *count += 1);
            }
        });
        Self { text, lines }
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the log contains this; false when it ended without.
    pub(crate) async fn says(&self, what: &str) -> bool {
        let mut lines = self.lines.clone();
        loop {
            lines.borrow_and_update();
            if self.text().contains(what) {
                return true;
            }
            if lines.changed().await.is_err() {
                return self.text().contains(what);
            }
        }
    }

    /// Waits until nobody holds the other end any more.
    pub(crate) async fn closed(&self) {
        let mut lines = self.lines.clone();
        while lines.changed().await.is_ok() {}
    }
}

/// A server, its data directory and its model.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) model: ModelServer,
    plan: Plan,
    dir: Option<TempDir>,
    data_dir: PathBuf,
    child: Option<Child>,
    log: Log,
    output: Log,
}

/// What is decided before a server starts.
#[derive(Debug)]
pub(crate) struct Builder {
    plan: Plan,
    data_dir: Option<PathBuf>,
}

impl Builder {
    pub(crate) fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.plan.binary = path.into();
        self
    }

    /// A variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.plan.set(name, Some(value));
        self
    }

    /// A directory that somebody else makes and removes.
    pub(crate) fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    pub(crate) async fn start(self) -> Server {
        let model = ModelServer::start().await;
        let mut plan = self.plan;
        plan.set("ANTHROPIC_BASE_URL", Some(&model.base_url()));
        let dir = self.data_dir.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
        let data_dir = self.data_dir.or_else(|| dir.as_ref().map(|dir| dir.path().join("data"))).expect("one of both");
        let (child, log, output) = plan.spawn(&data_dir);
        let mut server = Server { api: Api::new("", KEY), model, plan, dir, data_dir, child: Some(child), log, output };
        server.serving().await;
        server
    }
}

impl Plan {
    fn set(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(known, _)| known != name);
        self.env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    fn spawn(&self, data_dir: &Path) -> (Child, Log, Log) {
        let mut command = command(&self.binary, data_dir);
        command.args(["serve", "--listen", &self.listen]).envs(self.env.iter().cloned());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let log = Log::of(child.stderr.take().expect("its standard error is a pipe"));
        let output = Log::of(child.stdout.take().expect("its standard output is a pipe"));
        (child, log, output)
    }
}

/// A program of ours that sees nothing of this process's environment but the path.
pub(crate) fn command(binary: &Path, data_dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", "/nonexistent").env("OSTLER_DATA_DIR", data_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Server {
    pub(crate) fn builder() -> Builder {
        let env = vec![("OSTLER_BOOTSTRAP_API_KEY".to_owned(), KEY.to_owned())];
        let plan = Plan { binary: BINARY.into(), listen: "127.0.0.1:0".to_owned(), env };
        Builder { plan, data_dir: None }
    }

    pub(crate) async fn start() -> Self {
        Self::builder().start().await
    }

    /// A session on this server.
    pub(crate) async fn session(&self, tools: Tools) -> Session {
        Session::create(&self.api, tools).await
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What the server has logged since it was started last.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// What the server has printed since it was started last.
    pub(crate) fn output(&self) -> &Log {
        &self.output
    }

    pub(crate) fn pid(&self) -> i32 {
        let pid = self.child.as_ref().and_then(Child::id).expect("the server runs");
        i32::try_from(pid).expect("a process id is a small number")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.api.url.trim_start_matches("http://").parse().expect("a server's URL is an address")
    }

    /// From now on it listens where it listens now, also after a restart.
    pub(crate) fn keep_address(&mut self) {
        self.plan.listen = self.address().to_string();
    }

    /// Changes a variable for the next start.
    pub(crate) fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.plan.set(name, value);
    }

    /// Kills it as the kernel would, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        processes::signal(self.pid(), Signal::SIGKILL);
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "it ended otherwise:\n{}", self.log.text());
    }

    /// Asks it to end and waits until it did.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        processes::signal(self.pid(), Signal::SIGTERM);
        self.ended().await
    }

    /// Waits until it is gone.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        let ended = tokio::time::timeout(limits::END, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the server does not end:\n{}", self.log.text())).expect("a child can be waited for")
    }

    /// Starts it again and waits until it serves.
    pub(crate) async fn restart(&mut self) {
        self.launch();
        self.serving().await;
    }

    /// Starts it again without waiting.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        let (child, log, output) = self.plan.spawn(&self.data_dir);
        (self.child, self.log, self.output) = (Some(child), log, output);
    }

    /// Waits until it serves, and finds out where.
    async fn serving(&mut self) {
        assert!(self.try_serving().await, "the server did not start:\n{}", self.log.text());
    }

    /// Waits until it serves; false when it ended before.
    pub(crate) async fn try_serving(&mut self) -> bool {
        let says = tokio::time::timeout(limits::START, self.log.says("\"serving;")).await;
        if !says.unwrap_or_else(|_| panic!("the server says nothing:\n{}", self.log.text())) {
            return false;
        }
        let access = std::fs::read_to_string(self.data_dir.join("server.json")).expect("a serving server says where");
        let access: Value = serde_json::from_str(&access).expect("server.json is JSON");
        self.api = Api::new(access["url"].as_str().expect("server.json has a URL"), KEY);
        true
    }

    /// Waits for a server that was launched: true when it died before it served.
    pub(crate) async fn has_died_starting(&mut self) -> bool {
        let served = self.try_serving().await;
        if !served {
            self.ended().await;
        }
        !served
    }

    /// Kills it if it runs. What outlives it lives on.
    pub(crate) async fn make_sure_it_is_dead(&mut self) {
        if self.child.is_some() {
            self.kill().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.text();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the server's log ends with:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        if let Some(pid) = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()) {
            processes::signal(pid, Signal::SIGKILL);
        }
        processes::kill_all_of(&self.data_dir);
    }
}
