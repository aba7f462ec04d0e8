//! The directory of one sandbox on the host: made, owned and given an id range here.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use ostler_core::hex::hex;
use ostler_core::ids::IncarnationId;

use super::{Launch, log};
use crate::confine::{LayerError, System, Trees};
use crate::layout::{self, AGENT_ID, SHARED};
use crate::spec::{BuildAs, IdMapping, SandboxSpec, UidBlock};
use crate::{confine, disk, erase, limits, sys};

/// A directory that is ready for a birth.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) path: PathBuf,
    pub(super) ids: IdMapping,
    /// The host id that is 0 inside, with a range of its own.
    pub(super) first_id: u32,
    pub(super) secret: String,
    pub(super) listener: UnixListener,
    /// Its trees, where they can be taken from here: an ordinary user can only inside.
    pub(super) trees: Option<Trees>,
    /// Where its system lies.
    pub(super) system: System,
    /// Whether the kernel limits its disk.
    pub(super) has_disk: bool,
}

/// Makes or renews it. What the workload wrote before stays, what init wrote does not.
pub(super) fn prepare(launch: &Launch, slots: &mut Slots, name: &str, spec: &SandboxSpec) -> Result<Prepared, LayerError> {
    let path = launch.dir.join(name);
    let (ids, first_id) = private(launch, slots, name).map_err(|error| LayerError::new("directories", error, DIRECTORIES))?;
    let own = match ids {
        IdMapping::OwnRange => Some(first_id + AGENT_ID),
        IdMapping::ServerUser => None,
    };
    let (image, packages) = (image(launch, spec)?, packages(launch, spec)?);
    let staged = staged(launch, &path, ids, spec)?;
    let furnished = || -> io::Result<Prepared> {
        furnish(&path, &[layout::RESULTS, layout::TRANSFERS], own)?;
        let files = staged.as_ref().map_or(path.as_path(), disk::Staged::path);
        furnish(files, &SHARED.map(|shared| shared.name), own)?;
        erase::contents(&path.join(layout::TRANSFERS))?;
        let trust = Some(launch.dir.join(layout::TRUST)).filter(|trust| spec.doors && trust.exists());
        in_use(&path, spec.packages.as_deref())?;
        let build = spec.build.map(|by| build(&path, by, own)).transpose()?;
        let system = System { image, packages, build, trust };
        let trees = own.map(|_| Trees::open(files, &path, &system)).transpose()?;
        let secret = renew_secret(&path)?;
        let listener = listen(&path, layout::INIT_SOCKET)?;
        let (path, has_disk) = (path.clone(), staged.is_some());
        Ok(Prepared { path, ids, first_id, secret, listener, trees, system, has_disk })
    };
    furnished().map_err(|error| LayerError::new("directories", error, DIRECTORIES))
}

const DIRECTORIES: &str = "check the space and the permissions of the data directory";
const DISKS: &str = "run the server as root where loop devices can be used and mkfs.ext4 is installed, or do not require hard limits";

/// Makes the directory of a sandbox that a container engine starts. Returns the host id that is its 0.
pub(super) fn prepare_for_engine(launch: &Launch, slots: &mut Slots, name: &str) -> Result<u32, LayerError> {
    let path = launch.dir.join(name);
    let mut furnished = || {
        let (ids, first_id) = private(launch, slots, name)?;
        let own = (ids == IdMapping::OwnRange).then_some(first_id + AGENT_ID);
        furnish(&path, &[layout::RESULTS, layout::TRANSFERS], own)?;
        erase::contents(&path.join(layout::TRANSFERS))?;
        Ok(first_id)
    };
    furnished().map_err(|error: io::Error| LayerError::new("directories", error, DIRECTORIES))
}

/// Makes the secret of the next life.
pub(super) fn renew_secret(sandbox: &Path) -> io::Result<String> {
    let secret = hex(sys::random::<32>()?);
    replace(&sandbox.join(layout::SECRET), secret.as_bytes())?;
    Ok(secret)
}

/// Where the files of the image that is asked for are.
fn image(launch: &Launch, spec: &SandboxSpec) -> Result<Option<PathBuf>, LayerError> {
    let Some(name) = &spec.image else { return Ok(None) };
    let files = launch.dir.join(layout::IMAGES).join(name).join(layout::IMAGE_FILES);
    let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    if is_name && files.is_dir() {
        return Ok(Some(files));
    }
    Err(LayerError::new(
        "image",
        format!("there is no image {name:?}"),
        "import it with `ostler images import`; `ostler images list` names those that are there",
    ))
}

/// Where the layer of packages that is asked for is.
fn packages(launch: &Launch, spec: &SandboxSpec) -> Result<Option<PathBuf>, LayerError> {
    let Some(key) = &spec.packages else { return Ok(None) };
    let files = launch.dir.join(layout::LAYERS).join(key).join(layout::LAYER_FILES);
    if key.bytes().all(|byte| byte.is_ascii_hexdigit()) && files.is_dir() {
        return Ok(Some(files));
    }
    Err(LayerError::new(confine::PACKAGES, "the layer of packages is gone", "try again: it is built anew"))
}

/// Notes on which layer a sandbox lives, so that the layer is not taken away below it.
fn in_use(sandbox: &Path, key: Option<&str>) -> io::Result<()> {
    let note = sandbox.join(layout::LAYER_IN_USE);
    match key {
        Some(key) => replace(&note, key.as_bytes()),
        None => match fs::remove_file(note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// Makes the place where a build writes, in the name of who builds.
fn build(sandbox: &Path, by: BuildAs, own: Option<u32>) -> io::Result<PathBuf> {
    let place = sandbox.join(layout::BUILD);
    make(&place, 0o755)?;
    let own = own.map(|agent| if by == BuildAs::Root { agent - AGENT_ID } else { agent });
    chown(&place, own, own)?;
    Ok(place)
}

fn private(launch: &Launch, slots: &mut Slots, name: &str) -> io::Result<(IdMapping, u32)> {
    make(&launch.dir.join(name), 0o700)?;
    let is_root = nix::unistd::geteuid().is_root();
    if is_root { Ok((IdMapping::OwnRange, first_id(launch, slots, name)?)) } else { Ok((IdMapping::ServerUser, 0)) }
}

/// Its disk, if it can have one. A sandbox whose files lie in plain directories keeps them there.
fn staged(launch: &Launch, path: &Path, ids: IdMapping, spec: &SandboxSpec) -> Result<Option<disk::Staged>, LayerError> {
    let is_plain = path.join(SHARED[0].name).exists();
    // What a build writes is moved out of its directory, so it is watched instead.
    if ids != IdMapping::OwnRange
        || spec.disk_bytes == 0
        || spec.build.is_some()
        || spec.lacks("disk limit")
        || (is_plain && !disk::exists(path))
    {
        return Ok(None);
    }
    match disk::open(&launch.dir, path, &launch.dir.join(layout::STAGE), spec) {
        Ok(staged) => Ok(Some(staged)),
        // What is on it must not be hidden by an empty directory.
        Err(error) if spec.required.hard_limits || disk::exists(path) || !disk::is_impossible(&error) => {
            Err(LayerError::new("disk limit", error, DISKS))
        }
        Err(error) => {
            log(&format!("the disk of {} is only watched: {error}", path.display()));
            Ok(None)
        }
    }
}

/// Makes directories that are there for the workload, in its name.
pub(crate) fn furnish(path: &Path, names: &[&str], own: Option<u32>) -> io::Result<()> {
    for name in names {
        let inner = path.join(name);
        // What is there has its owner, and the workload may have changed it.
        if make(&inner, 0o755)? && own.is_some() {
            chown(&inner, own, own)?;
        }
    }
    Ok(())
}

/// Drops the results of the last life. The name of that life goes first: what is missing after
/// that proves nothing about it.
pub(super) fn renew_results(sandbox: &Path, incarnation: &IncarnationId) -> io::Result<()> {
    let results = &sandbox.join(layout::RESULTS);
    match fs::remove_file(results.join(layout::LIFE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => erase::contents(results)?,
    }
    replace(&results.join(layout::LIFE), incarnation.as_str().as_bytes())
}

/// Makes a directory. Whether it was not there.
pub(crate) fn make(path: &Path, mode: u32) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// Writes a private file anew.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?.write_all(bytes)?;
    fs::rename(next, path)
}

/// Listens on a socket in a directory whose path may be longer than a socket's address.
pub(super) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let _ = fs::remove_file(directory.join(name));
    let opened = fs::File::open(directory)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))?;
    fs::set_permissions(directory.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Who has which range. Kept in memory, because to look into thousands of directories for each start would take
/// longer than the start.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The names of the directories that have one.
    taken: HashMap<u32, String>,
    /// Where to look first.
    next: u32,
}

impl Slots {
    /// Reads who has one.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let mut taken = HashMap::new();
        for entry in fs::read_dir(dir)?.flatten() {
            if let (Some(slot), Ok(name)) = (read_slot(&entry.path().join(layout::SLOT)), entry.file_name().into_string()) {
                taken.insert(slot, name);
            }
        }
        Ok(Self { taken, next: 0 })
    }

    /// A directory has another name.
    pub(super) fn renamed(&mut self, from: &str, to: &str) {
        if let Some(name) = self.taken.values_mut().find(|name| *name == from) {
            to.clone_into(name);
        }
    }

    /// One that nobody has, or whose directory is gone.
    fn free(&mut self, dir: &Path, name: &str, slots: u32) -> Option<u32> {
        for at in 0..slots {
            let slot = (self.next + at) % slots;
            let is_free = self.taken.get(&slot).is_none_or(|holder| read_slot(&dir.join(holder).join(layout::SLOT)) != Some(slot));
            if is_free {
                self.taken.insert(slot, name.to_owned());
                self.next = (slot + 1) % slots;
                return Some(slot);
            }
        }
        None
    }
}

/// The range of a sandbox: the one it has had, or one that no other sandbox has.
fn first_id(launch: &Launch, slots: &mut Slots, name: &str) -> io::Result<u32> {
    let UidBlock { first, count } = launch.uid_block;
    let most = count / limits::IDS_PER_SANDBOX;
    let own = launch.dir.join(name).join(layout::SLOT);
    let slot = match read_slot(&own) {
        Some(slot) if slot < most => slot,
        _ => {
            let free = slots.free(&launch.dir, name, most);
            let free = free.ok_or_else(|| {
                io::Error::other(format!("all {most} id ranges are taken; delete sessions or give the server a larger uid block"))
            })?;
            replace(&own, free.to_string().as_bytes())?;
            free
        }
    };
    let first = slot.checked_mul(limits::IDS_PER_SANDBOX).and_then(|offset| first.checked_add(offset));
    first
        .filter(|first| *first > 0 && first.checked_add(limits::IDS_PER_SANDBOX).is_some())
        .ok_or_else(|| io::Error::other("the uid block is outside of what the kernel has"))
}

fn read_slot(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_kept_never_shared_and_given_again_when_their_directory_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch { dir: dir.path().into(), uid_block: UidBlock { first: 1_000_000, count: limits::IDS_PER_SANDBOX * 2 } };
        let mut slots = Slots::read(dir.path()).unwrap();
        let range = |slots: &mut Slots, name: &str| {
            make(&dir.path().join(name), 0o700).unwrap();
            first_id(&launch, slots, name)
        };
        assert_eq!(range(&mut slots, "a").unwrap(), 1_000_000);
        assert_eq!(range(&mut slots, "b").unwrap(), 1_065_536);
        assert_eq!(range(&mut slots, "a").unwrap(), 1_000_000);
        fs::rename(dir.path().join("b"), dir.path().join("d")).unwrap();
        slots.renamed("b", "d");
        assert!(range(&mut slots, "c").unwrap_err().to_string().contains("larger uid block"));
        // The same is known by a spawner that finds them.
        assert!(range(&mut Slots::read(dir.path()).unwrap(), "c").is_err());
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        assert_eq!(range(&mut slots, "c").unwrap(), 1_000_000);
    }

    #[test]
    fn a_block_that_begins_with_the_hosts_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch { dir: dir.path().into(), uid_block: UidBlock { first: 0, count: 65_536 } };
        make(&dir.path().join("a"), 0o700).unwrap();
        assert!(first_id(&launch, &mut Slots::read(dir.path()).unwrap(), "a").is_err());
    }
}
