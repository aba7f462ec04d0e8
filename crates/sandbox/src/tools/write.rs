//! `write`: a whole file, so that a reader sees the old content or the new.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;

use super::{ToolResult, files, text};
use crate::limits;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    file_path: String,
    content: String,
}

pub(super) fn run(input: &Input) -> ToolResult {
    let path = files::resolve(&input.file_path)?;
    if input.content.len() > limits::WRITE_BYTES {
        return Err(format!("The content is longer than {} bytes.", limits::WRITE_BYTES));
    }
    replace(&path, input.content.as_bytes())?;
    Ok(text(format!("Wrote {} bytes to {}.", input.content.len(), path.display())))
}

/// Replaces what a path names by new content; its mode stays, and a link to it stays a link.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), String> {
    let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
    // Where a link points to is what is written; a path that does not exist yet stays as it is.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let existing = match fs::symlink_metadata(&target) {
        Ok(meta) if meta.is_file() => Some(meta.permissions()),
        Ok(meta) if meta.is_dir() => return Err(format!("{} is a directory.", path.display())),
        Ok(_) => return Err(format!("{} is not a regular file.", path.display())),
        Err(_) => None,
    };
    let parent = target.parent().ok_or_else(|| format!("{} is not a file's path.", path.display()))?;
    fs::create_dir_all(parent).map_err(failed)?;
    let next = parent.join(format!(".write-{}.next", std::process::id()));
    let replaced = OpenOptions::new().write(true).create_new(true).open(&next).and_then(|mut file| {
        file.write_all(content)?;
        existing.clone().map_or(Ok(()), |permissions| file.set_permissions(permissions))?;
        fs::rename(&next, &target)
    });
    replaced
        .or_else(|error| {
            let _ = fs::remove_file(&next);
            // A file may be writable where its directory is not.
            if existing.is_some() && error.kind() == io::ErrorKind::PermissionDenied { fs::write(&target, content) } else { Err(error) }
        })
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn directories_are_made_modes_kept_and_links_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(replace(&fifo, b"x").unwrap_err().contains("not a regular file"));
        assert!(replace(dir.path(), b"x").unwrap_err().contains("is a directory"));
        let link = dir.path().join("loop");
        std::os::unix::fs::symlink(&link, &link).unwrap();
        assert!(replace(&link, b"x").is_err());
    }
}
