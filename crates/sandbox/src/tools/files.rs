//! Opening what a path names, without being held up or led astray by what is there.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::layout;

/// Where a path given by the model leads.
pub(super) fn resolve(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.contains('\0') {
        return Err("The path is empty or contains a NUL character.".into());
    }
    Ok(Path::new(layout::WORKSPACE).join(path))
}

/// Opens a regular file for reading; anything else is refused, and nothing blocks.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), String> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    let meta = file.metadata().map_err(|error| format!("{} cannot be examined: {error}", path.display()))?;
    if meta.is_dir() {
        return Err(format!("{} is a directory.", path.display()));
    }
    if !meta.is_file() {
        return Err(format!("{} is not a regular file.", path.display()));
    }
    Ok((file, meta))
}

/// Whether the beginning of a file is not text.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    const LOOKED_AT: usize = 8 << 10;
    beginning.iter().take(LOOKED_AT).any(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifos_directories_devices_and_loops_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open(&fifo).unwrap_err().contains("not a regular file"));
        assert!(open(dir.path()).unwrap_err().contains("is a directory"));
        assert!(open(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
        let link = dir.path().join("loop");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        assert!(open(&link).unwrap_err().contains("cannot be opened"));
    }

    #[test]
    fn relative_paths_start_in_the_workspace() {
        assert_eq!(resolve("a/b").unwrap(), Path::new("/workspace/a/b"));
        assert_eq!(resolve("/etc/x").unwrap(), Path::new("/etc/x"));
        assert!(resolve("").is_err());
        assert!(resolve("a\0b").is_err());
    }
}
