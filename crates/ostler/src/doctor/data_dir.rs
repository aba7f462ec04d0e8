//! The data directory: whose it is, its disk, whether what is written reaches that disk, and who
//! holds it. The only thing written is a file without a name, which is gone when it is closed.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access, geteuid};
use ostler_runtime::limits::DISK_RESERVE_BYTES;
use ostler_store::DataDirLock;

use super::disk::{self, Disk};
use super::limits;
use super::report::{Finding, quote};
use crate::bootstrap;

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) place: Place,
    pub(super) disk: Result<Disk, String>,
    pub(super) written: Written,
    pub(super) lock: Lock,
    /// Whether a server left word of itself.
    pub(super) has_access_file: bool,
}

/// What is at the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Missing { above: PathBuf, can_be_made: bool },
    NoDirectory,
    Unreachable(String),
    There { owner: u32, mode: u32 },
}

/// How writing went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    NotTried,
    Failed(String),
    /// The middle of some times from a write to the end of its fsync.
    Synced(Duration),
}

/// Who holds the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Nobody,
    Process(u32),
    Unreadable,
}

/// Looks; a dead network disk may make it wait for ever.
pub(super) fn look(path: &Path) -> DataDir {
    let place = place(path);
    let at = match &place {
        Place::Missing { above, .. } => above.as_path(),
        _ => path,
    };
    let written = match &place {
        Place::There { .. } => write(path).map_or_else(|error| Written::Failed(error.to_string()), Written::Synced),
        _ => Written::NotTried,
    };
    DataDir {
        path: path.to_owned(),
        uid: geteuid().as_raw(),
        disk: disk::look(at),
        written,
        lock: lock(path),
        has_access_file: bootstrap::access_file(path).exists(),
        place,
    }
}

fn place(path: &Path) -> Place {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Place::There { owner: found.uid(), mode: found.mode() & 0o7777 },
        Ok(_) => Place::NoDirectory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
            let can_be_made = above.is_dir() && access(above, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
            Place::Missing { above: above.to_owned(), can_be_made }
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Place::NoDirectory,
        Err(error) => Place::Unreachable(error.to_string()),
    }
}

fn write(dir: &Path) -> io::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(dir)?;
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || (times.len() < limits::SYNCS && started.elapsed() < limits::SYNCS_FOR) {
        let begun = Instant::now();
        file.rewind()?;
        file.write_all(&[0; limits::SYNC_BYTES])?;
        file.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort();
    times.get(times.len() / 2).copied().ok_or_else(|| io::Error::other("no time was taken"))
}

fn lock(dir: &Path) -> Lock {
    match File::open(dir.join(LOCK_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Lock::Unreadable,
        _ => DataDirLock::holder(dir).map_or(Lock::Nobody, Lock::Process),
    }
}

/// The name of the lock's file, as the store has it.
const LOCK_FILE: &str = "lock";

impl DataDir {
    pub(super) fn judge(&self) -> Vec<Finding> {
        let mut findings = vec![self.place()];
        match &self.disk {
            Ok(disk) => findings.extend(disk.judge(DISK_RESERVE_BYTES)),
            Err(error) => findings.push(Finding::problem("disk_space", quote(error), "see why the file system does not answer")),
        }
        findings.push(self.written());
        findings.push(self.lock());
        findings
    }

    fn shown(&self) -> String {
        quote(&self.path.display().to_string())
    }

    fn place(&self) -> Finding {
        const NAME: &str = "data_dir";
        let path = self.shown();
        let own = format!("install -d -m 700 -o {} {path}  (as root), or choose another with --data-dir", self.uid);
        match &self.place {
            Place::Missing { can_be_made: true, .. } => Finding::ok(NAME, format!("{path} is made at the first start")),
            Place::Missing { above, .. } => Finding::problem(
                NAME,
                format!("{path} is missing, and nothing can be made in {}", quote(&above.display().to_string())),
                own,
            ),
            Place::NoDirectory => Finding::problem(NAME, format!("{path} is no directory"), "choose a directory with --data-dir"),
            Place::Unreachable(error) => Finding::problem(NAME, format!("{path}: {}", quote(error)), own),
            Place::There { owner, mode } => {
                let found = format!("{path} of user {owner} with mode {mode:04o}");
                let open = format!("chmod 700 {path}");
                if mode & 0o022 != 0 {
                    Finding::problem(NAME, format!("{found}: others can put files in the place of ours, keys too"), open)
                } else if *owner != self.uid && self.uid != 0 {
                    Finding::problem(
                        NAME,
                        format!("{found}, and the server would run as user {}", self.uid),
                        format!("chown -R {} {path}  (as root), or choose another with --data-dir", self.uid),
                    )
                } else if *owner != self.uid {
                    Finding::note(
                        NAME,
                        format!("{found}, who can read and change all that root keeps in it"),
                        format!("if the server is to run as that user, run this as that user; else: chown {} {path}", self.uid),
                    )
                } else if mode & 0o077 != 0 {
                    Finding::note(NAME, format!("{found}: others can see the names in it; the files are closed to them"), open)
                } else {
                    Finding::ok(NAME, found)
                }
            }
        }
    }

    fn written(&self) -> Finding {
        const NAME: &str = "fsync";
        match &self.written {
            Written::NotTried => Finding::aside(NAME, "not tried, because the directory is not there"),
            Written::Failed(error) => Finding::problem(
                NAME,
                format!("writing to {}: {}", self.shown(), quote(error)),
                "make it writable for the user of the server, on a disk with space that is not mounted read-only, or choose another with --data-dir",
            ),
            Written::Synced(time) => {
                let found = format!("a write is on the disk after {:.2} ms", time.as_secs_f64() * 1_000.0);
                if *time > limits::SLOW_SYNC {
                    Finding::note(
                        NAME,
                        format!("{found}, and every step of every session waits for one"),
                        "put the data directory on a quicker disk, best an SSD of this machine",
                    )
                } else {
                    Finding::ok(NAME, found)
                }
            }
        }
    }

    fn lock(&self) -> Finding {
        const NAME: &str = "lock";
        match self.lock {
            Lock::Process(pid) => Finding::ok(NAME, format!("a server holds the data directory: process {pid}")),
            Lock::Unreadable => {
                Finding::problem(NAME, "the lock belongs to another user", format!("chown -R {} {}  (as root)", self.uid, self.shown()))
            }
            Lock::Nobody if self.has_access_file => Finding::aside(
                NAME,
                "nobody holds the data directory; the last server did not end in order, and the next one takes up what it left",
            ),
            Lock::Nobody => Finding::ok(NAME, "nobody holds the data directory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> DataDir {
        DataDir {
            path: "/d".into(),
            uid: 1_000,
            place: Place::There { owner: 1_000, mode: 0o700 },
            disk: Ok(disk::tests::good()),
            written: Written::Synced(Duration::from_millis(2)),
            lock: Lock::Nobody,
            has_access_file: false,
        }
    }

    #[test]
    fn a_good_directory_has_nothing_to_be_said_of() {
        assert!(good().judge().iter().all(|finding| finding.status == Status::Ok), "{:#?}", good().judge());
    }

    #[test]
    fn whose_it_is_and_who_can_write_there_counts() {
        let there = |owner, mode| Place::There { owner, mode };
        let table = [
            (1_000, there(1_000, 0o755), Status::Note, "see the names", "chmod 700 /d"),
            (1_000, there(1_000, 0o775), Status::Problem, "put files", "chmod 700 /d"),
            (1_000, there(1_000, 0o1777), Status::Problem, "put files", "chmod 700 /d"),
            (1_000, there(0, 0o700), Status::Problem, "run as user 1000", "chown -R 1000 /d"),
            (0, there(1_000, 0o700), Status::Note, "all that root keeps", "chown 0 /d"),
            (1_000, Place::NoDirectory, Status::Problem, "no directory", "--data-dir"),
            (1_000, Place::Unreachable("Permission denied".into()), Status::Problem, "denied", "install -d"),
            (
                1_000,
                Place::Missing { above: "/".into(), can_be_made: false },
                Status::Problem,
                "nothing can be made in /",
                "install -d -m 700 -o 1000 /d",
            ),
            (1_000, Place::Missing { above: "/".into(), can_be_made: true }, Status::Ok, "first start", ""),
        ];
        for (uid, place, status, found, remedy) in table {
            assert_finding(&DataDir { uid, place, ..good() }.judge(), "data_dir", status, found, remedy);
        }
    }

    #[test]
    fn writes_that_fail_or_drag_are_told() {
        let table = [
            (Written::NotTried, Status::Note, "not there", ""),
            (Written::Failed("Read-only file system".into()), Status::Problem, "Read-only", "writable"),
            (Written::Synced(Duration::from_millis(51)), Status::Note, "51.00 ms", "quicker disk"),
        ];
        for (written, status, found, remedy) in table {
            assert_finding(&DataDir { written, ..good() }.judge(), "fsync", status, found, remedy);
        }
    }

    #[test]
    fn who_holds_it_is_told() {
        let table = [
            (Lock::Process(7), true, Status::Ok, "process 7", ""),
            (Lock::Nobody, true, Status::Note, "did not end in order", ""),
            (Lock::Unreadable, false, Status::Problem, "another user", "chown -R 1000"),
        ];
        for (lock, has_access_file, status, found, remedy) in table {
            assert_finding(&DataDir { lock, has_access_file, ..good() }.judge(), "lock", status, found, remedy);
        }
    }

    #[test]
    fn looking_leaves_the_directory_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let seen = look(dir.path());
        assert!(matches!(seen.written, Written::Synced(_)), "{seen:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let held = DataDirLock::acquire(dir.path()).unwrap();
        assert_eq!(look(dir.path()).lock, Lock::Process(std::process::id()));
        drop(held);
        assert_eq!(look(dir.path()).lock, Lock::Nobody);
        let missing = dir.path().join("a/b");
        assert_eq!(look(&missing).place, Place::Missing { above: dir.path().into(), can_be_made: true });
        assert!(!dir.path().join("a").exists());
    }
}
