//! `ostler images`: the systems that sandboxes can have. Works on the data directory itself, beside a server or
//! without one.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use anyhow::Context;
use ostler_sandbox::{Image, Sandboxes};
use ostler_store::DataDirLock;
use serde_json::json;

use super::output::Output;
use crate::cli::{CommonArgs, ImagesCommand};
use crate::config::{Flags, Settings};
use crate::logging::{self, say};
use crate::node;

const MIB: u64 = 1 << 20;

pub(super) async fn run(command: ImagesCommand) -> anyhow::Result<u8> {
    match command {
        ImagesCommand::List { json, common } => {
            let place = Place::open(&common).await?;
            let images = place.sandboxes.list_images();
            place.close().await;
            let (out, images) = (Output::new(json), images?);
            if json {
                return images.iter().try_fold(0, |_, image| out.done(&json!(image).to_string(), ""));
            }
            let rows = images.iter().map(|image| {
                vec![image.name.clone(), format!("{} MiB", image.bytes.div_ceil(MIB)), image.entries.to_string(), image.digest.clone()]
            });
            out.table(&["name", "size", "files", "digest"], rows.collect())?;
            Ok(0)
        }
        ImagesCommand::Import { name, archive, common } => {
            let file = opened(&archive)?;
            let place = Place::open(&common).await?;
            say(&format!("unpacking {} in a sandbox", archive.display()));
            let imported = place.sandboxes.import_image(&name, file).await;
            place.close().await;
            let Image { entries, bytes, skipped, digest, .. } = imported?;
            let left_out = if skipped > 0 { format!(", {skipped} devices and the like left out") } else { String::new() };
            say(&format!("{name}: {entries} files, {} MiB{left_out}; {digest}", bytes.div_ceil(MIB)));
            say(&format!("Environments have it with {}", json!({"sandbox": {"image": name}})));
            Ok(0)
        }
        ImagesCommand::Remove { name, common } => {
            let place = Place::open(&common).await?;
            let removed = place.sandboxes.remove_image(&name).await;
            place.close().await;
            removed?;
            Output::new(false).done("", &format!("removed image {name}"))
        }
    }
}

/// The sandboxes of the data directory.
#[derive(Debug)]
struct Place {
    sandboxes: Sandboxes,
    /// None while a server holds the directory.
    lock: Option<DataDirLock>,
}

impl Place {
    async fn open(common: &CommonArgs) -> anyhow::Result<Self> {
        logging::start(common.log.as_deref(), "warn")?;
        let settings = Settings::read(common, Flags::default(), |name| std::env::var(name).ok())?;
        let lock = node::lock(&settings.data_dir)?;
        Ok(Self { sandboxes: node::sandboxes(&settings).await?, lock })
    }

    /// Leaves no process behind that no server needs.
    async fn close(self) {
        if self.lock.is_some() {
            node::end_idle_spawner(&self.sandboxes).await;
        }
    }
}

/// The archive; a directory as one.
fn opened(path: &Path) -> anyhow::Result<File> {
    let reading = || format!("reading {}", path.display());
    if !std::fs::metadata(path).with_context(reading)?.is_dir() {
        return File::open(path).with_context(reading);
    }
    let mut archive = tar::Builder::new(tempfile::tempfile().context("making a temporary file")?);
    archive.follow_symlinks(false);
    archive.append_dir_all("", path).with_context(reading)?;
    let mut file = archive.into_inner()?;
    file.rewind()?;
    Ok(file)
}
