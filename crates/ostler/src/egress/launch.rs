//! Starting egress beside a server.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use ostler_egress::{EgressConfig, SearchEngine};
use ostler_seal::open::KeyRing;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::link::EgressLink;
use super::{KEEPER, ROLE};

/// What egress is started with, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Launch {
    /// Where it listens for the server.
    pub(super) socket: PathBuf,
    /// Where it takes calls of the server to the outside.
    pub(super) calls: PathBuf,
    /// The keys, as in a key file.
    pub(super) keys: Zeroizing<String>,
    pub(super) config: EgressConfig,
    /// What is logged.
    pub(super) log: String,
}

/// A running egress; it ends with this, and with the process that has it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) link: Arc<EgressLink>,
    /// What sandboxes are to trust, in PEM.
    pub(crate) certificates: String,
    keeper: Child,
}

/// Starts it, and waits until it answers.
pub(crate) async fn start(
    data_dir: &Path,
    keys: &KeyRing,
    config: &EgressConfig,
    search: Option<SearchEngine>,
    log: &str,
) -> anyhow::Result<Running> {
    let dir = data_dir.join("egress");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| format!("making {}", dir.display()))?;
    let socket = dir.join("egress.sock");
    // What an earlier one left would be connected to in its place.
    let _ = std::fs::remove_file(&socket);
    let calls = dir.join("calls.sock");
    let launch = Launch {
        socket: socket.clone(),
        calls: calls.clone(),
        keys: keys.to_text(),
        config: EgressConfig { search, ..config.clone() },
        log: log.to_owned(),
    };
    let mut line = Zeroizing::new(serde_json::to_vec(&launch)?);
    line.push(b'\n');
    let mut keeper = spawn(KEEPER)?;
    keeper.stdin.as_mut().context("egress has no standard input")?.write_all(&line).context("telling egress its keys")?;
    let (link, certificates) =
        EgressLink::connect(socket, calls, keys.public()).await.context("starting egress; its log says why it does not answer")?;
    Ok(Running { link: Arc::new(link), certificates, keeper })
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
        drop(self.keeper.stdin.take());
        // It ends by itself now; without this it would stay a zombie for as long as this process lives.
        let _ = self.keeper.wait();
    }
}
