//! Starting one sandbox: fork into new namespaces, map the ids, let the child confine itself, and hear its
//! word that it did. The spawner attends to others meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, pipe2};
use ostler_core::hex::hex;
use ostler_core::ids::IncarnationId;

use super::directory::{Prepared, Slots};
use super::{Launch, directory, record};
use crate::cgroup::{Entries, Groups, Meters};
use crate::confine::{self, Doors, LayerError, SetupReport, Trees};
use crate::init::{self, Life};
use crate::layout::AGENT_ID;
use crate::limits;
use crate::spec::{BuildAs, IdMapping, IsolationFloor, SandboxSpec};
use crate::sys::{self, Alone, Side};

/// A sandbox that has come to life.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) path: PathBuf,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) group: String,
    pub(super) ids: IdMapping,
    pub(super) layers: Vec<String>,
    /// Milliseconds on the boot clock.
    pub(super) at: u64,
    /// Where one without a session hears the name of its life.
    summons: Option<File>,
}

const DISK: &str = "check the space and the permissions of the data directory";
const CONTROL_GROUPS: &str = "give the server control groups that it may write (systemd: Delegate=yes), or none at all";
const HARD_LIMITS: &str =
    "run the server as root or where control groups are delegated to it (systemd: Delegate=yes), or do not require hard limits";
const OWN_KERNEL: &str = "set up the backend `oci` with a runtime that has one, such as runsc, or ask for less";
const ROOT_BUILDS: &str = "run the server as root, or take an image that has them (`ostler images import`) and leave packages.apt empty";
const OWN_IDS: &str = "run the server as root; an ordinary user can serve one workspace, whose environments must not ask for sandbox.isolation beyond shared_ids";
const USER_NAMESPACES: &str = "allow user namespaces: sysctl user.max_user_namespaces must not be 0, kernel.unprivileged_userns_clone must be 1 where it exists, \
     kernel.apparmor_restrict_unprivileged_userns must be 0 (Ubuntu); in Docker, run the server with --security-opt seccomp=unconfined --security-opt apparmor=unconfined, or as root of the host";

/// A sandbox on its way to life.
#[derive(Debug)]
pub(super) struct Birth {
    path: PathBuf,
    pid: Pid,
    pidfd: OwnedFd,
    group: String,
    ids: IdMapping,
    /// Layers that the spawner set up.
    layers: Vec<String>,
    go: Option<File>,
    report: File,
    said: Vec<u8>,
    at: u64,
    pub(super) deadline: Instant,
}

/// What the child needs to become init.
struct Inheritance {
    alone: Alone,
    spec: SandboxSpec,
    incarnation: Option<IncarnationId>,
    trees: Option<Trees>,
    entries: Entries,
    meters: Meters,
    go: File,
    report: File,
}

/// Begins to start a sandbox; without the name of a life, one that waits for it. On failure nothing of it runs.
pub(super) fn begin(
    alone: &Alone,
    launch: &Launch,
    slots: &mut Slots,
    groups: &mut Groups,
    name: &str,
    incarnation: Option<&IncarnationId>,
    spec: &SandboxSpec,
) -> Result<Birth, LayerError> {
    let disk = |error: io::Error| LayerError::new("directories", error, DISK);
    required(spec, groups)?;
    let mut prepared = directory::prepare(launch, slots, name, spec)?;
    if let Some(incarnation) = incarnation {
        directory::renew_results(&prepared.path, incarnation).map_err(disk)?;
    }
    let grouping = |error: io::Error| LayerError::new("control groups", error, CONTROL_GROUPS);
    let group_name = hex(sys::random::<8>().map_err(disk)?);
    let group = groups.make(&group_name, spec).map_err(grouping)?;
    let started = || -> Result<_, LayerError> {
        let (waits, go) = pipe2(OFlag::O_CLOEXEC).map_err(|error| disk(error.into()))?;
        let (reads, report) = pipe2(OFlag::O_CLOEXEC).map_err(|error| disk(error.into()))?;
        fcntl(&reads, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| disk(error.into()))?;
        let entries = group.entries().map_err(grouping)?;
        let at = sys::boot_ms();
        let cloned = match prepared.ids {
            IdMapping::OwnRange => sys::clone_as(alone, confine::namespaces(spec), prepared.first_id),
            IdMapping::ServerUser => sys::clone_into(alone, confine::namespaces(spec)),
        };
        let cloned = cloned.map_err(|error| LayerError::new("namespaces", error, USER_NAMESPACES))?;
        let (pid, pidfd) = match cloned {
            Side::Child => {
                drop((go, reads));
                let alone = Alone::check().unwrap_or_else(|_| sys::exit_now(1));
                let (trees, incarnation) = (prepared.trees.take(), incarnation.cloned());
                let (go, report) = (waits.into(), report.into());
                become_init(
                    &prepared,
                    Inheritance { alone, spec: spec.clone(), incarnation, trees, entries, meters: group.meters, go, report },
                )
            }
            Side::Parent(child) => child,
        };
        drop((waits, report));
        let mut go = File::from(go);
        let released = map_ids(pid, &prepared)
            .and_then(|()| group.join(pid).map_err(grouping))
            .and_then(|()| incarnation.map_or(Ok(()), |life| record::write(&prepared.path, life, pid, &group_name, at).map_err(disk)))
            .and_then(|()| go.write_all(b"g").map_err(disk));
        // A refusal takes no isolation away.
        fs::write(format!("/proc/{pid}/oom_score_adj"), limits::OOM_SCORE.to_string()).ok();
        let mut layers = vec![if prepared.has_disk { "disk limit" } else { "watched disk" }.to_owned()];
        let limited = groups.controllers();
        if !limited.is_empty() {
            layers.push(format!("control groups ({})", limited.join(", ")));
        }
        let birth = Birth {
            path: prepared.path.clone(),
            pid,
            pidfd,
            group: group_name.clone(),
            ids: prepared.ids,
            layers,
            go: incarnation.is_none().then_some(go),
            report: reads.into(),
            said: Vec::new(),
            at,
            deadline: Instant::now() + if spec.build.is_some() { limits::BUILD_SETUP_DEADLINE } else { limits::SETUP_DEADLINE },
        };
        match released {
            Ok(()) => Ok(birth),
            Err(error) => {
                birth.end();
                Err(error)
            }
        }
    };
    started().inspect_err(|_| groups.remove(&group_name))
}

/// What no directory is needed for to know that it cannot be had.
fn required(spec: &SandboxSpec, groups: &Groups) -> Result<(), LayerError> {
    let is_root = nix::unistd::geteuid().is_root();
    if spec.required.isolation > IsolationFloor::OwnIds {
        return Err(LayerError::new("kernel", "this backend shares the host's kernel", OWN_KERNEL));
    }
    if spec.required.isolation == IsolationFloor::OwnIds && !is_root {
        return Err(LayerError::new("ids", "the server is an ordinary user, whose sandboxes share its one id", OWN_IDS));
    }
    if spec.build == Some(BuildAs::Root) && !is_root {
        return Err(LayerError::new(
            confine::PACKAGES,
            "the server is an ordinary user, who cannot install Debian packages: they need several ids",
            ROOT_BUILDS,
        ));
    }
    let missing: Vec<&str> = ["memory", "pids", "cpu"].into_iter().filter(|wanted| !groups.controllers().contains(wanted)).collect();
    if spec.required.hard_limits && !missing.is_empty() {
        return Err(LayerError::new("control groups", format!("there are none for {}", missing.join(", ")), HARD_LIMITS));
    }
    if spec.required.hard_limits && !is_root {
        return Err(LayerError::new("disk limit", "only root can mount a disk of fixed size", HARD_LIMITS));
    }
    Ok(())
}

impl Birth {
    /// What to wait for: it is readable when the child has something to say, or is dead.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// Hears what the child says. `None`: it has not finished.
    pub(super) fn hear(&mut self) -> Option<Result<Vec<String>, LayerError>> {
        let mut chunk = [0; 4096];
        loop {
            match self.report.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.said.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < self.deadline => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Some(Err(lost(format!("no report within {} seconds", limits::SETUP_DEADLINE.as_secs()))));
                }
                Err(error) => return Some(Err(lost(error.to_string()))),
            }
            if self.said.len() > limits::MAX_SETUP_REPORT {
                return Some(Err(lost("its report is too long".into())));
            }
        }
        Some(match serde_json::from_slice(&self.said) {
            Ok(SetupReport::Ready { layers }) => Ok(layers),
            Ok(SetupReport::Failed(error)) => Err(error),
            Err(_) => Err(lost("it died during its setup".into())),
        })
    }

    /// It is alive, with these layers.
    pub(super) fn born(self, mut layers: Vec<String>) -> Born {
        let Self { path, pid, pidfd, group, ids, layers: more, go, at, .. } = self;
        layers.extend(more);
        Born { path, pid, pidfd, group, ids, layers, at, summons: go }
    }

    /// Ends it; nothing of it runs afterwards. Returns the name of its group.
    pub(super) fn end(self) -> String {
        // It is our child and not reaped, so the descriptor stands for it.
        let _ = sys::kill_pidfd(&self.pidfd);
        let _ = nix::sys::wait::waitpid(self.pid, None);
        record::remove(&self.path);
        self.group
    }
}

impl Born {
    /// Gives one that waits to a session: its directory, and the name of its life.
    pub(super) fn summon(&mut self, path: PathBuf, incarnation: &IncarnationId) -> io::Result<()> {
        let mut summons = self.summons.take().ok_or_else(|| io::Error::other("it has a session"))?;
        fs::rename(&self.path, &path)?;
        self.path = path;
        self.at = sys::boot_ms();
        directory::renew_results(&self.path, incarnation)?;
        record::write(&self.path, incarnation, self.pid, &self.group, self.at)?;
        summons.write_all(incarnation.as_str().as_bytes())
    }
}

fn lost(reason: String) -> LayerError {
    LayerError::new("setup", reason, "see spawner.log in the sandbox directory, and try again")
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

/// Runs in the child. Nothing of the spawner is used again and nothing here returns.
fn become_init(prepared: &Prepared, inheritance: Inheritance) -> ! {
    // What the spawner waits for itself.
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
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
    let Inheritance { alone, spec, incarnation, trees, entries, meters, mut go, mut report } = inheritance;
    // Before it has other ids, and before it is told to go on.
    let entered = entries.enter().map_err(|error| LayerError::new("control groups", error, CONTROL_GROUPS));
    drop(entries);
    let mut byte = [0];
    if go.read_exact(&mut byte).is_err() {
        sys::exit_now(1);
    }
    let trees = trees.map_or_else(|| Trees::open(&prepared.path, &prepared.path, &prepared.system), Ok);
    let trees = entered.and_then(|()| trees.map_err(|error| LayerError::new("workspace", error, DISK)));
    let done = trees.and_then(|trees| {
        let (layers, doors) = confine::enter(&spec, prepared.ids, &trees)?;
        let descriptors = || {
            let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            for number in 0..3 {
                sys::dup_to(&null, number)?;
            }
            drop(null);
            let keep = [prepared.listener.as_raw_fd(), report.as_raw_fd(), go.as_raw_fd()].into_iter();
            let doors = doors.iter().flat_map(Doors::descriptors);
            let keep: Vec<_> = keep.chain(trees.held.descriptors()).chain(meters.descriptors()).chain(doors).collect();
            if spec.lacks("closed descriptors") { Ok(()) } else { sys::close_all_but(&keep) }
        };
        descriptors().map_err(|error| LayerError::new("descriptors", error, DISK))?;
        Ok((trees, layers, doors))
    });
    let (trees, layers, doors) = match done {
        Ok(done) => done,
        Err(error) => {
            say(&mut report, &SetupReport::Failed(error));
            sys::exit_now(1)
        }
    };
    // What was closed by number must not be closed again by its owner.
    std::mem::forget((trees.shared, trees.system, trees.packages, trees.build, trees.trust));
    let listener = prepared.listener.try_clone();
    let Ok(listener) = listener else { sys::exit_now(1) };
    say(&mut report, &SetupReport::Ready { layers });
    drop(report);
    let (secret, watches_disk) = (prepared.secret.clone(), !prepared.has_disk && spec.disk_bytes > 0);
    (alone, Life { incarnation, summons: go, secret, spec, listener, held: trees.held, doors, meters, watches_disk })
}
