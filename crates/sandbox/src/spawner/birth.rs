//! Starting one sandbox: fork into new namespaces, map the ids, let the child confine itself, and
//! wait for its word that it did.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};
use ostler_core::ids::{IncarnationId, SessionId};

use super::directory::Prepared;
use super::{Launch, directory, record};
use crate::cgroup::{Groups, Meters};
use crate::confine::{self, LayerError, SetupReport, Trees};
use crate::init::{self, Life};
use crate::layout::AGENT_ID;
use crate::limits;
use crate::spec::{IdMapping, SandboxSpec};
use crate::sys::{self, Alone, Side};

/// A sandbox that has come to life.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) ids: IdMapping,
    pub(super) layers: Vec<String>,
}

const DISK: &str = "check the space and the permissions of the data directory";
const CONTROL_GROUPS: &str = "give the server control groups that it may write (systemd: Delegate=yes), or none at all";
const USER_NAMESPACES: &str = "allow user namespaces: sysctl user.max_user_namespaces must not be 0, kernel.unprivileged_userns_clone must be 1 where it exists, \
     kernel.apparmor_restrict_unprivileged_userns must be 0 (Ubuntu); in Docker, run the server with --security-opt seccomp=unconfined --security-opt apparmor=unconfined, or as root of the host";

/// What the child needs to become init.
struct Inheritance {
    alone: Alone,
    spec: SandboxSpec,
    incarnation: IncarnationId,
    trees: Option<Trees>,
    meters: Meters,
    go: File,
    report: File,
}

/// Starts a sandbox. On failure nothing of it runs.
pub(super) fn create(
    alone: &Alone,
    launch: &Launch,
    groups: &mut Groups,
    sandbox: &SessionId,
    incarnation: &IncarnationId,
    spec: &SandboxSpec,
) -> Result<Born, LayerError> {
    let disk = |error: io::Error| LayerError::new("directories", error, DISK);
    let prepared = directory::prepare(launch, sandbox, incarnation).map_err(disk)?;
    // Root can take the trees here, wherever the directory is; another user can only inside.
    let trees = match prepared.ids {
        IdMapping::OwnRange => Some(Trees::open(&prepared.path).map_err(|error| LayerError::new("directories", error, DISK))?),
        IdMapping::ServerUser => None,
    };
    let grouping = |error: io::Error| LayerError::new("control groups", error, CONTROL_GROUPS);
    let group = groups.make(sandbox.as_str(), spec).map_err(grouping)?;
    let (waits, go) = pipe2(OFlag::O_CLOEXEC).map_err(|error| disk(error.into()))?;
    let (reads, report) = pipe2(OFlag::O_CLOEXEC).map_err(|error| disk(error.into()))?;
    let cloned = sys::clone_into(alone, confine::NAMESPACES).map_err(|error| LayerError::new("namespaces", error, USER_NAMESPACES))?;
    let (pid, pidfd) = match cloned {
        Side::Child => {
            drop((go, reads));
            let proof = Alone::check().unwrap_or_else(|_| sys::exit_now(1));
            become_init(
                &prepared,
                Inheritance {
                    alone: proof,
                    spec: spec.clone(),
                    incarnation: incarnation.clone(),
                    trees,
                    meters: group.meters,
                    go: waits.into(),
                    report: report.into(),
                },
            )
        }
        Side::Parent(child) => child,
    };
    drop((waits, report));
    let layers = map_ids(pid, &prepared)
        .and_then(|()| group.join(pid).map_err(grouping))
        .and_then(|()| record::write(&prepared.path, incarnation, pid).map_err(disk))
        .and_then(|()| File::from(go).write_all(b"g").map_err(disk))
        .and_then(|()| await_report(File::from(reads)));
    match layers {
        Ok(mut layers) => {
            let limited = groups.controllers();
            if !limited.is_empty() {
                layers.push(format!("control groups ({})", limited.join(", ")));
            }
            Ok(Born { pid, pidfd, ids: prepared.ids, layers })
        }
        Err(error) => {
            // It is our child and not reaped, so the descriptor stands for it.
            let _ = sys::kill_pidfd(&pidfd);
            let _ = nix::sys::wait::waitpid(pid, None);
            record::remove(&prepared.path);
            Err(error)
        }
    }
}

fn map_ids(pid: Pid, prepared: &Prepared) -> Result<(), LayerError> {
    let write = |name: &str, text: String| fs::write(format!("/proc/{pid}/{name}"), text);
    let mapped = match prepared.ids {
        IdMapping::OwnRange => {
            let map = format!("0 {} {}\n", prepared.first_id, limits::IDS_PER_SANDBOX);
            write("gid_map", map.clone()).and_then(|()| write("uid_map", map))
        }
        IdMapping::ServerUser => write("setgroups", "deny".into())
            .and_then(|()| write("gid_map", format!("{AGENT_ID} {} 1\n", nix::unistd::getegid())))
            .and_then(|()| write("uid_map", format!("{AGENT_ID} {} 1\n", nix::unistd::geteuid()))),
    };
    mapped.map_err(|error| LayerError::new("ids", error, USER_NAMESPACES))
}

fn await_report(mut from: File) -> Result<Vec<String>, LayerError> {
    let lost = |reason: String| LayerError::new("setup", reason, "see spawner.log in the sandbox directory, and try again");
    let deadline = Instant::now() + limits::SETUP_DEADLINE;
    let mut text = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return Err(lost(format!("no report within {} seconds", limits::SETUP_DEADLINE.as_secs()))),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(lost(error.to_string())),
        }
        let mut chunk = [0; 4096];
        let count = from.read(&mut chunk).map_err(|error| lost(error.to_string()))?;
        text.extend_from_slice(&chunk[..count]);
        if text.len() > limits::MAX_SETUP_REPORT {
            return Err(lost("its report is too long".into()));
        }
        if count == 0 {
            break;
        }
    }
    match serde_json::from_slice(&text) {
        Ok(SetupReport::Ready { layers }) => Ok(layers),
        Ok(SetupReport::Failed(error)) => Err(error),
        Err(_) => Err(lost("it died during its setup".into())),
    }
}

/// Runs in the child. Nothing of the spawner is used again and nothing here returns.
fn become_init(prepared: &Prepared, inheritance: Inheritance) -> ! {
    let setup = std::panic::AssertUnwindSafe(|| confined(prepared, inheritance));
    if let Ok((alone, life)) = std::panic::catch_unwind(setup) {
        init::run(alone, life)
    }
    sys::exit_now(1)
}

fn say(report: &mut File, message: &SetupReport) {
    let text = serde_json::to_vec(message).unwrap_or_default();
    if report.write_all(&text).is_err() {
        sys::exit_now(1);
    }
}

fn confined(prepared: &Prepared, inheritance: Inheritance) -> (Alone, Life) {
    let Inheritance { alone, spec, incarnation, trees, meters, mut go, mut report } = inheritance;
    let mut byte = [0];
    if go.read_exact(&mut byte).is_err() {
        sys::exit_now(1);
    }
    let done = trees.map_or_else(|| Trees::open(&prepared.path), Ok).map_err(|error| LayerError::new("workspace", error, DISK));
    let done = done.and_then(|trees| {
        let layers = confine::enter(&spec, prepared.ids, &trees)?;
        let descriptors = || {
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            for number in 0..3 {
                sys::dup_to(&null, number)?;
            }
            drop(null);
            let keep = [&prepared.listener.as_fd(), &trees.calls.as_fd(), &trees.results.as_fd(), &report.as_fd()].map(AsRawFd::as_raw_fd);
            let keep: Vec<_> = keep.into_iter().chain(meters.descriptors()).collect();
            sys::close_all_but(&keep)
        };
        descriptors().map_err(|error| LayerError::new("descriptors", error, DISK))?;
        Ok((trees, layers))
    });
    let (trees, layers) = match done {
        Ok(done) => done,
        Err(error) => {
            say(&mut report, &SetupReport::Failed(error));
            sys::exit_now(1)
        }
    };
    // What was closed by number must not be closed again by its owner.
    std::mem::forget((trees.shared, go));
    let listener = prepared.listener.try_clone();
    let Ok(listener) = listener else { sys::exit_now(1) };
    say(&mut report, &SetupReport::Ready { layers });
    drop(report);
    (alone, Life { incarnation, secret: prepared.secret.clone(), spec, listener, calls: trees.calls, results: trees.results, meters })
}
