//! Confinement: what a freshly cloned child does to itself before it becomes init. Each step is a
//! layer with a name; the first that fails ends the child with that name, the reason and a remedy.
//! Nothing here decides what runs inside.

pub(crate) mod doors;
pub(crate) mod etc;
mod landlock;
mod mounts;
mod packages;
mod privileges;
mod proc;
mod seccomp;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use self::doors::Doors;
use crate::layout::{self, SHARED, Shared};
use crate::spec::{IdMapping, SandboxSpec};
use crate::sys;

/// The namespaces of a sandbox but that of control groups, which comes once its process is in its group:
/// what was its group then is all that can be seen from inside.
pub(crate) const NAMESPACES: libc::c_int =
    libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// The namespaces of this sandbox.
pub(crate) fn namespaces(spec: &SandboxSpec) -> libc::c_int {
    let lacking = |layer: &str, flag: libc::c_int| if spec.lacks(layer) { flag } else { 0 };
    NAMESPACES
        & !(lacking("pid namespace", libc::CLONE_NEWPID)
            | lacking("net namespace", libc::CLONE_NEWNET)
            | lacking("ipc namespace", libc::CLONE_NEWIPC))
}

/// A layer that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerError {
    /// The layer.
    pub(crate) layer: String,
    /// Why.
    pub(crate) reason: String,
    /// What a person can do about it.
    pub(crate) remedy: String,
}

impl LayerError {
    pub(crate) fn new(layer: &str, reason: impl ToString, remedy: &str) -> Self {
        Self { layer: layer.into(), reason: reason.to_string(), remedy: remedy.into() }
    }
}

/// What a child says to the spawner when it is done with itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum SetupReport {
    /// Everything is on.
    Ready {
        /// The layers, in the order of their set-up.
        layers: Vec<String>,
    },
    /// Something is not.
    Failed(LayerError),
}

/// The trees of the host's disk that go into a sandbox, and those that only init holds.
#[derive(Debug)]
pub(crate) struct Trees {
    /// The image that is the system, read-only; none: the host's own.
    pub(crate) system: Option<OwnedFd>,
    /// In the order of [`crate::layout::SHARED`].
    pub(crate) shared: Vec<OwnedFd>,
    /// The layer of packages over it, read-only.
    pub(crate) packages: Option<OwnedFd>,
    /// Where a build writes.
    pub(crate) build: Option<OwnedFd>,
    /// The certificates to trust, of a sandbox with doors.
    pub(crate) trust: Option<OwnedFd>,
    /// What only init holds.
    pub(crate) held: Held,
}

/// Where the parts of a sandbox's system lie on the host.
#[derive(Debug, Clone, Default)]
pub(crate) struct System {
    /// The files of an image; none: the host's own system.
    pub(crate) image: Option<PathBuf>,
    /// The files of a layer of packages.
    pub(crate) packages: Option<PathBuf>,
    /// Where a build writes.
    pub(crate) build: Option<PathBuf>,
    /// The certificates to trust.
    pub(crate) trust: Option<PathBuf>,
}

/// Directories that init can write, and the workload cannot even where it can see them.
#[derive(Debug)]
pub(crate) struct Held {
    /// The call files.
    pub(crate) calls: OwnedFd,
    /// What the session was given.
    pub(crate) uploads: OwnedFd,
    /// The results.
    pub(crate) results: OwnedFd,
    /// Archives on their way in or out.
    pub(crate) transfers: OwnedFd,
}

impl Held {
    /// The descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.calls, &self.uploads, &self.results, &self.transfers].into_iter().map(AsRawFd::as_raw_fd)
    }
}

impl Trees {
    /// Takes them from where a sandbox's files lie and from its directory, each cut off from what is around it,
    /// and the system from its image.
    pub(crate) fn open(files: &Path, directory: &Path, system: &System) -> io::Result<Self> {
        let take = |path: PathBuf, more: u64| {
            let tree = sys::open_tree(path.as_os_str(), false)?;
            sys::set_mount_attributes(&tree, sys::MOUNT_NOSUID | sys::MOUNT_NODEV | more, false)?;
            Ok::<_, io::Error>(tree)
        };
        let read_only = |shared: &Shared| if shared.writable { 0 } else { sys::MOUNT_RDONLY | sys::MOUNT_NOEXEC };
        let shared = SHARED.iter().map(|shared| take(files.join(shared.name), read_only(shared))).collect::<io::Result<_>>()?;
        let held = Held {
            calls: take(files.join(layout::CALLS), sys::MOUNT_NOEXEC)?,
            uploads: take(files.join(layout::UPLOADS), sys::MOUNT_NOEXEC)?,
            results: take(directory.join(layout::RESULTS), sys::MOUNT_NOEXEC)?,
            transfers: take(directory.join(layout::TRANSFERS), sys::MOUNT_NOEXEC)?,
        };
        let read_only = |path: &Option<PathBuf>, more: u64| path.clone().map(|path| take(path, sys::MOUNT_RDONLY | more)).transpose();
        let trust = read_only(&system.trust, sys::MOUNT_NOEXEC)?;
        let packages = read_only(&system.packages, 0)?;
        let build = system.build.clone().map(|build| take(build, 0)).transpose()?;
        Ok(Self { system: read_only(&system.image, 0)?, packages, build, shared, trust, held })
    }
}

/// Confines this process, which was cloned into [`NAMESPACES`] and whose ids are mapped.
pub(crate) fn enter(spec: &SandboxSpec, ids: IdMapping, trees: &Trees) -> Result<(Vec<String>, Option<Doors>), LayerError> {
    let mut layers = vec!["namespaces".to_owned()];
    let mut on = |layer: &str, done: io::Result<()>, remedy: &str| {
        layers.push(layer.to_owned());
        done.map_err(|error| LayerError::new(layer, error, remedy))
    };
    on("ids", privileges::become_namespace_root(ids), "check that the uid block is not restricted by the host's user namespace")?;
    on("group namespace", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).map_err(Into::into), KERNEL)?;
    on("root file system", mounts::new_root(), KERNEL)?;
    on(
        "system directories",
        mounts::system(spec, trees.system.as_ref()),
        "the system needs a readable /usr, and the kernel must be 5.12 or later",
    )?;
    if trees.packages.is_some() || trees.build.is_some() {
        on(PACKAGES, packages::over_system(spec, trees), packages::REMEDY)?;
    }
    on("devices", mounts::devices(spec), "the host needs /dev/null, zero, full, random, urandom and tty")?;
    on(
        "/proc",
        proc::mount(spec),
        "if the server runs in a container, give it an unmasked /proc (Docker: --security-opt systempaths=unconfined)",
    )?;
    on("/etc", etc::build(spec, trees), KERNEL)?;
    on("/tmp", mounts::scratch(spec), KERNEL)?;
    on("workspace", mounts::shared(trees), "keep the data directory on a local file system of the host")?;
    on("pivot_root", mounts::leave_sources().and_then(|()| mounts::pivot()), KERNEL)?;
    let mut doors = None;
    on("network", doors::network(spec).map(|opened| doors = opened), KERNEL)?;
    on("limits", privileges::limit(spec), "raise the hard limits of the server's process, or lower the sandbox's limits")?;
    on("capabilities", privileges::become_agent(spec, ids), KERNEL)?;
    let behind = if spec.lacks("landlock") { Ok(false) } else { landlock::restrict(&trees.held, spec.build.is_some()) };
    let behind = behind.map_err(|error| LayerError::new("landlock", error, KERNEL))?;
    // The walls before it stand without it, so it is missed and not required.
    layers.push(if behind { "landlock" } else { "no landlock (the kernel has none)" }.to_owned());
    if !spec.lacks("seccomp") {
        seccomp::install().map_err(|error| LayerError::new("seccomp", error, "the kernel needs CONFIG_SECCOMP_FILTER"))?;
    }
    layers.push("seccomp".to_owned());
    Ok((layers, doors))
}

/// Confines this process, which is the first of a container: what its engine does not do.
pub(crate) fn enter_container(spec: &SandboxSpec, uid: u32, held: &Held) -> Result<(), LayerError> {
    let failed = |layer: &'static str| move |error: io::Error| LayerError::new(layer, error, KERNEL);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    privileges::limit(spec).map_err(failed("limits"))?;
    privileges::become_agent_of_container(uid).map_err(failed("capabilities"))?;
    landlock::restrict(held, false).map_err(failed("landlock"))?;
    seccomp::install().map_err(failed("seccomp"))
}

/// The layer that a sandbox on a layer of packages says it has.
pub(crate) const PACKAGES: &str = "packages";

const KERNEL: &str = "run the server on Linux 5.12 or later, outside of containers that forbid mounts";
