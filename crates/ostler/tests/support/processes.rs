//! Processes: found by what they run and what they have open.

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::limits;

/// Every process but this one.
fn all() -> impl Iterator<Item = i32> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc is readable");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(move |name| *name != own).filter_map(|name| name.parse().ok())
}

/// Living processes whose command line contains this text.
pub(crate) fn with_argument(text: &str) -> Vec<i32> {
    let fits = |pid: &i32| {
        // A process that ended meanwhile has no command line any more, like a zombie.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    all().filter(fits).collect()
}

/// Living processes that belong to a data directory: those that have a file in it open, such as
/// server and spawner, and the inits of its sandboxes, which are on record.
pub(crate) fn of_data_dir(data_dir: &Path) -> Vec<i32> {
    let own = std::env::current_exe().expect("this program has a path");
    let opens = |pid: &i32| {
        // A child of this program that is about to start another still has all our files open.
        if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program == own) {
            return false;
        }
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(data_dir))
    };
    let mut found: Vec<i32> = all().filter(opens).collect();
    found.extend(inits(data_dir).into_iter().filter(|pid| !found.contains(pid)).collect::<Vec<_>>());
    found
}

/// The living inits of the sandboxes of a data directory.
pub(crate) fn inits(data_dir: &Path) -> Vec<i32> {
    let sandboxes = std::fs::read_dir(data_dir.join("sandboxes")).into_iter().flatten().flatten();
    let recorded = sandboxes.filter_map(|sandbox| std::fs::read_to_string(sandbox.path().join("init.json")).ok());
    let pids = recorded.filter_map(|text| serde_json::from_str::<serde_json::Value>(&text).ok()?["pid"].as_i64());
    let pids = pids.filter_map(|pid| i32::try_from(pid).ok());
    // Numbers are given again, so the name must fit.
    pids.filter(|pid| *pid > 1 && std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "init")).collect()
}

/// Where the workspace of a session can be seen from outside: in its directory, or through its living init.
pub(crate) fn workspace(data_dir: &Path, session: &str) -> PathBuf {
    let directory = data_dir.join("sandboxes").join(session);
    let plain = directory.join("workspace");
    if plain.exists() {
        return plain;
    }
    let record = std::fs::read_to_string(directory.join("init.json")).unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap_or_default();
    PathBuf::from(format!("/proc/{}/root/workspace", record["pid"]))
}

/// Sends a signal to one process; it may be gone.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Kills what a server left behind: its spawner and the inits of its sandboxes.
pub(crate) fn kill_all_of(data_dir: &Path) {
    // A spawner that is asked takes its sandboxes, their disks and control groups with it. What does not hear is killed; a
    // spawner may fork between the look and the kill, so it is looked again.
    const ASKED: usize = 100;
    for round in 0..ASKED + 10 {
        let left = of_data_dir(data_dir);
        if left.is_empty() {
            return;
        }
        let how = if round < ASKED { Signal::SIGTERM } else { Signal::SIGKILL };
        if round == 0 || round >= ASKED {
            left.into_iter().for_each(|pid| signal(pid, how));
        }
        std::thread::sleep(limits::LOOK);
    }
}

/// Waits until `holds`, which only the outside world can change.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(limits::LOOK).await;
        }
    };
    tokio::time::timeout(limits::NEXT, waiting).await.unwrap_or_else(|_| panic!("it never came to be that {what}"));
}
