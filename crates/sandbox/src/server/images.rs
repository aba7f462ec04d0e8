//! Images: file systems that can be the system of sandboxes. Unpacked inside a throw-away sandbox, because an
//! archive is hostile until it is files; kept read-only; compared with the digest of when they were made before
//! a server uses them for the first time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ostler_core::hex::hex;
use ostler_core::ids::{IncarnationId, SessionId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::sandboxes::Sandboxes;
use super::transfers::call_id;
use crate::error::SandboxError;
use crate::spec::SandboxSpec;
use crate::transfer::Transfer;
use crate::{erase, layout, limits};

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The digest of the image's manifest, if the archive had one.
    pub manifest: Option<String>,
    /// The digest of its files as they lie here.
    pub digest: String,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices and whatever else was left out.
    pub skipped: u64,
}

fn failed(what: &str) -> impl Fn(io::Error) -> SandboxError + '_ {
    move |error| SandboxError::Image(format!("{what}: {error}"))
}

impl Sandboxes {
    fn images(&self) -> PathBuf {
        self.base().join(layout::IMAGES)
    }

    /// The images that there are, by name.
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub fn list_images(&self) -> Result<Vec<Image>, SandboxError> {
        list(&self.images()).map_err(failed("listing images"))
    }

    /// Unpacks an archive (an OCI image layout, what `docker save` writes, or a plain file system; tar) as an
    /// image under a new name.
    ///
    /// # Errors
    /// When the name is taken or none, the archive is none, or the sandbox that unpacks it cannot be had.
    pub async fn import_image(&self, name: &str, archive: File) -> Result<Image, SandboxError> {
        let place = self.images().join(checked(name)?);
        if place.exists() {
            return Err(SandboxError::Image(format!("there is an image {name:?} already; remove it first, or choose another name")));
        }
        let call = call_id()?;
        let named = |_| SandboxError::Image("an import has no name".into());
        let id: SessionId = format!("sesn_probe-{}", call.as_str().trim_start_matches("sevt_")).parse().map_err(named)?;
        let incarnation: IncarnationId = format!("inc_{}", call.as_str().trim_start_matches("sevt_")).parse().map_err(named)?;
        // Its files are not a session's: they lie in a plain directory that can be moved.
        let spec = SandboxSpec { disk_bytes: 0, ..SandboxSpec::default() };
        let imported = async {
            let connection = self.create(&id, &incarnation, &spec).await?;
            self.put(&id, &call, archive).await?;
            let moved = self.transfer(&connection, &call, &Transfer::UnpackImage).await?;
            self.stop(&id).await?;
            let files = self.directory(&id).join(layout::SHARED[0].name);
            let (name, keep) = (name.to_owned(), place.clone());
            let made = tokio::task::spawn_blocking(move || -> io::Result<Image> {
                own_by_root(&files)?;
                let (digest, entries, bytes) = digest(&files)?;
                let image = Image { name, manifest: moved.digest, digest, entries, bytes, skipped: moved.skipped };
                let next = PathBuf::from(format!("{}.next", keep.display()));
                // What an import that died left.
                erase::directory(&next)?;
                fs::create_dir_all(&next)?;
                fs::write(next.join(layout::IMAGE_RECORD), serde_json::to_vec_pretty(&image)?)?;
                fs::rename(files, next.join(layout::IMAGE_FILES))?;
                fs::rename(next, keep)?;
                Ok(image)
            });
            made.await.map_err(io::Error::other).and_then(|made| made).map_err(failed("keeping an image"))
        };
        let imported = imported.await;
        self.remove(&id).await?;
        imported
    }

    /// Removes an image. Sandboxes that live on it lose its files.
    ///
    /// # Errors
    /// When there is none of that name, or it cannot be removed.
    pub async fn remove_image(&self, name: &str) -> Result<(), SandboxError> {
        let place = self.images().join(checked(name)?);
        if !place.exists() {
            return Err(SandboxError::Image(format!("there is no image {name:?}")));
        }
        let removed = tokio::task::spawn_blocking(move || {
            erase::directory(&place.join(layout::IMAGE_FILES))?;
            fs::remove_dir_all(place)
        });
        removed.await.map_err(io::Error::other).and_then(|done| done).map_err(failed("removing an image"))
    }

    /// Whether an image is what was imported. Reads all of its files, once in the life of a server, and to the end
    /// even if who asked gives up.
    pub(super) async fn verified_image(&self, name: &str) -> Result<(), SandboxError> {
        let place = self.images().join(checked(name)?);
        let image: Image = match fs::read(place.join(layout::IMAGE_RECORD)) {
            // The spawner says what is missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            text => text.and_then(|text| Ok(serde_json::from_slice(&text)?)).map_err(failed("reading what is known of an image"))?,
        };
        let key = (name.to_owned(), image.digest.clone());
        let known = self.known_images().lock().await.entry(key).or_default().clone();
        let name = name.to_owned();
        let verified = tokio::spawn(async move {
            let compare = || async {
                let found = tokio::task::spawn_blocking(move || digest(&place.join(layout::IMAGE_FILES))).await;
                match found.map_err(io::Error::other).and_then(|found| found) {
                    Ok((found, _, _)) if found == image.digest => Ok(()),
                    Ok((found, _, _)) => Err(format!(
                        "the image {name:?} is not what was imported: its files are {found} and were {}; remove it and import it again",
                        image.digest
                    )),
                    Err(error) => Err(format!("reading the image {name:?}: {error}")),
                }
            };
            known.get_or_init(compare).await.clone()
        });
        verified.await.map_err(io::Error::other).map_err(failed("comparing an image"))?.map_err(SandboxError::Image)
    }
}

fn checked(name: &str) -> Result<&str, SandboxError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name.len() > limits::IMAGE_NAME || !name.chars().all(fits) || name.ends_with(".next") {
        return Err(SandboxError::Image(format!("{name:?} is no name for an image: letters, digits, -, _ and . only")));
    }
    Ok(name)
}

fn list(images: &Path) -> io::Result<Vec<Image>> {
    let entries = match fs::read_dir(images) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if let (Ok(text), Ok(name)) = (fs::read(entry.path().join(layout::IMAGE_RECORD)), entry.file_name().into_string())
            && !name.ends_with(".next")
            && let Ok(image) = serde_json::from_slice::<Image>(&text)
        {
            found.push(Image { name, ..image });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Takes files from the ids of the sandbox that unpacked them, which other sandboxes may have later.
pub(super) fn own_by_root(root: &Path) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let mut open = vec![root.to_path_buf()];
    std::os::unix::fs::lchown(root, Some(0), Some(0))?;
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            std::os::unix::fs::lchown(entry.path(), Some(0), Some(0))?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

/// The digest of all names, kinds, modes and contents below a directory, with how many there are and their bytes.
/// No link is followed.
pub(super) fn digest(root: &Path) -> io::Result<(String, u64, u64)> {
    let mut hash = Sha256::new();
    let (mut entries, mut bytes) = (0, 0);
    let mut open = vec![PathBuf::new()];
    let mut chunk = vec![0; limits::READ_CHUNK];
    while let Some(directory) = open.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&directory))?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let inner = directory.join(name);
            let path = root.join(&inner);
            let meta = fs::symlink_metadata(&path)?;
            // Lengths first, so that no two trees read alike.
            let name = inner.as_os_str().as_bytes();
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(meta.mode().to_le_bytes());
            entries += 1;
            if meta.is_dir() {
                open.push(inner);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path)?;
                hash.update((target.as_os_str().len() as u64).to_le_bytes());
                hash.update(target.as_os_str().as_bytes());
            } else if meta.is_file() {
                hash.update(meta.len().to_le_bytes());
                bytes += meta.len();
                let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path)?;
                loop {
                    match file.read(&mut chunk)? {
                        0 => break,
                        count => hash.update(&chunk[..count]),
                    }
                }
            }
        }
    }
    Ok((format!("sha256:{}", hex(hash.finalize())), entries, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_sees_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let now = || digest(root).unwrap().0;
        let mut seen = vec![now()];
        let mut changed = |what: &str| {
            let now = now();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::create_dir(root.join("d")).unwrap();
        changed("a directory");
        fs::write(root.join("d/f"), "x").unwrap();
        changed("a file");
        fs::write(root.join("d/f"), "y").unwrap();
        changed("its content");
        fs::set_permissions(root.join("d/f"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        changed("its mode");
        std::os::unix::fs::symlink("a", root.join("l")).unwrap();
        changed("a link");
        fs::rename(root.join("l"), root.join("m")).unwrap();
        changed("a name");
    }

    #[test]
    fn only_plain_names_are_names() {
        for bad in ["", ".", "..", "a/b", ".x", "x y", "x.next", &"x".repeat(300)] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert!(checked("debian-12.5_slim").is_ok());
    }
}
