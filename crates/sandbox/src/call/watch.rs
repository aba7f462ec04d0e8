//! Watching what a sandbox has on disk and in memory, where the kernel does not limit it: the call that takes too
//! much is ended. It can take for as long as one look and the pause after it last before it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::init::{Watched, memory};
use crate::{layout, limits};

/// What lies on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    bytes: u64,
    inodes: u64,
}

/// Looks again and again while a call runs.
#[derive(Debug)]
pub(super) struct Watch {
    disk: Option<Amount>,
    memory: Option<u64>,
    next_disk: Instant,
    next_memory: Instant,
}

impl Watch {
    /// Looks at the disk before a call: what is too much already may be made less, so that is what it may have.
    /// `None`: there is nothing to watch.
    pub(super) fn new(watched: Watched) -> Option<Self> {
        let disk = watched.disk.map(|(bytes, inodes)| {
            let before = amount(counted(), Amount { bytes: u64::MAX, inodes: u64::MAX });
            before.or_more(Amount { bytes, inodes })
        });
        let (now, memory) = (Instant::now(), watched.memory);
        let watch = Self { disk, memory, next_disk: now + limits::DISK_WATCH, next_memory: now + limits::MEMORY_WATCH };
        (disk.is_some() || memory.is_some()).then_some(watch)
    }

    /// When to look.
    pub(super) fn next(&self) -> Instant {
        let disk = self.disk.map(|_| self.next_disk);
        let memory = self.memory.map(|_| self.next_memory);
        [disk, memory].into_iter().flatten().min().unwrap_or(self.next_disk)
    }

    /// Looks if it is time to. Says what is too much.
    pub(super) fn look(&mut self) -> Option<String> {
        let started = Instant::now();
        if let Some(most) = self.memory
            && started >= self.next_memory
        {
            self.next_memory = started + limits::MEMORY_WATCH;
            let now = memory();
            if now > most {
                return Some(format!("out of memory: the processes of the sandbox have more than {most} bytes together"));
            }
        }
        let most = self.disk?;
        if started < self.next_disk {
            return None;
        }
        let now = amount(counted(), most);
        // Most of the time is not spent looking.
        self.next_disk = Instant::now() + (started.elapsed() * 4).clamp(limits::DISK_WATCH, limits::DISK_WATCH_MOST);
        if now.bytes > most.bytes {
            Some(format!("disk limit: the files of the sandbox have more than {} bytes", most.bytes))
        } else if now.inodes > most.inodes {
            Some(format!("disk limit: the sandbox has more than {} files", most.inodes))
        } else {
            None
        }
    }
}

fn counted() -> Vec<PathBuf> {
    layout::COUNTED.map(PathBuf::from).into()
}

impl Amount {
    fn or_more(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), inodes: self.inodes.max(other.inodes) }
    }
}

/// What lies below these directories; stops where it is more than `most`. Follows no link.
fn amount(mut open: Vec<PathBuf>, most: Amount) -> Amount {
    const BLOCK: u64 = 512;
    let mut found = Amount::default();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            found.inodes += 1;
            found.bytes += meta.blocks() * BLOCK / if meta.is_dir() { 1 } else { meta.nlink().max(1) };
            if meta.is_dir() && !is_deep(&directory) {
                open.push(entry.path());
            }
            if found.bytes > most.bytes || found.inodes > most.inodes {
                return found;
            }
        }
    }
    found
}

/// Paths have an end: what lies deeper cannot be opened by its path.
fn is_deep(path: &Path) -> bool {
    const LONGEST_NAME: usize = 255;
    path.as_os_str().len() + LONGEST_NAME >= libc::PATH_MAX.cast_unsigned() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_bytes_are_counted_up_to_the_most() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for at in 0..10 {
            fs::write(dir.path().join(format!("a/b/{at}")), vec![1; 10_000]).unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("a/out")).unwrap();
        let far = Amount { bytes: u64::MAX, inodes: u64::MAX };
        let all = amount(vec![dir.path().into()], far);
        assert_eq!(all.inodes, 13);
        assert!(all.bytes >= 100_000, "{all:?}");
        let few = amount(vec![dir.path().into()], Amount { inodes: 5, ..far });
        assert_eq!(few.inodes, 6);
    }
}
