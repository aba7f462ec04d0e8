//! The commands for images.

use std::path::PathBuf;

use clap::Subcommand;

use super::CommonArgs;

/// `ostler images`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// List the images of the data directory.
    #[command(after_help = "Example: ostler images list")]
    List {
        /// Print one JSON object per image.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Import an image: an OCI image archive, what `docker save` or `docker export` writes, or a directory.
    ///
    /// It is unpacked inside a sandbox. Files lose set-user-id bits; devices are left out. Environments use it by its
    /// name, as `sandbox.image`; it needs /bin/bash. An archive of a Docker image is what
    /// `docker export $(docker create debian:12)` prints.
    #[command(after_help = "Example: ostler images import debian-12 debian.tar")]
    Import {
        /// Its name from now on.
        name: String,
        /// The archive, or a directory with a file system.
        #[arg(value_name = "ARCHIVE")]
        archive: PathBuf,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Remove an image. Sandboxes that live on it lose its files.
    #[command(after_help = "Example: ostler images remove debian-12")]
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        common: CommonArgs,
    },
}
