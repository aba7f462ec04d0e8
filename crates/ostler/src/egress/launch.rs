//! Starting egress beside a server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Shutdown;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use ostler_egress::EgressConfig;
use ostler_egress::provider::ProviderConfig;
use ostler_seal::open::KeyRing;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::link::EgressLink;
use super::source::{Done, Order, Source};
use super::{KEEPER, ROLE};
use crate::config::VaultKey;
use crate::handover::left_open;
use crate::vault::{KeyHolder, Keys};

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

/// What the keeper is started with, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) launch: Launch,
    pub(super) source: Source,
}

/// Other keys for an egress that runs, one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct NewKeys {
    /// As in a key file.
    pub(super) keys: Zeroizing<String>,
}

/// Something as a line of JSON.
pub(super) fn line(said: &impl Serialize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(serde_json::to_vec(said)?);
    line.push(b'\n');
    Ok(line)
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
    /// Where it hears orders, and answers them. Its end is the keeper's.
    orders: UnixStream,
    socket: PathBuf,
    calls: PathBuf,
    keys: Vec<String>,
}

/// Starts it with these keys, and waits until it serves. `from` is where they come from.
pub(crate) fn start(
    data_dir: &Path,
    from: &VaultKey,
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
    let kept = Kept { launch, source: Source::of(from)? };
    let (mut orders, inner) = UnixStream::pair()?;
    let mut process = spawn(KEEPER, Stdio::from(OwnedFd::from(inner)))?;
    orders.write_all(&line(&kept)?).context("telling egress its keys")?;
    if let Report::Failed(why) = reported(&mut process) {
        bail!("egress does not start: {why}");
    }
    let Launch { socket, calls, .. } = kept.launch;
    Ok(Keeper { pid: i32::try_from(process.id())?, orders, socket, calls, keys: Keys::of(keys).texts() })
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
        let Self { pid, orders, socket, calls, keys } = self;
        left_open(&orders)?;
        Ok(Handed { keeper: pid, orders: orders.into_raw_fd(), socket, calls, keys })
    }
}

/// The way to an egress that was started by the program before this one in the same process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Handed {
    keeper: i32,
    orders: RawFd,
    socket: PathBuf,
    calls: PathBuf,
    /// Their public halves.
    keys: Vec<String>,
}

impl Handed {
    /// Asks egress who it is.
    pub(crate) async fn connect(self) -> anyhow::Result<Running> {
        let orders = ostler_sandbox::inherited(self.orders).context("the way to egress is not open")?;
        let keys = Keys::parse(&self.keys).context("the keys of egress cannot be read")?;
        let linked = EgressLink::connect(self.socket, self.calls.clone(), keys).await;
        let (link, certificates) = linked.context("starting egress; its log says why it does not answer")?;
        let keeper = Pid::from_raw(self.keeper);
        let link = Arc::new(link);
        let orders = Orders { stream: UnixStream::from(orders), turn: Mutex::new(()) };
        let keys = Arc::new(KeyPipe { orders: Arc::new(orders), link: Arc::clone(&link) });
        Ok(Running { link, calls: self.calls, certificates, keys, keeper, ended: end_of(keeper) })
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
    pub(crate) keys: Arc<KeyPipe>,
    keeper: Pid,
    ended: oneshot::Receiver<()>,
}

impl Running {
    /// Resolves when nobody starts egress again any more. Nobody here has its keys: only a new start of all helps.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let _ = (&mut self.ended).await;
        anyhow::anyhow!("the keeper of egress has ended (killed by somebody, or for memory), and the keys with it; start the server again")
    }
}

/// Tells when a process has ended, and leaves its end to who waits for it.
fn end_of(process: Pid) -> oneshot::Receiver<()> {
    let (told, ended) = oneshot::channel();
    std::thread::spawn(move || {
        while waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        let _ = told.send(());
    });
    ended
}

/// The way to the keeper, which exchanges keys.
#[derive(Debug)]
pub(crate) struct KeyPipe {
    orders: Arc<Orders>,
    link: Arc<EgressLink>,
}

/// Where orders go, and answers come back.
#[derive(Debug)]
struct Orders {
    stream: UnixStream,
    turn: Mutex<()>,
}

impl Orders {
    /// Waits until it is done, however long a command takes that says keys.
    fn give(&self, order: &Order) -> anyhow::Result<Keys> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.stream).write_all(&line(order)?).context("telling the keeper of the keys")?;
        let mut told = String::new();
        BufReader::new(&self.stream).read_line(&mut told).context("hearing the keeper of the keys")?;
        match serde_json::from_str(&told).context("the keeper of the keys has ended")? {
            Done::Keys(keys) => Keys::parse(&keys).context("the keeper names keys that cannot be read"),
            Done::Failed(why) => bail!(why),
        }
    }
}

impl KeyPipe {
    async fn give(&self, order: Order) -> anyhow::Result<Keys> {
        let orders = Arc::clone(&self.orders);
        tokio::task::spawn_blocking(move || orders.give(&order)).await.context("asking the keeper of the keys")?
    }
}

#[async_trait]
impl KeyHolder for KeyPipe {
    async fn look(&self) -> anyhow::Result<Keys> {
        self.give(Order::Look).await
    }

    async fn add(&self, keys: &Keys) -> anyhow::Result<Keys> {
        self.give(Order::Add(keys.ids())).await
    }

    async fn take(&self, keys: &Keys) -> anyhow::Result<()> {
        let taken = self.give(Order::Take(keys.ids())).await?;
        self.link.await_keys(taken).await
    }

    async fn drop_former(&self, keys: &Keys) -> anyhow::Result<()> {
        let left = self.give(Order::DropFormer(keys.ids())).await?;
        self.link.await_keys(left).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.keys.orders.stream.shutdown(Shutdown::Both);
        // It ends by itself now; without this it would stay a zombie for as long as this process lives.
        let _ = waitpid(self.keeper, None);
    }
}
