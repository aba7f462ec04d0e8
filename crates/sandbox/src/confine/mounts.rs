//! The file system of a sandbox: a read-only root of its own with the host's programs, and the few
//! places that can be written. Works by paths relative to the new root until it is the root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Trees;
use crate::layout::{self, SHARED};
use crate::limits;
use crate::spec::SandboxSpec;
use crate::sys;

/// Where the new root is put together: a directory that every host has.
const STAGE: &str = "/tmp";
const ROOT_OPTIONS: &str = "size=8m,nr_inodes=4k,mode=755";

pub(super) fn new_root() -> io::Result<()> {
    mount(Some("tmpfs"), STAGE, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(ROOT_OPTIONS))?;
    nix::unistd::chdir(STAGE)?;
    Ok(())
}

pub(super) fn directory(path: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Copies the mount of a host path to `target`, with more attributes.
pub(super) fn bind(source: impl AsRef<OsStr>, target: impl AsRef<OsStr>, attributes: u64) -> io::Result<()> {
    let tree = sys::open_tree(source.as_ref(), true)?;
    sys::set_mount_attributes(&tree, attributes, true)?;
    sys::move_mount(&tree, target.as_ref())
}

pub(super) const READ_ONLY: u64 = sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV;

/// Copies a host file or directory to `target` read-only, if it exists and may be read.
pub(super) fn bind_read_only(source: &Path, target: &str) -> io::Result<()> {
    let Ok(meta) = fs::metadata(source) else { return Ok(()) };
    if meta.is_dir() {
        directory(target)?;
    } else {
        // Never through a link that somebody else put there.
        let place = fs::OpenOptions::new().write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW).open(target);
        drop(place?);
    }
    // The tree is not followed if it is a link, so the link's target is what is copied.
    let real = fs::canonicalize(source)?;
    bind(real, target, READ_ONLY)
}

/// Where an image is while the root is put together.
pub(super) const IMAGE: &str = ".image";
/// The same of a layer of packages.
pub(super) const LAYER: &str = ".layer";
/// The same of where a build writes.
pub(super) const BUILD: &str = ".build";
/// What is our own whatever an image says.
const OWN: [&str; 10] = ["dev", "proc", "sys", "tmp", "run", "home", "mnt", "workspace", "etc", "lost+found"];

pub(super) fn system(spec: &SandboxSpec, image: Option<&OwnedFd>) -> io::Result<()> {
    if spec.lacks("minimal root") {
        directory("srv")?;
        bind("/srv", "srv", 0)?;
    }
    match image {
        Some(image) => of_image(image),
        None => of_host(),
    }
}

fn of_image(image: &OwnedFd) -> io::Result<()> {
    directory(IMAGE)?;
    sys::move_mount(image, IMAGE.as_ref())?;
    for entry in fs::read_dir(IMAGE)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if OWN.contains(&name.as_str()) {
            continue;
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &name)?;
        } else if kind.is_dir() {
            directory(&name)?;
            bind(entry.path(), &name, READ_ONLY)?;
        }
    }
    for path in ["run", "home", "mnt/session"] {
        directory(path)?;
    }
    Ok(())
}

/// Takes the image and what lies over it away from where they were, if they are there; what was taken from them stays.
pub(super) fn leave_sources() -> io::Result<()> {
    for source in [IMAGE, LAYER, BUILD] {
        if Path::new(source).exists() {
            umount2(source, MntFlags::MNT_DETACH)?;
            fs::remove_dir(source)?;
        }
    }
    Ok(())
}

fn of_host() -> io::Result<()> {
    directory("usr")?;
    bind("/usr", "usr", READ_ONLY)?;
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let host = Path::new("/").join(name);
        match fs::read_link(&host) {
            Ok(link) => std::os::unix::fs::symlink(link, name)?,
            Err(_) if host.is_dir() => bind_read_only(&host, name)?,
            Err(_) => {}
        }
    }
    directory("var/lib")?;
    for path in ["run", "home", "mnt/session", "opt", "srv"] {
        directory(path)?;
    }
    std::os::unix::fs::symlink("/tmp", "var/tmp")?;
    std::os::unix::fs::symlink("/run", "var/run")
}

fn tmpfs(target: &str, bytes: u64, inodes: u64) -> io::Result<()> {
    directory(target)?;
    let options = OsString::from(format!("size={bytes},nr_inodes={inodes},mode=1777"));
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_os_str()))?;
    Ok(())
}

pub(super) fn devices(spec: &SandboxSpec) -> io::Result<()> {
    directory("dev")?;
    mount(Some("tmpfs"), "dev", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, Some("size=64k,nr_inodes=64,mode=755"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = format!("dev/{name}");
        fs::write(&target, b"")?;
        bind(format!("/dev/{name}"), &target, sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC)?;
    }
    for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]
    {
        std::os::unix::fs::symlink(to, format!("dev/{link}"))?;
    }
    tmpfs("dev/shm", spec.scratch_bytes().1, spec.shm_inodes)?;
    read_only_again("dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)
}

/// Makes a mount of ours read-only, and only that one.
pub(super) fn read_only_again(target: &str, flags: MsFlags) -> io::Result<()> {
    mount(None::<&str>, target, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags, None::<&str>)?;
    Ok(())
}

pub(super) fn scratch(spec: &SandboxSpec) -> io::Result<()> {
    tmpfs("tmp", spec.scratch_bytes().0, spec.tmp_inodes)?;
    tmpfs(layout::SHELL_SCRATCH, limits::SHELL_SCRATCH_BYTES, limits::SHELL_SCRATCH_FILES)
}

pub(super) fn shared(trees: &Trees) -> io::Result<()> {
    for (shared, tree) in SHARED.iter().zip(&trees.shared) {
        directory(shared.target)?;
        sys::move_mount(tree, shared.target.as_ref())?;
    }
    Ok(())
}

/// Leaves the host's file system for good.
pub(super) fn pivot() -> io::Result<()> {
    for path in [".", "run", "mnt", "home"] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    nix::unistd::pivot_root(".", ".")?;
    // The old root now lies over the new one at this very place.
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    read_only_again("/", MsFlags::MS_NOSUID | MsFlags::MS_NODEV)
}
