//! The processes inside, as `/proc` shows them, and the killing of a tree of them.

use std::collections::{HashMap, HashSet};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::limits;

/// How many there are.
pub(super) fn count() -> u64 {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).count() as u64
}

/// Bytes of memory that all of them have, without what they share with files.
pub(crate) fn memory() -> u64 {
    const PAGE: u64 = 4_096;
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let own = pids.filter_map(|entry| {
        let statm = std::fs::read_to_string(entry.path().join("statm")).ok()?;
        let mut fields = statm.split_whitespace().skip(1);
        let (resident, shared): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(resident.saturating_sub(shared) * PAGE)
    });
    own.sum()
}

/// Parent of each process.
fn parents() -> HashMap<i32, i32> {
    const PARENT_AFTER_NAME: usize = 1;
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(PARENT_AFTER_NAME)?.parse().ok()
    };
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// Kills everything that descends from `of`, apart from the trees under `sparing`. One round: what
/// forked meanwhile is found by the next. Returns how many there were.
pub(crate) fn kill_descendants(of: Pid, sparing: &HashSet<Pid>) -> usize {
    let parents = parents();
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (child, parent) in &parents {
        children.entry(*parent).or_default().push(*child);
    }
    let mut tree = vec![of.as_raw()];
    let mut found = 0;
    while let Some(next) = tree.pop() {
        for child in children.remove(&next).unwrap_or_default() {
            let pid = Pid::from_raw(child);
            if !sparing.contains(&pid) && found < limits::KILLS_PER_ROUND {
                // It may be gone already.
                let _ = kill(pid, Signal::SIGKILL);
                found += 1;
                tree.push(child);
            }
        }
    }
    found
}
