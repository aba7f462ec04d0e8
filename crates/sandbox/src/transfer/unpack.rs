//! Unpacking an archive that was packed here, or that looks so: directories, files and links of the session's
//! parts, and nothing that leads out of them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::Moved;
use super::place::{self, Look, Root};
use crate::layout::{SHARED, UPLOADS};
use crate::limits;

pub(super) fn unpack(archive: &File, uploads: &OwnedFd) -> io::Result<Moved> {
    let mut roots: Vec<(&str, OwnedFd)> = Vec::new();
    for shared in SHARED.iter().filter(|shared| shared.writable) {
        roots.push((shared.name, File::open(Path::new("/").join(shared.target))?.into()));
    }
    roots.push((UPLOADS, uploads.try_clone()?));
    let mut moved = Moved::default();
    let mut directories: Vec<(usize, PathBuf, Look)> = Vec::new();
    for entry in Archive::new(io::BufReader::new(archive)).entries()? {
        let mut entry = entry?;
        if moved.entries >= limits::ARCHIVE_ENTRIES {
            return Err(io::Error::other(format!("the archive has more than {} entries", limits::ARCHIVE_ENTRIES)));
        }
        let name = entry.path()?.into_owned();
        let found = place::plain(&name).and_then(|path| {
            let part = path.components().next()?;
            let at = roots.iter().position(|(name, _)| part.as_os_str() == *name)?;
            Some((at, path.strip_prefix(part).ok()?.to_path_buf()))
        });
        let Some((at, path)) = found.filter(|(_, path)| !path.as_os_str().is_empty()) else {
            moved.skipped += 1;
            continue;
        };
        let Some((_, directory)) = roots.get(at) else { continue };
        let root = Root { directory };
        let header = entry.header();
        const PERMISSIONS: u32 = 0o777;
        let look = Look { mode: header.mode()? & PERMISSIONS, modified: i64::try_from(header.mtime()?).unwrap_or(0) };
        match header.entry_type() {
            EntryType::Directory => {
                root.directory(&path)?;
                // Its mode may forbid what is still to come into it.
                directories.push((at, path, look));
            }
            EntryType::Regular | EntryType::Continuous => {
                let mut file = root.file(&path)?;
                moved.bytes += io::copy(&mut entry, &mut file)?;
                place::finish(&file, look)?;
            }
            EntryType::Symlink => match entry.link_name()? {
                Some(target) => root.symlink(&path, &target)?,
                None => moved.skipped += 1,
            },
            _ => {
                moved.skipped += 1;
                continue;
            }
        }
        moved.entries += 1;
    }
    for (at, path, look) in directories.into_iter().rev() {
        if let Some((_, directory)) = roots.get(at) {
            place::finish(&Root { directory }.directory(&path)?, look)?;
        }
    }
    Ok(moved)
}
