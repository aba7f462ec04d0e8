//! Putting entries of an archive below a directory, whatever their names and the links there say: the kernel
//! takes the directory for the root of all paths (openat2(2), `RESOLVE_IN_ROOT`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

/// A directory that is the root of what is put into it.
#[derive(Debug)]
pub(super) struct Root<'a> {
    pub(super) directory: &'a OwnedFd,
}

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) mode: u32,
    pub(super) modified: i64,
}

impl Root<'_> {
    fn open(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(self.directory, path, how)
    }

    /// The directory at a path, made with those above it if it is not there.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY) {
            Ok(found) => return Ok(found),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let (above, name) = split(path)?;
        let parent = self.directory(above)?;
        // What is there is no directory and has to go.
        remove(&parent, name)?;
        // An archive need not name the directories of what it has; whoever uses them must be able to.
        mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
        Ok(openat(&parent, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// Makes a new file at a path; what is there is removed.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        let (parent, name) = self.free(path)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// Makes a symbolic link, which may lead anywhere: it is followed by nobody but the workload.
    pub(super) fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.free(path)?;
        Ok(symlinkat(target, &parent, name)?)
    }

    /// Makes a second name of a file.
    pub(super) fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (above, target) = split(target)?;
        let from = self.open(above, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        let (parent, name) = self.free(path)?;
        Ok(linkat(&from, target, &parent, name, AtFlags::empty())?)
    }

    /// Removes what is at a path, if something is.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let (above, name) = split(path)?;
        match self.open(above, OFlag::O_DIRECTORY | OFlag::O_RDONLY) {
            Ok(parent) => remove(&parent, name),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The directory of a path and its name there, at which nothing is.
    fn free<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let (above, name) = split(path)?;
        let parent = self.directory(above)?;
        remove(&parent, name)?;
        Ok((parent, name))
    }
}

/// How a file or directory looks, once its content is there.
pub(super) fn finish(opened: &impl std::os::fd::AsFd, look: Look) -> io::Result<()> {
    fchmod(opened, Mode::from_bits_truncate(look.mode))?;
    let modified = TimeSpec::new(look.modified, 0);
    Ok(futimens(opened, &modified, &modified)?)
}

/// The name of an entry as a path of plain names. None for one that leads outside.
pub(super) fn plain(path: &Path) -> Option<&Path> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = path.strip_prefix("./").unwrap_or(path);
    path.components().all(|component| matches!(component, Component::Normal(_))).then_some(path)
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other(format!("{} has no name", path.display())))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

/// Removes what has a name, with all below it.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let kind = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_mode & SFlag::S_IFMT.bits(),
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if kind != SFlag::S_IFDIR.bits() {
        return Ok(unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?);
    }
    let path = format!("/proc/self/fd/{}", parent.as_raw_fd());
    crate::erase::directory(&Path::new(&path).join(OsStr::from_bytes(name.as_bytes())))
}
