//! The image of containers: empty directories for what is mounted, and the links of the system's root. Made here
//! and given to the engine; nothing is pulled.

use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::CreateImageOptions;
use futures::StreamExt as _;
use ostler_core::hex::hex;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::container::System;
use crate::layout::SHARED;

const REPOSITORY: &str = "ostler-skeleton";
const DIRECTORIES: [&str; 16] = [
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "run/ostler-init",
    "run/ostler-control",
    "run/ostler-shell",
    HELD,
    "run/ostler-held/calls",
    "run/ostler-held/uploads",
    "home",
    "mnt",
    "mnt/session",
    "etc",
    "var",
];
/// Nobody but root may enter it.
const HELD: &str = "run/ostler-held";

/// The name of the image for a system, which is made if the engine has none.
pub(super) async fn ensure(docker: &Docker, system: &System) -> Result<String, Error> {
    let archive = archive(system)?;
    let digest = hex(&Sha256::digest(&archive)[..8]);
    let name = format!("{REPOSITORY}:{digest}");
    if docker.inspect_image(&name).await.is_ok() {
        return Ok(name);
    }
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(REPOSITORY.into()),
        tag: Some(digest),
        ..CreateImageOptions::default()
    };
    let mut steps = docker.create_image(Some(options), Some(bollard::body_full(archive.into())), None).boxed();
    while let Some(step) = steps.next().await {
        step?;
    }
    Ok(name)
}

fn archive(system: &System) -> Result<Vec<u8>, std::io::Error> {
    const MODE: u32 = 0o755;
    const MODE_OF_ALL: u32 = 0o1777;
    const MODE_OF_ROOT: u32 = 0o700;
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, link: Option<&Path>| {
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(match name {
            "tmp" | "run/ostler-shell" => MODE_OF_ALL,
            HELD => MODE_OF_ROOT,
            _ => MODE,
        });
        if let Some(link) = link {
            header.set_entry_type(EntryType::Symlink);
            return builder.append_link(&mut header, name, link);
        }
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, format!("{name}/"), std::io::empty())
    };
    for name in DIRECTORIES.into_iter().chain(SHARED.iter().map(|shared| shared.target)) {
        add(name, None)?;
    }
    for (name, link) in &system.links {
        add(name, Some(link))?;
    }
    for (_, target) in system.directories.iter().filter(|(source, _)| source.is_dir()) {
        add(target, None)?;
    }
    builder.into_inner()
}
