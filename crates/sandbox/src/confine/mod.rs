//! Confinement: what a freshly cloned child does to itself before it becomes init. Each step is a
//! layer with a name; the first that fails ends the child with that name, the reason and a remedy.
//! Nothing here decides what runs inside.

mod etc;
mod mounts;
mod privileges;
mod proc;
mod seccomp;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::layout::{self, SHARED, Shared};
use crate::spec::{IdMapping, SandboxSpec};
use crate::sys;

/// The namespaces of a sandbox but that of control groups, which comes once its process is in its group:
/// what was its group then is all that can be seen from inside.
pub(crate) const NAMESPACES: libc::c_int =
    libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

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

/// The trees of the host's disk that go into a sandbox, and the two that only init holds.
#[derive(Debug)]
pub(crate) struct Trees {
    /// In the order of [`crate::layout::SHARED`].
    pub(crate) shared: Vec<OwnedFd>,
    /// The call files, writable.
    pub(crate) calls: OwnedFd,
    /// The results.
    pub(crate) results: OwnedFd,
}

impl Trees {
    /// Takes them from a sandbox's directory, each cut off from what is around it.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let take = |name: &str, more: u64| {
            let tree = sys::open_tree(directory.join(name).as_os_str(), false)?;
            sys::set_mount_attributes(&tree, sys::MOUNT_NOSUID | sys::MOUNT_NODEV | more, false)?;
            Ok::<_, io::Error>(tree)
        };
        let read_only = |shared: &Shared| if shared.writable { 0 } else { sys::MOUNT_RDONLY | sys::MOUNT_NOEXEC };
        let shared = SHARED.iter().map(|shared| take(shared.name, read_only(shared))).collect::<io::Result<_>>()?;
        Ok(Self { shared, calls: take(layout::CALLS, sys::MOUNT_NOEXEC)?, results: take(layout::RESULTS, sys::MOUNT_NOEXEC)? })
    }
}

/// Confines this process, which was cloned into [`NAMESPACES`] and whose ids are mapped.
pub(crate) fn enter(spec: &SandboxSpec, ids: IdMapping, trees: &Trees) -> Result<Vec<String>, LayerError> {
    let mut layers = vec!["namespaces".to_owned()];
    let mut on = |layer: &str, done: io::Result<()>, remedy: &str| {
        layers.push(layer.to_owned());
        done.map_err(|error| LayerError::new(layer, error, remedy))
    };
    on("ids", privileges::become_namespace_root(ids), "check that the uid block is not restricted by the host's user namespace")?;
    on("group namespace", nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).map_err(Into::into), KERNEL)?;
    on("root file system", mounts::new_root(), KERNEL)?;
    on("system directories", mounts::system(), "the host needs a readable /usr, and a kernel of 5.12 or later")?;
    on("devices", mounts::devices(spec), "the host needs /dev/null, zero, full, random, urandom and tty")?;
    on(
        "/proc",
        proc::mount(),
        "if the server runs in a container, give it an unmasked /proc (Docker: --security-opt systempaths=unconfined)",
    )?;
    on("/etc", etc::build(), KERNEL)?;
    on("/tmp", mounts::scratch(spec), KERNEL)?;
    on("workspace", mounts::shared(trees), "keep the data directory on a local file system of the host")?;
    on("pivot_root", mounts::pivot(), KERNEL)?;
    on("network", network(), KERNEL)?;
    on("limits", privileges::limit(spec), "raise the hard limits of the server's process, or lower the sandbox's limits")?;
    on("capabilities", privileges::become_agent(ids), KERNEL)?;
    on("seccomp", seccomp::install(), "the kernel needs CONFIG_SECCOMP_FILTER")?;
    Ok(layers)
}

const KERNEL: &str = "run the server on Linux 5.12 or later, outside of containers that forbid mounts";

fn network() -> io::Result<()> {
    nix::unistd::sethostname("sandbox")?;
    sys::loopback_up()
}
