//! The layers of an image, one over the other: what a layer brings replaces what is there, and its whiteouts
//! remove it. <https://github.com/opencontainers/image-spec/blob/main/layer.md>

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::Moved;
use super::image::Part;
use super::place::{self, Look, Root};
use crate::limits;

/// What every program would load, also those of ours that are started in a container.
const PRELOAD: &str = "etc/ld.so.preload";
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Puts a layer over what is in the root.
pub(super) fn unpack(root: &OwnedFd, layer: Part, moved: &mut Moved) -> io::Result<()> {
    let mut magic = [0; 4];
    let mut beginning = layer.again()?;
    let mut read = 0;
    while read < magic.len() {
        match beginning.read(&mut magic[read..])? {
            0 => break,
            count => read += count,
        }
    }
    let layer = io::BufReader::with_capacity(limits::READ_CHUNK, layer);
    if magic.starts_with(&GZIP) {
        entries(root, MultiGzDecoder::new(layer), moved)
    } else if magic == ZSTD {
        entries(root, ruzstd::decoding::StreamingDecoder::new(layer).map_err(io::Error::other)?, moved)
    } else {
        entries(root, layer, moved)
    }
}

fn entries(directory: &OwnedFd, layer: impl Read, moved: &mut Moved) -> io::Result<()> {
    let root = Root { directory };
    let mut seen = 0;
    for entry in Archive::new(layer).entries()? {
        let mut entry = entry?;
        seen += 1;
        if moved.bytes.saturating_add(entry.size()) > limits::IMAGE_BYTES {
            return Err(io::Error::other(format!("the image has more than {} GiB of files", limits::IMAGE_BYTES >> 30)));
        }
        if moved.entries.max(seen) >= limits::ARCHIVE_ENTRIES {
            return Err(io::Error::other(format!("the image has more than {} entries", limits::ARCHIVE_ENTRIES)));
        }
        let name = entry.path()?.into_owned();
        let Some(path) = place::plain(&name).filter(|path| !path.as_os_str().is_empty() && *path != Path::new(PRELOAD)) else {
            moved.skipped += 1;
            continue;
        };
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.starts_with(WHITEOUT)) {
            whiteout(&root, path, name)?;
            continue;
        }
        let header = entry.header();
        let modified = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let mode = header.mode().unwrap_or(0);
        match header.entry_type() {
            EntryType::Directory => {
                place::finish(&root.directory(path)?, Look { mode: 0o755, modified })?;
            }
            EntryType::Regular | EntryType::Continuous => {
                let mut file = root.file(path)?;
                moved.bytes += io::copy(&mut entry, &mut file)?;
                place::finish(&file, Look { mode: readable(mode), modified })?;
            }
            EntryType::Symlink => match entry.link_name()? {
                Some(target) => root.symlink(path, &target)?,
                None => moved.skipped += 1,
            },
            EntryType::Link => match entry.link_name()?.as_deref().and_then(place::plain) {
                Some(target) => root.link(path, target)?,
                None => moved.skipped += 1,
            },
            // Devices, pipes and whatever else.
            _ => {
                moved.skipped += 1;
                continue;
            }
        }
        moved.entries += 1;
    }
    Ok(())
}

/// Readable by everybody, as its owner is nobody in the sandboxes that use it; run by all if by its owner.
/// Never with the rights of its owner.
fn readable(mode: u32) -> u32 {
    const RUN_BY_OWNER: u32 = 0o100;
    if mode & RUN_BY_OWNER == 0 { 0o644 } else { 0o755 }
}

fn whiteout(root: &Root<'_>, path: &Path, name: &str) -> io::Result<()> {
    let above = path.parent().unwrap_or(Path::new(""));
    if name == OPAQUE {
        use std::os::fd::AsRawFd;
        let directory = root.directory(above)?;
        return crate::erase::contents(Path::new(&format!("/proc/self/fd/{}/.", directory.as_raw_fd())));
    }
    root.remove(&above.join(&name[WHITEOUT.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_lose_what_gives_rights() {
        assert_eq!([0o4755, 0o2711, 0o600, 0o1777].map(readable), [0o755, 0o755, 0o644, 0o755]);
    }
}
