//! Processes of a run: helpers that play a role, what `/proc` says of a process, what is left of a server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::limits;
use crate::roles::Role;

/// A helper in a process of its own; ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Helper {
    pub(crate) address: SocketAddr,
    /// Its standard input is how it learns that we are gone, whatever ended us.
    child: Child,
}

impl Helper {
    /// Starts this program again in a role.
    pub(crate) async fn start(role: Role, upstream: Option<SocketAddr>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role", role.name()]).args(upstream.map(|address| address.to_string()));
        Self::spawn(role, command).await
    }

    /// The same in a role that shares a directory with others.
    pub(crate) async fn start_in(role: Role, place: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role", role.name(), "--place"]).arg(place);
        Self::spawn(role, command).await
    }

    async fn spawn(role: Role, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("starting the {} process", role.name()))?;
        let out = child.stdout.take().context("its standard output is a pipe")?;
        let line = tokio::time::timeout(limits::START, BufReader::new(out).lines().next_line()).await??;
        let address = line.with_context(|| format!("the {} process ended at once", role.name()))?.parse()?;
        Ok(Self { address, child })
    }

    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        i32::try_from(self.child.id().context("a helper ended")?).context("a process id is a small number")
    }
}

/// The processor time that a process has used, in milliseconds. Linux counts it in hundredths of a second.
pub(crate) fn processor_time(pid: i32) -> anyhow::Result<f64> {
    const MILLIS_OF_A_TICK: f64 = 10.0;
    const USER: usize = 11;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain anything; user and system time are the 12th and 13th word behind it.
    let (_, words) = stat.rsplit_once(')').context("a process without a name")?;
    let ticks = words.split_whitespace().skip(USER).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) * MILLIS_OF_A_TICK)
}

/// The process of egress that works for a server.
pub(crate) fn egress_of(server: i32) -> anyhow::Result<i32> {
    let keeper = child(server, "keeper").context("the server has no keeper of egress")?;
    child(keeper, "worker").context("the server has no egress")
}

/// The child of a process that has such a role in egress.
fn child(parent: i32, role: &str) -> Option<i32> {
    let names = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).find(|pid: &i32| {
        let read = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let stat = read("stat");
        let of: Option<i32> = stat.rsplit_once(')').and_then(|(_, words)| words.split_whitespace().nth(1)?.parse().ok());
        of == Some(parent) && read("cmdline").split('\0').any(|word| word == role)
    })
}

/// Resident memory of a process, in megabytes (10^6 bytes).
pub(crate) fn resident(pid: i32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024.0 / 1e6)
}

/// Sends a signal; the process may be gone.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Kills what a server left behind in a data directory: its spawner, which has files in it open, and the inits of
/// its sandboxes, which are on record there.
pub(crate) fn kill_leftovers(data_dir: &Path) {
    // A spawner that is asked takes everything with it.
    const LOOKS: usize = 100;
    holders(data_dir).into_iter().for_each(|pid| signal(pid, Signal::SIGTERM));
    for _ in 0..LOOKS {
        if holders(data_dir).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for pid in holders(data_dir).into_iter().chain(inits(data_dir)) {
        signal(pid, Signal::SIGKILL);
    }
}

fn holders(data_dir: &Path) -> Vec<i32> {
    let own = std::process::id().to_string();
    let names = std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let opens = |pid: &i32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(data_dir))
    };
    names.filter(|name| *name != own).filter_map(|name| name.parse().ok()).filter(opens).collect()
}

fn inits(data_dir: &Path) -> Vec<i32> {
    let sandboxes = std::fs::read_dir(data_dir.join("sandboxes")).into_iter().flatten().flatten();
    let recorded = sandboxes.filter_map(|sandbox| std::fs::read_to_string(sandbox.path().join("init.json")).ok());
    let pids = recorded.filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?["pid"].as_i64());
    let pids = pids.filter_map(|pid| i32::try_from(pid).ok());
    // Numbers are given again, so the name must fit.
    pids.filter(|pid| *pid > 1 && std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "init")).collect()
}

/// A directory for one run on the disk of the workspace: what is below /tmp may be memory.
pub(crate) fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let place = workspace().join("target/bench");
    std::fs::create_dir_all(&place)?;
    tempfile::Builder::new().prefix("run-").tempdir_in(&place).with_context(|| format!("making a directory in {}", place.display()))
}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}
