//! Packing the session's files. The workload may change them meanwhile: a file is as long as it was when it was
//! opened, nothing is followed, and nothing that blocks is opened.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::Moved;
use crate::layout::SHARED;
use crate::limits;

/// Bytes of an entry besides its content.
const AROUND: u64 = 2_048;

pub(super) fn pack(archive: &File, parts: &[String], max_bytes: u64) -> io::Result<Moved> {
    let mut builder = Builder::new(io::BufWriter::new(archive));
    let mut moved = Moved::default();
    for part in parts {
        let shared = SHARED.iter().find(|shared| shared.name == part);
        let shared = shared.ok_or_else(|| io::Error::other(format!("there is no part {part:?}")))?;
        let root = Path::new("/").join(shared.target);
        let mut open = vec![PathBuf::new()];
        while let Some(directory) = open.pop() {
            let listed = match std::fs::read_dir(root.join(&directory)) {
                // The workload may have closed a directory of its own.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && directory != Path::new("") => {
                    moved.skipped += 1;
                    continue;
                }
                listed => listed?,
            };
            for entry in listed {
                let entry = entry?;
                let inner = directory.join(entry.file_name());
                let name = Path::new(part).join(&inner);
                let Ok(meta) = entry.metadata() else { continue };
                // Around each entry there are headers and what fills its last block.
                let all = moved.bytes.saturating_add(moved.entries * AROUND).saturating_add(if meta.is_file() { meta.len() } else { 0 });
                if all > max_bytes || moved.entries >= limits::ARCHIVE_ENTRIES {
                    return Err(io::Error::other(format!("the files have more than {max_bytes} bytes, or are too many")));
                }
                let left = max_bytes - all + if meta.is_file() { meta.len() } else { 0 };
                if add(&mut builder, &root.join(&inner), &name, &meta, left, &mut moved)? && meta.is_dir() {
                    open.push(inner);
                }
            }
        }
    }
    builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(moved)
}

/// Adds one entry. False where it is left out.
fn add(
    builder: &mut Builder<impl io::Write>,
    path: &Path,
    name: &Path,
    meta: &std::fs::Metadata,
    left: u64,
    moved: &mut Moved,
) -> io::Result<bool> {
    const PERMISSIONS: u32 = 0o777;
    let mut header = Header::new_gnu();
    header.set_mode(meta.mode() & PERMISSIONS);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_size(0);
    let kind = meta.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, name, io::empty())?;
    } else if kind.is_symlink() {
        let Ok(target) = std::fs::read_link(path) else { return Ok(false) };
        header.set_entry_type(EntryType::Symlink);
        if target.as_os_str().as_bytes().is_empty() {
            return Ok(false);
        }
        builder.append_link(&mut header, name, target)?;
    } else if kind.is_file() {
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let Ok(file) = opened else {
            moved.skipped += 1;
            return Ok(false);
        };
        // What was opened counts, not what was listed.
        let meta = file.metadata()?;
        if !meta.is_file() {
            moved.skipped += 1;
            return Ok(false);
        }
        if meta.len() > left {
            return Err(io::Error::other("a file grew beyond what the archive may have"));
        }
        header.set_size(meta.len());
        let exactly = file.take(meta.len()).chain(io::repeat(0)).take(meta.len());
        moved.bytes += meta.len();
        builder.append_data(&mut header, name, exactly)?;
    } else {
        moved.skipped += 1;
        return Ok(false);
    }
    moved.entries += 1;
    Ok(true)
}
