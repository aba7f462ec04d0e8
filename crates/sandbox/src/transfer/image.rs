//! Unpacking an image archive: an OCI image layout, or what `docker save` writes, into the workspace.
//! <https://github.com/opencontainers/image-spec>

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::hex::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tar::Archive;

use super::layers;
use super::{Moved, place};
use crate::{layout, limits};

/// Where each file of the archive lies in it.
type Index = HashMap<String, (u64, u64)>;

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default, rename = "mediaType")]
    media_type: String,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index or a manifest; which it is can be seen by what it has.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// An image in `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
struct Saved {
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

pub(super) fn unpack(archive: &File) -> io::Result<Moved> {
    let index = index(archive)?;
    let root: OwnedFd = File::open(layout::WORKSPACE)?.into();
    let mut moved = Moved::default();
    if index.contains_key("index.json") {
        let manifest = manifest(archive, &index)?;
        moved.digest = Some(manifest.0);
        for layer in manifest.1.layers {
            let blob = blob(archive, &index, &layer.digest)?;
            layers::unpack(&root, blob, &mut moved)?;
        }
    } else if index.contains_key("manifest.json") {
        let text = bytes(archive, &index, "manifest.json")?;
        moved.digest = Some(digest(&text));
        let saved: Vec<Saved> = serde_json::from_slice(&text)?;
        let [saved] = saved.as_slice() else { return Err(io::Error::other("the archive must hold one image")) };
        for layer in &saved.layers {
            let whole = part(archive, &index, layer)?;
            layers::unpack(&root, whole, &mut moved)?;
        }
    } else {
        // A plain archive of a file system, as `docker export` and debootstrap make them.
        let mut whole = archive.try_clone()?;
        whole.seek(SeekFrom::Start(0))?;
        layers::unpack(&root, Part { file: whole.try_clone()?, at: 0, end: archive.metadata()?.len() }, &mut moved)?;
    }
    // A link there would be followed where it must not be.
    let etc = Path::new(layout::WORKSPACE).join("etc");
    if std::fs::symlink_metadata(etc).is_ok_and(|meta| !meta.is_dir()) {
        return Err(io::Error::other("the image's /etc is no directory"));
    }
    let has = |path: &str| std::fs::symlink_metadata(Path::new(layout::WORKSPACE).join(path)).is_ok();
    if !["bin/bash", "usr/bin/bash"].into_iter().any(has) {
        return Err(io::Error::other("the image has no /bin/bash, which runs commands; add it to the image"));
    }
    Ok(moved)
}

/// The manifest for this machine, and its digest.
fn manifest(archive: &File, index: &Index) -> io::Result<(String, Document)> {
    let mut document: Document = serde_json::from_slice(&bytes(archive, index, "index.json")?)?;
    for _ in 0..limits::IMAGE_INDEXES {
        let fits = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_none_or(Platform::is_this);
        let is_image = |descriptor: &&Descriptor| !descriptor.media_type.contains("attestation");
        let chosen = document.manifests.iter().filter(is_image).find(fits);
        let chosen = chosen.ok_or_else(|| io::Error::other("the archive has no image for this machine"))?.digest.clone();
        let mut text = Vec::new();
        blob(archive, index, &chosen)?.take(limits::IMAGE_DOCUMENT_BYTES).read_to_end(&mut text)?;
        document = serde_json::from_slice(&text)?;
        if document.manifests.is_empty() {
            return Ok((chosen, document));
        }
    }
    Err(io::Error::other("the archive's index leads nowhere"))
}

impl Platform {
    fn is_this(&self) -> bool {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        self.os == "linux" && self.architecture == architecture
    }
}

fn index(archive: &File) -> io::Result<Index> {
    let mut first = archive.try_clone()?;
    first.seek(SeekFrom::Start(0))?;
    let mut index = Index::new();
    for entry in Archive::new(first).entries_with_seek()? {
        let entry = entry?;
        if index.len() >= limits::IMAGE_FILES {
            break;
        }
        let name = entry.path()?.into_owned();
        if let Some(name) = place::plain(&name).and_then(Path::to_str) {
            index.insert(name.to_owned(), (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(index)
}

/// A part of the archive.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    at: u64,
    end: u64,
}

impl Part {
    /// The same part, read from its beginning.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, at: self.at, end: self.end })
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt as _;
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn part(archive: &File, index: &Index, name: &str) -> io::Result<Part> {
    let (at, length) = *index.get(name).ok_or_else(|| io::Error::other(format!("the archive has no {name}")))?;
    let end = at.checked_add(length).ok_or_else(|| io::Error::other(format!("{name} has no end")))?;
    Ok(Part { file: archive.try_clone()?, at, end })
}

fn bytes(archive: &File, index: &Index, name: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    part(archive, index, name)?.take(limits::IMAGE_DOCUMENT_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// A blob that is what its digest says.
fn blob(archive: &File, index: &Index, named: &str) -> io::Result<Part> {
    let (algorithm, digits) = named.split_once(':').unwrap_or_default();
    let found = part(archive, index, &format!("blobs/{algorithm}/{digits}"))?;
    let mut hash = Sha256::new();
    let mut whole = found.again()?;
    let mut chunk = vec![0; limits::READ_CHUNK];
    loop {
        match whole.read(&mut chunk)? {
            0 => break,
            count => hash.update(&chunk[..count]),
        }
    }
    let is = format!("sha256:{}", hex(hash.finalize()));
    if is == named { Ok(found) } else { Err(io::Error::other(format!("the blob {named} is {is}"))) }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(Sha256::digest(bytes)))
}
