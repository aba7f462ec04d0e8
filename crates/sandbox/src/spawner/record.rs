//! Who an init is on the host, kept on disk so that a later spawner finds it. A pid alone is not
//! enough, as pids are given again.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::unistd::Pid;
use ostler_core::ids::IncarnationId;
use serde::{Deserialize, Serialize};

use super::directory;
use crate::{layout, sys};

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    incarnation: IncarnationId,
    pid: i32,
    started: u64,
    boot: String,
    /// Its control group; those of earlier releases had the name of the sandbox.
    #[serde(default)]
    group: String,
    /// Milliseconds on the boot clock.
    #[serde(default)]
    born: u64,
}

/// A living init that was found by its record.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) incarnation: IncarnationId,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) group: String,
    pub(super) born: u64,
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in ticks since the machine did.
fn started(pid: Pid) -> io::Result<u64> {
    const START_TIME_AFTER_NAME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| io::Error::other("a process without a name"))?;
    let field = fields.split_whitespace().nth(START_TIME_AFTER_NAME);
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::Error::other("a process without a start time"))
}

/// Writes it down.
pub(super) fn write(sandbox: &Path, incarnation: &IncarnationId, pid: Pid, group: &str, born: u64) -> io::Result<()> {
    let (pid, started) = (pid.as_raw(), started(pid)?);
    let record = Record { incarnation: incarnation.clone(), pid, started, boot: boot_id()?, group: group.to_owned(), born };
    directory::replace(&sandbox.join(layout::INIT_RECORD), &serde_json::to_vec(&record)?)
}

/// Forgets it.
pub(super) fn remove(sandbox: &Path) {
    // A record that stays names a process that is gone, which the next reader finds out.
    let _ = fs::remove_file(sandbox.join(layout::INIT_RECORD));
}

/// The living init of a sandbox's directory, if there is one.
pub(super) fn find(sandbox: &Path) -> Option<Found> {
    let record: Record = serde_json::from_slice(&fs::read(sandbox.join(layout::INIT_RECORD)).ok()?).ok()?;
    let pid = Pid::from_raw(record.pid);
    // The descriptor first: what it stands for cannot become another process afterwards.
    let pidfd = sys::pidfd_open(pid).ok()?;
    let is_same = boot_id().ok()? == record.boot && started(pid).ok()? == record.started;
    is_same.then_some(Found { incarnation: record.incarnation, pid, pidfd, group: record.group, born: record.born })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_finds_its_process_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let incarnation: IncarnationId = "inc_1".parse().unwrap();
        assert!(find(dir.path()).is_none());
        write(dir.path(), &incarnation, Pid::this(), "group", 7).unwrap();
        let found = find(dir.path()).unwrap();
        assert_eq!((found.incarnation, found.group.as_str(), found.born), (incarnation, "group", 7));
        let path = dir.path().join(layout::INIT_RECORD);
        let mut record: Record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record.started += 1;
        fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
        assert!(find(dir.path()).is_none());
    }
}
