//! The directories that only init and its supervisors can write, among them the results that wait for
//! their acknowledgement and the call files. A result is on disk before anyone is told of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use ostler_core::call::CallOutcome;
use ostler_core::ids::EventId;

use crate::cgroup::Meters;
use crate::confine::Held;
use crate::limits;

/// What a sandbox may have where the kernel does not hold it to that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watched {
    /// Bytes and files on disk.
    pub(crate) disk: Option<(u64, u64)>,
    /// Bytes of memory of all processes.
    pub(crate) memory: Option<u64>,
}

/// The directories, and what is counted.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) held: Held,
    /// What is counted of the sandbox.
    pub(crate) meters: Meters,
    /// What is to be watched.
    pub(crate) watched: Watched,
    /// Whether there is a way out of its network.
    pub(crate) has_doors: bool,
}

impl Kept {
    /// Notes that a call was received, which tells a later server what happened if init dies.
    pub(crate) fn received(&self, call: &EventId) -> io::Result<()> {
        create(&self.held.results, call.as_str(), 0o600).map(drop)
    }

    /// Keeps the result of a call.
    pub(crate) fn settle(&self, call: &EventId, outcome: &CallOutcome) -> io::Result<()> {
        let next = format!("{call}.next");
        let _ = unlinkat(&self.held.results, next.as_str(), UnlinkatFlags::NoRemoveDir);
        create(&self.held.results, &next, 0o600)?.write_all(&serde_json::to_vec(outcome)?)?;
        renameat(&self.held.results, next.as_str(), &self.held.results, call.as_str())?;
        Ok(())
    }

    /// The result of a call as it was kept. None while it is only received.
    pub(crate) fn result(&self, call: &EventId) -> io::Result<Option<Vec<u8>>> {
        let file = openat(&self.held.results, call.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).take(limits::MAX_FRAME as u64).read_to_end(&mut bytes)?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Whether a call has its result.
    pub(crate) fn is_settled(&self, call: &EventId) -> bool {
        nix::sys::stat::fstatat(&self.held.results, call.as_str(), nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_size > 0)
    }

    /// Drops the result of a call.
    pub(crate) fn forget(&self, call: &EventId) {
        let _ = unlinkat(&self.held.results, call.as_str(), UnlinkatFlags::NoRemoveDir);
    }

    /// The call's file, which the workload can read and not change.
    pub(crate) fn call_file(&self, call: &EventId) -> io::Result<File> {
        create(&self.held.calls, call.as_str(), 0o444)
    }

    /// The descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.held.descriptors().chain(self.meters.descriptors())
    }
}

fn create(directory: &OwnedFd, name: &str, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(directory, name, flags, Mode::from_bits_truncate(mode))?.into())
}

#[cfg(test)]
impl Kept {
    /// Directories below this one, in which nothing is counted.
    pub(crate) fn in_directory(dir: &std::path::Path) -> Self {
        let open = |name: &str| -> OwnedFd {
            std::fs::create_dir_all(dir.join(name)).unwrap();
            File::open(dir.join(name)).unwrap().into()
        };
        let held = Held { calls: open("calls"), uploads: open("uploads"), results: open("results"), transfers: open("transfers") };
        Self { held, meters: Meters::default(), watched: Watched::default(), has_doors: false }
    }
}
