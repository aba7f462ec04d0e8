//! A layer of packages over the system of a sandbox: read-only below a session, and while it is built. What is built is what an
//! overlay leaves in its upper directory. <https://docs.kernel.org/filesystems/overlayfs.html>

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::mounts::{BUILD, IMAGE, LAYER, READ_ONLY, bind, directory};
use super::{Trees, mounts};
use crate::layout::{AGENT_ID, BUILD_FILES, BUILD_INSIDE, LAYERED};
use crate::spec::{BuildAs, SandboxSpec};
use crate::{limits, sys};

pub(super) const REMEDY: &str = "packages need overlayfs for ordinary users (Linux 5.11 or later) and a system without mounts below /usr";

/// Where the overlay works, beside the files.
const WORK: &str = "work";
/// Of `/etc/apt` of the host: where packages come from and whom to believe. Passwords and hooks are left out.
const OF_APT: [&str; 7] = ["sources.list", "sources.list.d", "trusted.gpg", "trusted.gpg.d", "keyrings", "preferences", "preferences.d"];
/// What Debian's tools expect to be there.
const OF_DPKG: [&str; 9] = [
    "var/lib/dpkg/updates",
    "var/lib/dpkg/info",
    "var/lib/dpkg/triggers",
    "var/lib/dpkg/alternatives",
    "var/lib/apt/lists/partial",
    "var/cache/apt/archives/partial",
    "var/cache/debconf",
    "var/cache/ldconfig",
    "var/log/apt",
];
const DPKG: &str = "var/lib/dpkg";

/// Lays a layer over the system that is mounted, or lets a build write over it.
pub(super) fn over_system(spec: &SandboxSpec, trees: &Trees) -> io::Result<()> {
    if let Some(layer) = &trees.packages {
        directory(LAYER)?;
        sys::move_mount(layer, LAYER.as_ref())?;
        for name in LAYERED.into_iter().filter(|name| is_plain_directory(&Path::new(LAYER).join(name))) {
            if is_plain_directory(Path::new(name)) {
                overlay(name, &format!("lowerdir={LAYER}/{name}:{name}"), MsFlags::MS_RDONLY)?;
            }
        }
    }
    if let (Some(build), Some(by)) = (&trees.build, spec.build) {
        directory(BUILD)?;
        sys::move_mount(build, BUILD.as_ref())?;
        writable(by, trees.system.is_some())?;
    }
    Ok(())
}

fn overlay(target: &str, options: &str, flags: MsFlags) -> io::Result<()> {
    let options = format!("{options},userxattr");
    mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | flags, Some(options.as_str()))
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("an overlay over /{target}: {error}")))
}

/// Not even a link to one: it would be followed from here, where the host's root is still the root.
fn is_plain_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

fn writable(by: BuildAs, is_image: bool) -> io::Result<()> {
    let own = Own { agent: by == BuildAs::Agent && nix::unistd::geteuid().is_root() };
    let files = Path::new(BUILD).join(BUILD_FILES);
    own.directory(&files, 0o755)?;
    own.directory(&Path::new(BUILD).join(WORK), 0o755)?;
    if !is_plain_directory(Path::new("var")) {
        directory("var")?;
    }
    for name in LAYERED.into_iter().filter(|name| is_plain_directory(Path::new(name))) {
        own.skeleton(Path::new(name), &files.join(name))?;
        if name == "var" && by == BuildAs::Root {
            debian(&files, is_image)?;
        }
        own.directory(&Path::new(BUILD).join(WORK).join(name), 0o700)?;
        overlay(name, &format!("lowerdir={name},upperdir={BUILD}/{BUILD_FILES}/{name},workdir={BUILD}/{WORK}/{name}"), MsFlags::empty())?;
    }
    // What counts its bytes must see it; what writes it goes through the overlays.
    directory(BUILD_INSIDE)?;
    bind(&files, BUILD_INSIDE, READ_ONLY)
}

/// In whose name files are made.
struct Own {
    agent: bool,
}

impl Own {
    fn directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::DirBuilder::new().mode(mode).create(path)?;
        if self.agent { chown(path, Some(AGENT_ID), Some(AGENT_ID)) } else { Ok(()) }
    }

    /// Makes all directories of a system anew. Those of the system belong to nobody here, so nothing could be made in
    /// them; in these it can, and the overlay shows both as one.
    fn skeleton(&self, base: &Path, target: &Path) -> io::Result<()> {
        let mut open = vec![PathBuf::new()];
        while let Some(inner) = open.pop() {
            let meta = fs::symlink_metadata(base.join(&inner))?;
            let entries = match fs::read_dir(base.join(&inner)) {
                // What cannot be read cannot be used either.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !inner.as_os_str().is_empty() => continue,
                entries => entries?,
            };
            self.directory(&target.join(&inner), meta.mode() & 0o777 | 0o700)?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(inner.join(entry.file_name()));
                }
            }
        }
        Ok(())
    }
}

/// What Debian's tools know of the system, as files that they can change.
fn debian(files: &Path, is_image: bool) -> io::Result<()> {
    let base = if is_image { Path::new(IMAGE) } else { Path::new("/") };
    let known = ["var", "var/lib", DPKG].iter().all(|part| is_plain_directory(&base.join(part)));
    if known {
        copy(&base.join(DPKG), &files.join(DPKG), &mut { limits::BUILD_COPIES })?;
    }
    for name in OF_DPKG {
        directory(&files.join(name).display().to_string())?;
    }
    let status = files.join(DPKG).join("status");
    if status.exists() { Ok(()) } else { fs::write(status, b"") }
}

/// Makes `/etc` of a build one that it can write.
pub(super) fn own_etc() -> io::Result<()> {
    let etc = format!("{BUILD}/{BUILD_FILES}/etc");
    directory(&etc)?;
    bind(etc, "etc", sys::MOUNT_NOSUID | sys::MOUNT_NODEV)
}

/// Fills `/etc` of a build with copies of what sessions see there.
pub(super) fn copy_etc(is_image: bool, of_host: &[String]) -> io::Result<()> {
    let mut left = limits::BUILD_COPIES;
    let target = Path::new("etc");
    let base = if is_image { Path::new(IMAGE).join("etc") } else { "/etc".into() };
    for name in ["passwd", "group"].into_iter().filter(|_| !is_image || is_plain_directory(&base)) {
        let is_plain = fs::symlink_metadata(base.join(name)).is_ok_and(|meta| meta.is_file() && meta.len() < limits::BUILD_COPIES);
        let known = if is_plain { fs::read_to_string(base.join(name)).unwrap_or_default() } else { String::new() };
        let own = fs::read_to_string(target.join(name))?;
        fs::write(target.join(name), with_accounts(&own, &known))?;
    }
    if is_image {
        let base = Path::new(IMAGE).join("etc");
        return if is_plain_directory(&base) { copy(&base, target, &mut left) } else { Ok(()) };
    }
    for name in of_host {
        directory(&target.join(name).parent().unwrap_or(target).display().to_string())?;
        copy(&Path::new("/etc").join(name), &target.join(name), &mut left)?;
    }
    for name in ["etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d"] {
        directory(name)?;
    }
    for name in OF_APT {
        copy(&Path::new("/etc/apt").join(name), &target.join("apt").join(name), &mut left)?;
    }
    let sources = fs::read_dir("etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    for list in sources.chain(["etc/apt/sources.list".into()]) {
        if let Ok(text) = fs::read_to_string(&list) {
            fs::write(list, without_passwords(&text))?;
        }
    }
    Ok(())
}

/// Users or groups that the system's packages have, beside our own; people's are left out.
fn with_accounts(own: &str, known: &str) -> String {
    const FIRST_OF_PEOPLE: u32 = 1_000;
    let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let taken: Vec<String> = own.lines().map(name).collect();
    let is_account = |line: &&str| {
        let id = line.split(':').nth(2).and_then(|id| id.parse().ok());
        id.is_some_and(|id: u32| id < FIRST_OF_PEOPLE) && !taken.contains(&name(line))
    };
    own.lines().chain(known.lines().filter(is_account)).flat_map(|line| [line, "\n"]).collect()
}

/// Lines without addresses that name a user.
fn without_passwords(text: &str) -> String {
    let names_user =
        |line: &str| line.split("://").skip(1).any(|rest| rest.split(['/', ' ', '\t']).next().is_some_and(|host| host.contains('@')));
    text.lines().filter(|line| !names_user(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Copies files, directories and links that can be read, as links. What is there already stays.
fn copy(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let at = |root: &Path| if inner.as_os_str().is_empty() { root.to_path_buf() } else { root.join(&inner) };
        let (source, target) = (at(from), at(to));
        let Ok(meta) = fs::symlink_metadata(&source) else { continue };
        if meta.is_dir() {
            let Ok(entries) = fs::read_dir(&source) else { continue };
            directory(&target.display().to_string())?;
            open.extend(entries.flatten().map(|entry| inner.join(entry.file_name())));
            continue;
        }
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        if meta.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, target)?;
        } else if meta.is_file() {
            *left = left.checked_sub(meta.len()).ok_or_else(|| io::Error::other("the system's /etc or list of packages is too large"))?;
            match fs::copy(&source, &target) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                copied => copied.map(drop)?,
            }
        }
    }
    Ok(())
}

/// Puts what a layer has of `/etc` where it belongs, before the rest.
pub(super) fn etc_of_layer() -> io::Result<()> {
    let layer = Path::new(LAYER).join("etc");
    if !is_plain_directory(&layer) {
        return Ok(());
    }
    for entry in fs::read_dir(layer)? {
        let entry = entry?;
        let (Ok(name), kind) = (entry.file_name().into_string(), entry.file_type()?) else { continue };
        let target = format!("etc/{name}");
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() {
            directory(&target)?;
            bind(entry.path(), &target, mounts::READ_ONLY)?;
        } else if kind.is_file() {
            fs::write(&target, b"")?;
            bind(entry.path(), &target, mounts::READ_ONLY)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_with_passwords_are_left_out() {
        let text = "deb http://deb.debian.org/debian bookworm main\ndeb https://me:secret@example.com/x y z\nURIs: https://token@example.com/\n# a@b\n";
        assert_eq!(without_passwords(text), "deb http://deb.debian.org/debian bookworm main\n# a@b\n");
    }

    #[test]
    fn accounts_of_packages_are_known_and_people_are_not() {
        let known = "root:x:0:0:another:/:/bin/sh\nssl-cert:x:109:\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
        assert_eq!(with_accounts("root:x:0:\nagent:x:1000:\n", known), "root:x:0:\nagent:x:1000:\nssl-cert:x:109:\n");
    }

    #[test]
    fn copies_are_of_files_directories_and_links_up_to_the_most() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/f"), "12345").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", from.join("a/l")).unwrap();
        nix::unistd::mkfifo(&from.join("a/p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut left = 5;
        copy(&from, &to, &mut left).unwrap();
        assert_eq!((fs::read(to.join("a/b/f")).unwrap(), left), (b"12345".to_vec(), 0));
        assert!(fs::symlink_metadata(to.join("a/l")).unwrap().is_symlink() && !to.join("a/p").exists());
        assert!(copy(&from, &dir.path().join("again"), &mut 4).is_err());
        copy(&dir.path().join("none"), &dir.path().join("nothing"), &mut 4).unwrap();
    }
}
