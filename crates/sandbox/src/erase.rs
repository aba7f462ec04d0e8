//! Deleting a directory that a sandbox filled, from outside: follows no link, needs neither memory
//! nor descriptors in proportion to what it finds. Only for sandboxes in which nothing runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Deletes a directory and all in it. What does not exist is deleted already.
pub(crate) fn directory(path: &Path) -> io::Result<()> {
    match contents(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => std::fs::remove_dir(path),
    }
}

/// Deletes all that is in a directory.
pub(crate) fn contents(path: &Path) -> io::Result<()> {
    let top = open(path, DIRECTORY, Mode::empty())?;
    let mut moved = 0_u64;
    loop {
        let directories = clear_files(&top)?;
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            let inner = openat(&top, name.as_c_str(), DIRECTORY, Mode::empty())?;
            // A deep tree is flattened: its directories come up to the top, one level per round.
            for child in clear_files(&inner)? {
                let unused = loop {
                    moved += 1;
                    let name = CString::new(format!("erase-{moved}")).map_err(io::Error::other)?;
                    if fstatat(&top, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) {
                        break name;
                    }
                };
                renameat(&inner, child.as_c_str(), &top, unused.as_c_str())?;
            }
            unlinkat(&top, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
        }
    }
}

/// Unlinks everything that is no directory; returns the directories, made accessible.
fn clear_files(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
        let name = CString::new(entry?.file_name().into_vec()).map_err(io::Error::other)?;
        let kind = fstatat(directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & SFlag::S_IFMT.bits();
        if kind == SFlag::S_IFDIR.bits() {
            fchmodat(directory, name.as_c_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            directories.push(name);
        } else {
            unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_are_not_followed_and_depth_does_not_matter() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "kept").unwrap();
        let base = tempfile::tempdir().unwrap();
        let top = base.path().join("top");
        fs::create_dir_all(top.join("locked/inner")).unwrap();
        fs::write(top.join("locked/inner/file"), "x").unwrap();
        fs::set_permissions(top.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
        symlink(outside.path(), top.join("out")).unwrap();
        symlink(outside.path().join("kept"), top.join("erase-1")).unwrap();
        let mut deep = open(&top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..2_000 {
            nix::sys::stat::mkdirat(&deep, "d", Mode::S_IRWXU).unwrap();
            deep = openat(&deep, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        directory(&top).unwrap();
        assert!(!top.exists());
        assert_eq!(fs::read_to_string(outside.path().join("kept")).unwrap(), "kept");
        directory(&top).unwrap();
    }
}
