//! The disk of a sandbox: a file system of fixed size in a sparse file, so that neither its bytes nor its
//! files can take the host's. Mounted only inside, and for a moment where the spawner puts it together.
//! Needs root and loop devices; without them, what is used is watched (`call/watch.rs`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::Whence;

use crate::layout;
use crate::limits;
use crate::spawner::{make, replace};
use crate::spec::SandboxSpec;
use crate::sys::loops;

/// The directories in which `mkfs.ext4` can be, whatever PATH the server has.
const PROGRAM_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// A journal of the least size: files survive a crash of the host, and it costs little.
const JOURNAL_MIB: &str = "size=4";
/// Freed blocks are given back to the host's file system.
const OPTIONS: &str = "noinit_itable,discard,errors=remount-ro";
/// A smaller file system has no place for its journal.
const LEAST_BYTES: u64 = 16 << 20;
const LEAST_INODES: u64 = 64;

/// The disk of one sandbox, mounted where nobody else sees it until this is dropped.
#[derive(Debug)]
pub(crate) struct Staged {
    stage: PathBuf,
    _device: File,
}

impl Staged {
    pub(crate) fn path(&self) -> &Path {
        &self.stage
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What was taken from it lives on; the device frees itself with the last of that.
        let _ = umount2(&self.stage, MntFlags::MNT_DETACH);
    }
}

/// Takes away what a process that died left mounted.
pub(crate) fn unstage(stage: &Path) {
    let _ = umount2(stage, MntFlags::MNT_DETACH);
}

/// Whether a sandbox has a disk of its own already.
pub(crate) fn exists(sandbox: &Path) -> bool {
    sandbox.join(layout::DISK).exists()
}

/// Mounts the disk of a sandbox at `stage`, in the mount namespace of this process. It is made if there is none.
pub(crate) fn open(dir: &Path, sandbox: &Path, stage: &Path, spec: &SandboxSpec) -> io::Result<Staged> {
    let image = sandbox.join(layout::DISK);
    if !exists(sandbox) {
        let next = image.with_extension("next");
        copy(&template(dir, spec)?, &next)?;
        fs::rename(next, &image)?;
    }
    let backing = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(&image)?;
    let (number, device) = attached(&sandbox.join(layout::LOOP_DEVICE), &backing)?;
    make(stage, 0o700)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    mount(Some(loops::path(number).as_str()), stage, Some("ext4"), flags, Some(OPTIONS))?;
    Ok(Staged { stage: stage.to_path_buf(), _device: device })
}

/// The device that holds the disk. A disk of which something may be mounted yet stays on the device that
/// it is on: two at once would write over each other.
fn attached(record: &Path, backing: &File) -> io::Result<(u32, File)> {
    if let Some(number) = fs::read_to_string(record).ok().and_then(|text| text.trim().parse().ok())
        && let Ok(Some(device)) = loops::holding(number, backing)
    {
        return Ok((number, device));
    }
    let (number, device) = loops::hold(backing)?;
    // Before it is mounted; until then it lets go of the disk when this process dies.
    replace(record, number.to_string().as_bytes())?;
    Ok((number, device))
}

/// An empty file system of the size that is asked for, made once.
fn template(dir: &Path, spec: &SandboxSpec) -> io::Result<PathBuf> {
    let bytes = spec.disk_bytes.max(LEAST_BYTES);
    // More files than there is place for could not be made.
    let inodes = spec.disk_inodes.clamp(LEAST_INODES, bytes / limits::DISK_BYTES_PER_FILE);
    let path = dir.join(format!("{}{bytes}-{inodes}", layout::TEMPLATE));
    if path.exists() {
        return Ok(path);
    }
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?.set_len(bytes)?;
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-b", "4096", "-m", "0", "-N", &inodes.to_string(), "-O", "^resize_inode", "-J", JOURNAL_MIB]);
    command.args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]).arg(&next);
    command.env_clear().env("PATH", PROGRAM_PATH).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let made = command.output().map_err(|error| io::Error::new(error.kind(), format!("mkfs.ext4: {error}")))?;
    if !made.status.success() {
        let _ = fs::remove_file(&next);
        return Err(io::Error::other(format!("mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr).trim())));
    }
    fs::rename(&next, &path)?;
    forget_oldest(dir, &path);
    Ok(path)
}

/// Keeps few of them: each environment can ask for another size.
fn forget_oldest(dir: &Path, newest: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let templates = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(layout::TEMPLATE)));
    let mut templates: Vec<_> = templates.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    templates.sort();
    let more = templates.len().saturating_sub(limits::TEMPLATES);
    for (_, path) in templates.into_iter().filter(|(_, path)| path != newest).take(more) {
        let _ = fs::remove_file(path);
    }
}

/// Whether an error means that this machine can have no such disks, and not that this one went wrong.
pub(crate) fn is_impossible(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::EPERM))
}

/// Copies a sparse file, holes as holes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let _ = fs::remove_file(to);
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    target.set_len(source.metadata()?.len())?;
    let mut at = 0;
    loop {
        let start = match nix::unistd::lseek(&source, at, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = nix::unistd::lseek(&source, start, Whence::SeekHole)?;
        let (from, length) = (u64::try_from(start).map_err(io::Error::other)?, u64::try_from(at - start).map_err(io::Error::other)?);
        source.seek(SeekFrom::Start(from))?;
        target.seek(SeekFrom::Start(from))?;
        io::copy(&mut io::Read::take(&mut source, length), &mut target)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn holes_stay_holes_in_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let mut file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        for at in [0, 20 << 20, (64 << 20) - 5] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(b"bytes").unwrap();
        }
        copy(&from, &to).unwrap();
        let read = |path: &Path| {
            let mut bytes = Vec::new();
            File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert!(read(&from) == read(&to));
        assert!(fs::metadata(&to).unwrap().blocks() < 1_000);
    }
}
