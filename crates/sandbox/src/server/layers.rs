//! Layers of packages: what the build of one wrote, kept read-only beside the system that it lies over. What a build wrote is
//! hostile: it is looked at only once nothing of the build runs, and no link in it is followed.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ostler_core::hex::hex;
use ostler_core::ids::{IncarnationId, SessionId};
use ostler_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::images;
use super::sandboxes::Sandboxes;
use super::tidy;
use crate::error::SandboxError;
use crate::{erase, layout, limits, sys};

/// What is known of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What it is known by.
    pub key: String,
    /// The digest of its files.
    pub digest: String,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// When it was made.
    pub built_at: Timestamp,
}

/// After the name of a layer that is being put together.
const NEXT: &str = ".next";

fn failed(what: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |error| SandboxError::Packages(format!("{what}: {error}"))
}

impl Sandboxes {
    fn layers(&self) -> PathBuf {
        self.base().join(layout::LAYERS)
    }

    /// Names for the sandbox of one build.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn build_names(&self) -> Result<(SessionId, IncarnationId), SandboxError> {
        let bytes = sys::random::<12>().map_err(failed("naming a build"))?;
        let name = hex(bytes);
        let unnamed = |_| SandboxError::Packages("a build has no name".into());
        Ok((format!("{}{name}", layout::BUILDS).parse().map_err(unnamed)?, format!("inc_{name}").parse().map_err(unnamed)?))
    }

    /// Whether this is the sandbox of a build.
    pub(super) fn is_build(name: &str) -> bool {
        name.starts_with(layout::BUILDS)
    }

    /// What tells one system from another: an image by its digest, the host by its release and its list of packages.
    ///
    /// # Errors
    /// When there is no such image.
    pub async fn system(&self, image: Option<&str>) -> Result<String, SandboxError> {
        if let Some(name) = image {
            let images = self.list_images()?;
            let image = images.into_iter().find(|image| image.name == name);
            let missing = || SandboxError::Image(format!("there is no image {name:?}; import it with `ostler images import`"));
            return Ok(format!("image {}", image.ok_or_else(missing)?.digest));
        }
        let read = tokio::task::spawn_blocking(|| {
            let mut hash = Sha256::new();
            for path in ["/etc/os-release", "/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite"] {
                hash.update(fs::read(path).unwrap_or_default());
                hash.update([0]);
            }
            let hex = hex(hash.finalize());
            format!("host {} {hex}", std::env::consts::ARCH)
        });
        read.await.map_err(io::Error::other).map_err(failed("reading what the system is"))
    }

    /// A layer, if there is one of that key and it is what was built. Reads all of its files, once in the life of a server.
    ///
    /// # Errors
    /// When its files are others than those that were built.
    pub async fn verified_layer(&self, key: &str) -> Result<Option<Layer>, SandboxError> {
        let place = self.layers().join(key);
        let layer: Layer = match fs::read(place.join(layout::LAYER_RECORD)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => {
                text.and_then(|text| Ok(serde_json::from_slice(&text)?)).map_err(failed("reading what is known of a layer of packages"))?
            }
        };
        let known = self.known_layers().lock().await.entry(key.to_owned()).or_default().clone();
        let expected = layer.digest.clone();
        let verified = tokio::spawn(async move {
            let compare = || async {
                let found = tokio::task::spawn_blocking(move || images::digest(&place.join(layout::LAYER_FILES))).await;
                match found.map_err(io::Error::other).and_then(|found| found) {
                    Ok((found, _, _)) if found == expected => Ok(()),
                    Ok((found, _, _)) => Err(format!(
                        "the layer of packages is not what was built: its files are {found} and were {expected}; have it built again with `ostler environments packages ENVIRONMENT --build`"
                    )),
                    Err(error) => Err(format!("reading a layer of packages: {error}")),
                }
            };
            known.get_or_init(compare).await.clone()
        });
        verified.await.map_err(io::Error::other).map_err(failed("comparing a layer"))?.map_err(SandboxError::Packages)?;
        Ok(Some(layer))
    }

    /// Ends a build, and makes what it wrote a layer.
    ///
    /// # Errors
    /// When its files cannot be read or moved. Nothing of it is used then.
    pub async fn keep_layer(&self, build: &SessionId, key: &str, image: Option<&str>, built_at: Timestamp) -> Result<Layer, SandboxError> {
        self.stop(build).await?;
        self.remove_layer(key).await?;
        let files = self.directory(build).join(layout::BUILD).join(layout::BUILD_FILES);
        let image = image.map(|name| self.base().join(layout::IMAGES).join(name).join(layout::IMAGE_FILES));
        let (place, key) = (self.layers().join(key), key.to_owned());
        let made = tokio::task::spawn_blocking(move || -> io::Result<Layer> {
            tidy::build(&files, image.as_deref())?;
            images::own_by_root(&files)?;
            let (digest, entries, bytes) = images::digest(&files)?;
            if bytes > limits::LAYER_BYTES {
                return Err(io::Error::other(format!("the packages have more than {} GiB of files", limits::LAYER_BYTES >> 30)));
            }
            let layer = Layer { key, digest, entries, bytes, built_at };
            let next = PathBuf::from(format!("{}{NEXT}", place.display()));
            erase::directory(&next)?;
            fs::create_dir_all(&next)?;
            fs::write(next.join(layout::LAYER_RECORD), serde_json::to_vec_pretty(&layer)?)?;
            fs::rename(files, next.join(layout::LAYER_FILES))?;
            // A machine that fails must not leave a layer without its bytes under the final name.
            nix::unistd::sync();
            fs::rename(next, place)?;
            Ok(layer)
        });
        let made = made.await.map_err(io::Error::other).and_then(|made| made).map_err(failed("keeping what was installed"));
        self.remove(build).await?;
        made
    }

    /// The keys of the layers that there are.
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub fn list_layers(&self) -> Result<Vec<String>, SandboxError> {
        let entries = match fs::read_dir(self.layers()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("listing layers of packages"))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| !name.ends_with(NEXT)).collect())
    }

    /// The keys of the layers that living sandboxes lie on.
    ///
    /// # Errors
    /// When these cannot be listed.
    pub async fn layers_in_use(&self) -> Result<HashSet<String>, SandboxError> {
        let living = self.list().await?;
        Ok(living.iter().filter_map(|id| fs::read_to_string(self.directory(id).join(layout::LAYER_IN_USE)).ok()).collect())
    }

    /// Removes a layer, if it is there. No living sandbox may lie on it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn remove_layer(&self, key: &str) -> Result<(), SandboxError> {
        self.known_layers().lock().await.remove(key);
        let place = self.layers().join(key);
        let removed = tokio::task::spawn_blocking(move || {
            // Nobody finds it half removed.
            let gone = PathBuf::from(format!("{}.gone{NEXT}", place.display()));
            erase::directory(&gone)?;
            match fs::rename(&place, &gone) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                renamed => renamed.and_then(|()| erase::directory(&gone)),
            }
        });
        removed.await.map_err(io::Error::other).and_then(|done| done).map_err(failed("removing a layer of packages"))
    }

    /// Removes what is left of builds whose server died.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn abandon_builds(&self) -> Result<(), SandboxError> {
        let names = |directory: &Path| -> Vec<String> {
            fs::read_dir(directory).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
        };
        for name in names(self.base()) {
            if let Some(id) = Some(name).filter(|name| Self::is_build(name)).and_then(|name| name.parse().ok()) {
                self.remove(&id).await?;
            }
        }
        for name in names(&self.layers()).into_iter().filter(|name| name.ends_with(NEXT)) {
            let place = self.layers().join(name);
            let removed = tokio::task::spawn_blocking(move || erase::directory(&place)).await;
            removed.map_err(io::Error::other).and_then(|done| done).map_err(failed("removing what is left of a build"))?;
        }
        Ok(())
    }
}
