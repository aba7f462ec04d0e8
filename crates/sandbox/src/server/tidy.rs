//! What of a build becomes a layer: what differs from the system, without what only the build needed, and without anything that is
//! neither file, directory nor link. No link is followed, whoever planted it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::confine::etc;
use crate::layout::{AGENT_ID, LAYERED};
use crate::{erase, layout, limits};

/// What managers note for themselves; sessions have no use for it.
const OF_MANAGERS: [&str; 4] = ["var/lib/dpkg", "var/lib/apt", "var/cache", "var/log"];
/// Of `/etc`: users, trust, what every program would load, and where packages come from.
const NOT_OF_ETC: [&str; 18] = [
    ".pwd.lock",
    "apt",
    "group-",
    "gshadow",
    "gshadow-",
    "hostname",
    "hosts",
    "ld.so.preload",
    "mtab",
    "passwd-",
    "resolv.conf",
    "shadow",
    "shadow-",
    "ssl",
    "subgid",
    "subgid-",
    "subuid",
    "subuid-",
];
const ETC: &str = "etc";

/// Leaves what is to be a layer over the host's system, or over an image's.
pub(super) fn build(files: &Path, image: Option<&Path>) -> io::Result<()> {
    for name in OF_MANAGERS {
        let parts = Path::new(name).ancestors().filter(|part| !part.as_os_str().is_empty());
        if parts.into_iter().all(|part| is_plain_directory(&files.join(part))) {
            erase::directory(&files.join(name))?;
        }
    }
    for entry in fs::read_dir(files)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name == ETC && is_plain_directory(&entry.path()) {
            let base = image.unwrap_or(Path::new("/")).join(ETC);
            only_new(&entry.path(), &base)?;
        } else if LAYERED.contains(&name) && is_plain_directory(&entry.path()) {
            // Of the host's /var and /opt sandboxes see nothing.
            let base = match image {
                Some(image) => Some(image.join(name)),
                None => Some(Path::new("/").join(name)).filter(|_| !["var", "opt"].contains(&name)),
            };
            prune(&entry.path(), base.as_deref())?;
        } else {
            return Err(io::Error::other(format!("{name:?} does not belong into a layer")));
        }
    }
    Ok(())
}

fn is_plain_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Whether nothing of the system is to be seen at this place.
fn is_whiteout(meta: &fs::Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// Removes directories that only stand for those of the system, and what is no file, directory, link or whiteout.
fn prune(root: &Path, base: Option<&Path>) -> io::Result<()> {
    let mut directories = vec![PathBuf::new()];
    let mut at = 0;
    while let Some(inner) = directories.get(at).cloned() {
        at += 1;
        for entry in fs::read_dir(root.join(&inner))? {
            let entry = entry?;
            let meta = fs::symlink_metadata(entry.path())?;
            if meta.is_dir() {
                directories.push(inner.join(entry.file_name()));
            } else if !meta.is_file() && !meta.is_symlink() && !is_whiteout(&meta) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    for inner in directories.into_iter().rev() {
        let is_of_system = base.is_none_or(|base| is_plain_directory(&base.join(&inner)));
        if is_of_system && fs::read_dir(root.join(&inner))?.next().is_none() {
            fs::remove_dir(root.join(inner))?;
        }
    }
    Ok(())
}

/// Removes entries of `/etc` that are as they were, or that no layer may bring.
fn only_new(root: &Path, base: &Path) -> io::Result<()> {
    let own = etc::own(AGENT_ID).map(|(name, _)| name);
    let trust = Path::new(layout::TRUST_INSIDE).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_barred = name.to_str().is_none_or(|name| own.contains(&name) || NOT_OF_ETC.contains(&name) || name == trust);
        if !is_barred && !is_same(&entry.path(), &base.join(&name))? {
            plain_only(&entry.path())?;
            continue;
        }
        if entry.file_type()?.is_dir() {
            erase::directory(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    if fs::read_dir(root)?.next().is_none() { fs::remove_dir(root) } else { Ok(()) }
}

/// Removes what is no file, directory or link.
fn plain_only(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            plain_only(&entry?.path())?;
        }
        return Ok(());
    }
    if meta.is_file() || meta.is_symlink() { Ok(()) } else { fs::remove_file(path) }
}

/// Whether all that is at `path` is also at `base`.
fn is_same(path: &Path, base: &Path) -> io::Result<bool> {
    let (meta, Ok(other)) = (fs::symlink_metadata(path)?, fs::symlink_metadata(base)) else { return Ok(false) };
    if meta.is_dir() && other.is_dir() {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if !is_same(&path.join(&name), &base.join(&name))? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if meta.is_symlink() && other.is_symlink() {
        return Ok(fs::read_link(path)? == fs::read_link(base)?);
    }
    Ok(meta.is_file() && other.is_file() && meta.len() == other.len() && meta.len() <= limits::LAYER_ETC_FILE && read(path)? == read(base)?)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file: File = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    file.take(limits::LAYER_ETC_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_new_stays_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (image, files) = (dir.path().join("image"), dir.path().join("files"));
        for place in ["usr/lib", "usr/bin", "etc/alternatives", "var/lib/dpkg"] {
            fs::create_dir_all(image.join(place)).unwrap();
            fs::create_dir_all(files.join(place)).unwrap();
        }
        fs::create_dir_all(files.join("opt")).unwrap();
        fs::create_dir_all(files.join("usr/share/new/empty")).unwrap();
        fs::write(files.join("usr/lib/new"), "x").unwrap();
        nix::unistd::mkfifo(&files.join("usr/bin/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(files.join("var/lib/dpkg/status"), "x").unwrap();
        for root in [&image, &files] {
            fs::write(root.join("etc/same"), "x").unwrap();
            symlink("/usr/bin/x", root.join("etc/alternatives/x")).unwrap();
        }
        fs::write(image.join("etc/other"), "x").unwrap();
        for (name, text) in
            [("other", "y"), ("passwd", "root::0:0::/:\n"), ("ld.so.preload", "/x.so"), ("ostler-trust", ""), ("shadow", "")]
        {
            fs::write(files.join("etc").join(name), text).unwrap();
        }
        build(&files, Some(&image)).unwrap();
        let mut left = Vec::new();
        let mut open = vec![files.clone()];
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(path).unwrap().flatten() {
                left.push(entry.path().strip_prefix(&files).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        left.sort();
        let expected = ["etc", "etc/other", "opt", "usr", "usr/lib", "usr/lib/new", "usr/share", "usr/share/new", "usr/share/new/empty"];
        assert_eq!(left, expected);
    }

    #[test]
    fn links_in_the_place_of_directories_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (files, outside) = (dir.path().join("files"), dir.path().join("outside"));
        fs::create_dir_all(outside.join("dpkg")).unwrap();
        fs::write(outside.join("dpkg/kept"), "x").unwrap();
        fs::create_dir_all(files.join("var")).unwrap();
        symlink(&outside, files.join("var/lib")).unwrap();
        fs::create_dir_all(files.join("etc")).unwrap();
        symlink(&outside, files.join("etc/out")).unwrap();
        build(&files, Some(&dir.path().join("image"))).unwrap();
        assert!(outside.join("dpkg/kept").exists());
        assert!(fs::symlink_metadata(files.join("etc/out")).unwrap().is_symlink());
        fs::create_dir_all(files.join("root")).unwrap();
        assert!(build(&files, None).is_err(), "only what can lie over a system");
    }
}
