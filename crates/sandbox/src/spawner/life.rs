//! The sandboxes that live, and who waits for the end of one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::unistd::Pid;
use ostler_core::ids::{IncarnationId, SessionId};

use super::record;
use crate::sys;

/// One life.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) incarnation: IncarnationId,
    pidfd: OwnedFd,
    /// Set for children; an init that an earlier spawner started belongs to the host's init.
    child: Option<Pid>,
    /// The connections to be told of its end.
    pub(super) mourners: Vec<u64>,
}

impl Sandbox {
    pub(super) fn child(incarnation: IncarnationId, pid: Pid, pidfd: OwnedFd) -> Self {
        Self { incarnation, pidfd, child: Some(pid), mourners: Vec::new() }
    }

    pub(super) fn kill(&self) {
        // It can only fail because the process is gone, which the descriptor tells as well.
        let _ = sys::kill_pidfd(&self.pidfd);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// To be called once its descriptor says that it is dead: then its namespace is empty.
    pub(super) fn bury(&self, directory: &Path) {
        if let Some(pid) = self.child {
            let _ = nix::sys::wait::waitpid(pid, None);
        }
        record::remove(directory);
    }
}

/// Those that survived an earlier spawner.
pub(super) fn survivors(dir: &Path) -> std::io::Result<BTreeMap<SessionId, Sandbox>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<SessionId>().ok());
        if let Some(id) = id
            && let Some((incarnation, pidfd)) = record::find(&entry.path())
        {
            found.insert(id, Sandbox { incarnation, pidfd, child: None, mourners: Vec::new() });
        }
    }
    Ok(found)
}
