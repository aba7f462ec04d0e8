//! The sandboxes that live, and who waits for the end of one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use nix::unistd::Pid;
use ostler_core::ids::{IncarnationId, SessionId};

use super::birth::Born;
use super::ending::{self, Why};
use super::record;
use crate::spec::SandboxSpec;
use crate::sys;

/// Who asks for the next life of a sandbox.
#[derive(Debug)]
pub(super) struct Wish {
    /// The connection.
    pub(super) peer: u64,
    pub(super) incarnation: IncarnationId,
    pub(super) spec: SandboxSpec,
}

/// One life.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) incarnation: IncarnationId,
    pub(super) pid: Pid,
    pidfd: OwnedFd,
    /// An init that an earlier spawner started is not ours to reap.
    is_child: bool,
    /// Its control group.
    pub(super) group: String,
    /// Milliseconds on the boot clock.
    pub(super) born: u64,
    /// Whether it was killed.
    pub(super) is_dying: bool,
    /// When a server last needed it.
    pub(super) needed: Instant,
    /// The connections to be told of its end.
    pub(super) mourners: Vec<u64>,
    /// What follows it.
    pub(super) next: Option<Wish>,
    /// Why it was killed, if it is told.
    why: Option<Why>,
}

impl Sandbox {
    pub(super) fn child(incarnation: IncarnationId, born: Born) -> Self {
        let Born { pid, pidfd, group, at, .. } = born;
        Self {
            incarnation,
            pid,
            pidfd,
            is_child: true,
            group,
            born: at,
            is_dying: false,
            needed: Instant::now(),
            mourners: Vec::new(),
            next: None,
            why: None,
        }
    }

    pub(super) fn kill(&mut self) {
        self.is_dying = true;
        // It can only fail because the process is gone, which the descriptor tells as well.
        let _ = sys::kill_pidfd(&self.pidfd);
    }

    pub(super) fn kill_because(&mut self, why: Why) {
        self.why = Some(why);
        self.kill();
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// To be called once its descriptor says that it is dead: then its namespace is empty. `killed`: processes of it that were
    /// killed for memory.
    pub(super) fn bury(&self, directory: &Path, killed: u64) {
        let status = if self.is_child { nix::sys::wait::waitpid(self.pid, None).ok() } else { None };
        let found = || status.filter(|_| !self.is_dying).and_then(|status| Why::of(&status, killed));
        if let Some(why) = self.why.or_else(found) {
            ending::write(directory, &self.incarnation, why);
        }
        record::remove(directory);
    }
}

/// Those that survived an earlier spawner.
pub(super) fn survivors(dir: &Path) -> std::io::Result<BTreeMap<SessionId, Sandbox>> {
    let mut survivors = BTreeMap::new();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<SessionId>().ok());
        if let Some(id) = id
            && let Some(found) = record::find(&entry.path())
        {
            let record::Found { incarnation, pid, pidfd, group, born } = found;
            let (group, needed) = (if group.is_empty() { id.as_str().to_owned() } else { group }, Instant::now());
            let sandbox = Sandbox {
                incarnation,
                pid,
                pidfd,
                is_child: false,
                group,
                born,
                is_dying: false,
                needed,
                mourners: Vec::new(),
                next: None,
                why: None,
            };
            survivors.insert(id, sandbox);
        }
    }
    Ok(survivors)
}
