//! Keeps the host's disk from being filled by sandboxes. Their disks are sparse files, so that all together may promise more
//! than there is; before the last of it is gone, who writes most is ended. A full disk would break the file systems of all.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ostler_core::ids::SessionId;

use crate::{layout, limits};

/// Looks at the disk, the more often the less is left of it.
#[derive(Debug)]
pub(super) struct DiskGuard {
    /// Bytes that the disks of sandboxes held at the last look.
    held: BTreeMap<SessionId, u64>,
    pub(super) next: Instant,
}

impl DiskGuard {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new(), next: Instant::now() }
    }

    /// Whether it is time; if so, who is to be ended of those that live.
    pub(super) fn look<'a>(&mut self, dir: &Path, living: impl Iterator<Item = &'a SessionId>) -> Option<SessionId> {
        let now = Instant::now();
        if now < self.next {
            return None;
        }
        let Ok(disk) = nix::sys::statvfs::statvfs(dir) else {
            self.next = now + limits::DISK_LOOK_MOST;
            return None;
        };
        let (free, all) = (disk.blocks_available() * disk.fragment_size(), disk.blocks() * disk.fragment_size());
        let kept = kept_free(all);
        self.next = now + pause(free, kept);
        if free >= kept * limits::DISK_NEAR {
            self.held.clear();
            return None;
        }
        let bytes = |id: &SessionId| std::fs::metadata(dir.join(id.as_str()).join(layout::DISK)).map_or(0, |meta| meta.blocks() * 512);
        let held: BTreeMap<_, _> = living.map(|id| (id.clone(), bytes(id))).collect();
        let before = std::mem::replace(&mut self.held, held);
        if free >= kept {
            return None;
        }
        // No file system limits what a build writes, and it can be begun again.
        if let Some(build) = self.held.keys().find(|id| id.as_str().starts_with(layout::BUILDS)) {
            return Some(build.clone());
        }
        let grown = self.held.iter().filter_map(|(id, bytes)| Some((id, bytes.checked_sub(*before.get(id)?)?)));
        let (most, by) = grown.max_by_key(|(_, by)| *by)?;
        (by >= limits::DISK_GROWTH).then(|| most.clone())
    }
}

/// What is to stay free of a disk of so many bytes.
fn kept_free(all: u64) -> u64 {
    (all / 10).min(limits::DISK_KEPT_FREE)
}

/// How long it is no use to look: nothing writes quicker.
fn pause(free: u64, kept: u64) -> Duration {
    let left = free.saturating_sub(kept) / limits::DISK_BYTES_PER_MS;
    Duration::from_millis(left).clamp(limits::DISK_LOOK_LEAST, limits::DISK_LOOK_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_keeps_a_tenth_and_is_looked_at_often() {
        const GIB: u64 = 1 << 30;
        assert_eq!((kept_free(GIB), kept_free(100 * GIB)), (GIB / 10, limits::DISK_KEPT_FREE));
        assert_eq!(pause(100 * GIB, GIB), limits::DISK_LOOK_MOST);
        assert_eq!(pause(GIB, GIB), limits::DISK_LOOK_LEAST);
        assert!(pause(3 * GIB, GIB) < Duration::from_secs(1));
    }
}
