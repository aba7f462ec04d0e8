//! Starting egress beside a server.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use ostler_egress::EgressConfig;
use ostler_seal::open::KeyRing;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::link::EgressLink;
use super::{KEEPER, ROLE};
use crate::vault::KeyHolder;

/// What egress is started with, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Launch {
    /// Where it listens for the server.
    pub(super) socket: PathBuf,
    /// The keys, as in a key file.
    pub(super) keys: Zeroizing<String>,
    pub(super) config: EgressConfig,
    /// What is logged.
    pub(super) log: String,
}

/// Other keys, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct NewKeys {
    /// As in a key file.
    pub(super) keys: Zeroizing<String>,
}

impl Launch {
    /// The line.
    pub(super) fn line(&self) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        line(self)
    }
}

fn line(said: &impl Serialize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(serde_json::to_vec(said)?);
    line.push(b'\n');
    Ok(line)
}

/// A running egress; it ends with this, and with the process that has it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) link: Arc<EgressLink>,
    /// What sandboxes are to trust, in PEM.
    pub(crate) certificates: String,
    pub(crate) keys: Arc<KeyPipe>,
    keeper: Child,
}

/// Where the keeper hears of other keys.
#[derive(Debug)]
pub(crate) struct KeyPipe {
    /// None when it is to end.
    input: Mutex<Option<ChildStdin>>,
    link: Arc<EgressLink>,
}

impl KeyPipe {
    fn lock(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyHolder for KeyPipe {
    async fn take(&self, ring: &KeyRing) -> anyhow::Result<()> {
        let line = line(&NewKeys { keys: ring.to_text() })?;
        self.lock().as_mut().context("egress is being ended")?.write_all(&line).context("telling egress other keys")?;
        self.link.await_keys(ring).await
    }
}

/// Starts it, and waits until it answers.
pub(crate) async fn start(data_dir: &Path, keys: &KeyRing, config: &EgressConfig, log: &str) -> anyhow::Result<Running> {
    let dir = data_dir.join("egress");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| format!("making {}", dir.display()))?;
    let socket = dir.join("egress.sock");
    // What an earlier one left would be connected to in its place.
    let _ = std::fs::remove_file(&socket);
    let launch = Launch { socket: socket.clone(), keys: keys.to_text(), config: config.clone(), log: log.to_owned() };
    let mut keeper = spawn(KEEPER)?;
    let mut input = keeper.stdin.take().context("egress has no standard input")?;
    input.write_all(&launch.line()?).context("telling egress its keys")?;
    let (link, certificates) = EgressLink::connect(socket, keys).await.context("starting egress; its log says why it does not answer")?;
    let link = Arc::new(link);
    let keys = Arc::new(KeyPipe { input: Mutex::new(Some(input)), link: Arc::clone(&link) });
    Ok(Running { link, certificates, keys, keeper })
}

/// Starts this program in such a role, with a pipe to tell it what it needs, and nothing of this process's variables.
pub(super) fn spawn(role: &str) -> anyhow::Result<Child> {
    // The program that runs, even if another one is at its place by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ostler").args([ROLE, role]).env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().with_context(|| format!("starting `ostler {ROLE} {role}`"))
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.keys.lock().take());
        // It ends by itself now; without this it would stay a zombie for as long as this process lives.
        let _ = self.keeper.wait();
    }
}
