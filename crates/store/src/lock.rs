//! One process per data directory: an advisory lock that the kernel releases with the process,
//! however it dies. Not a lock between threads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of the lock file in the data directory.
const FILE: &str = "lock";

/// The longest process id read back.
const PID_TEXT: u64 = 16;

/// Why the data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by process {}: stop it, or choose another data directory", dir.display(), pid.map_or("(unknown)".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The holder, when it could be read.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("locking the data directory {}", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The lock on a data directory; held until dropped. The descriptor is close-on-exec, so that
/// programs started by the holder do not keep it.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

impl DataDirLock {
    /// Locks `dir`, making it if it is missing. Never waits.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io { dir: dir.to_owned(), source };
        crate::sqlite::create_dir(dir).map_err(io)?;
        let path = dir.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { dir: dir.to_owned(), pid: written_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        file.write_all(std::process::id().to_string().as_bytes()).map_err(io)?;
        Ok(Self { file })
    }

    /// Takes over the lock that this process held before it started another program in its place, by its descriptor.
    ///
    /// # Errors
    /// When somebody else holds the lock of that file.
    pub fn inherited(descriptor: OwnedFd) -> std::io::Result<Self> {
        let file = File::from(descriptor);
        // What is locked already stays so.
        file.try_lock()?;
        Ok(Self { file })
    }

    /// The process that holds `dir` now; `None` when nobody does.
    pub fn holder(dir: &Path) -> Option<u32> {
        let mut file = File::open(dir.join(FILE)).ok()?;
        // A shared attempt, so that two askers do not take each other for a holder.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => written_pid(&mut file),
            Ok(()) => {
                let _ = file.unlock();
                None
            }
            Err(TryLockError::Error(_)) => None,
        }
    }
}

impl AsFd for DataDirLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for DataDirLock {
    /// Unlocks by name: closing alone would leave the lock with a child forked just now until it
    /// execs. An error changes nothing, the kernel unlocks when the last copy is closed.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

fn written_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(PID_TEXT).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_acquire_fails_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDirLock::holder(dir.path()), None);
        let held = DataDirLock::acquire(dir.path()).unwrap();
        let me = std::process::id();
        let refused = DataDirLock::acquire(dir.path()).unwrap_err();
        assert!(refused.to_string().contains(&me.to_string()), "{refused}");
        assert_eq!(DataDirLock::holder(dir.path()), Some(me));
        drop(held);
        assert_eq!(DataDirLock::holder(dir.path()), None);
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_is_taken_over_by_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDirLock::acquire(dir.path()).unwrap();
        let taken = DataDirLock::inherited(held.as_fd().try_clone_to_owned().unwrap()).unwrap();
        // As when another program takes this one's place: nothing is unlocked.
        std::mem::forget(held);
        assert_eq!(DataDirLock::holder(dir.path()), Some(std::process::id()));
        let other = File::open(dir.path().join(FILE)).unwrap();
        assert!(DataDirLock::inherited(other.into()).is_err(), "it is held by another one");
        drop(taken);
        assert_eq!(DataDirLock::holder(dir.path()), None);
    }

    /// Where the child below finds the directory to lock.
    const DIR: &str = "OSTLER_STORE_TEST_LOCK_DIR";

    #[test]
    #[ignore = "started by the test below, waits to be killed"]
    fn locking_child() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        let _held = DataDirLock::acquire(Path::new(&dir)).unwrap();
        std::io::stdout().write_all(b"\nlocked\n").unwrap();
        // Ends when the parent closes the pipe or kills this process.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }

    #[test]
    fn a_killed_holder_leaves_no_lock() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lock::tests::locking_child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
        let refused = DataDirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == child.id()), "{refused}");
        child.kill().unwrap();
        child.wait().unwrap();
        DataDirLock::acquire(dir.path()).unwrap();
    }
}
