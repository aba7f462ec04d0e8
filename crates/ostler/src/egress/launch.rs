//! Starting egress beside a server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use ostler_egress::EgressConfig;
use ostler_egress::provider::ProviderConfig;
use ostler_seal::PublicKey;
use ostler_seal::open::KeyRing;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::link::EgressLink;
use super::{KEEPER, ROLE};
use crate::handover::left_open;

/// What egress is started with, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Launch {
    /// Where it listens for the server.
    pub(super) socket: PathBuf,
    /// Where it takes calls of the server to the outside.
    pub(super) calls: PathBuf,
    /// The user id of the server.
    pub(super) server: u32,
    /// The keys, as in a key file.
    pub(super) keys: Zeroizing<String>,
    pub(super) providers: Vec<ProviderConfig>,
    pub(super) config: EgressConfig,
    /// What is logged.
    pub(super) log: String,
}

/// What egress says when it has started, or has not, one line of JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    Serves,
    Failed(String),
}

/// What a process of egress reports. One that ended without a word has failed.
pub(super) fn reported(process: &mut Child) -> Report {
    let mut line = String::new();
    let output = process.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
    let said = matches!(output, Some(Ok(1..))).then(|| serde_json::from_str(&line).ok()).flatten();
    said.unwrap_or_else(|| Report::Failed("it ended at once; the log says why".into()))
}

/// Egress with its keeper. Both end with this, unless they are handed over.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: i32,
    /// Its end is the keeper's.
    input: OwnedFd,
    socket: PathBuf,
    calls: PathBuf,
    public_key: String,
}

/// Starts it, and waits until it serves.
pub(crate) fn start(
    data_dir: &Path,
    keys: &KeyRing,
    config: &EgressConfig,
    providers: Vec<ProviderConfig>,
    log: &str,
) -> anyhow::Result<Keeper> {
    // Told here, because here a person reads it.
    ostler_egress::provider::check(&providers).context("the model providers' settings")?;
    let dir = data_dir.join("egress");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).with_context(|| format!("making {}", dir.display()))?;
    let launch = Launch {
        socket: dir.join("egress.sock"),
        calls: dir.join("calls.sock"),
        server: nix::unistd::geteuid().as_raw(),
        keys: keys.to_text(),
        providers,
        config: config.clone(),
        log: log.to_owned(),
    };
    let mut line = Zeroizing::new(serde_json::to_vec(&launch)?);
    line.push(b'\n');
    let mut process = spawn(KEEPER, Stdio::piped())?;
    let mut input = process.stdin.take().context("egress has no standard input")?;
    input.write_all(&line).context("telling egress its keys")?;
    if let Report::Failed(why) = reported(&mut process) {
        bail!("egress does not start: {why}");
    }
    let Launch { socket, calls, .. } = launch;
    Ok(Keeper { pid: i32::try_from(process.id())?, input: input.into(), socket, calls, public_key: keys.public().to_string() })
}

/// Starts this program in such a role, with a way to tell it what it needs, and nothing of this process's variables.
pub(super) fn spawn(role: &str, input: Stdio) -> anyhow::Result<Child> {
    // The program that runs, even if another one is at its place by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ostler").args([ROLE, role]).env_clear().current_dir("/").stdin(input).stdout(Stdio::piped());
    command.spawn().with_context(|| format!("starting `ostler {ROLE} {role}`"))
}

impl Keeper {
    /// For the program that takes this one's place.
    pub(crate) fn handed(self) -> anyhow::Result<Handed> {
        let Self { pid, input, socket, calls, public_key } = self;
        left_open(&input)?;
        Ok(Handed { keeper: pid, input: input.into_raw_fd(), socket, calls, public_key })
    }
}

/// The way to an egress that was started by the program before this one in the same process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    keeper: i32,
    input: RawFd,
    socket: PathBuf,
    calls: PathBuf,
    public_key: String,
}

impl Handed {
    /// Asks egress who it is.
    pub(crate) async fn connect(self) -> anyhow::Result<Running> {
        let input = ostler_sandbox::inherited(self.input).context("the way to egress is not open")?;
        let key = PublicKey::parse(&self.public_key).context("the key of egress cannot be read")?;
        let linked = EgressLink::connect(self.socket, self.calls.clone(), key).await;
        let (link, certificates) = linked.context("starting egress; its log says why it does not answer")?;
        let keeper = Pid::from_raw(self.keeper);
        Ok(Running { link: Arc::new(link), calls: self.calls, certificates, keeper, input: Some(input) })
    }
}

/// A running egress; it ends with this, and with the process that has it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) link: Arc<EgressLink>,
    /// Where it takes calls.
    pub(crate) calls: PathBuf,
    /// What sandboxes are to trust, in PEM.
    pub(crate) certificates: String,
    keeper: Pid,
    input: Option<OwnedFd>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself now; without this it would stay a zombie for as long as this process lives.
        let _ = waitpid(self.keeper, None);
    }
}
