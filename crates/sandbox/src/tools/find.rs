//! Walking down a directory: no links followed, bounded in depth and in number.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::limits;

/// Calls `visit` with every entry below `top`; it says whether to go on. An entry named in
/// `skipped` is left out with all below it. Returns whether everything was seen.
pub(super) fn walk(top: &Path, skipped: &[&str], mut visit: impl FnMut(&Path, &Metadata) -> bool) -> bool {
    let mut open: Vec<(PathBuf, usize)> = vec![(top.to_owned(), 0)];
    let mut seen = 0_usize;
    let mut complete = true;
    while let Some((directory, depth)) = open.pop() {
        // What may not be read has nothing to be found.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > limits::WALK_ENTRIES {
                return false;
            }
            if entry.file_name().to_str().is_some_and(|name| skipped.contains(&name)) {
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            let path = entry.path();
            if !visit(&path, &meta) {
                return false;
            }
            if meta.is_dir() {
                if depth < limits::WALK_DEPTH {
                    open.push((path, depth + 1));
                } else {
                    complete = false;
                }
            }
        }
    }
    complete
}
