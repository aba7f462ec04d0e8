//! Archives of a sandbox's files, made and unpacked inside it: the host moves them as opaque bytes and never
//! opens what the workload wrote. Works for the server only; no model can name these tools.

mod image;
mod layers;
mod pack;
mod place;
mod unpack;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use ostler_core::ids::EventId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::confine::Held;

/// Before the names of tools that only the server runs; no tool of a model may contain the sign.
const PREFIX: &str = "internal:";

/// What the server has done inside. The archive is the file of the call among the transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tool")]
pub(crate) enum Transfer {
    /// Makes an archive of the session's files.
    #[serde(rename = "internal:pack")]
    Pack {
        /// The parts, by the names in [`crate::layout::SHARED`].
        parts: Vec<String>,
        /// Bytes that it may have.
        max_bytes: u64,
    },
    /// Unpacks such an archive into the same places; what is there is replaced.
    #[serde(rename = "internal:unpack")]
    Unpack,
    /// Unpacks an OCI image into the workspace.
    #[serde(rename = "internal:unpack_image")]
    UnpackImage,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Bytes of files.
    pub(crate) bytes: u64,
    /// Entries that are none of these, or lead outside, and were left out.
    pub(crate) skipped: u64,
    /// Of an image: the digest of its manifest.
    #[serde(default)]
    pub(crate) digest: Option<String>,
}

/// Whether a tool is one of these.
pub(crate) fn is_transfer(tool: &str) -> bool {
    tool.starts_with(PREFIX)
}

/// What a worker needs for it, with all descriptors opened.
#[derive(Debug)]
pub(crate) struct Work {
    transfer: Transfer,
    archive: File,
    /// Writable, unlike what is mounted.
    uploads: OwnedFd,
}

impl Work {
    /// Opens what the call needs.
    pub(crate) fn open(held: &Held, call: &EventId, tool: &str, input: &Value) -> io::Result<Self> {
        let mut named = input.as_object().cloned().unwrap_or_default();
        named.insert("tool".into(), tool.into());
        let transfer: Transfer = serde_json::from_value(Value::Object(named))?;
        let how = match transfer {
            Transfer::Pack { .. } => OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL,
            Transfer::Unpack | Transfer::UnpackImage => OFlag::O_RDONLY,
        };
        let flags = how | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let archive = openat(&held.transfers, call.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Self { transfer, archive: archive.into(), uploads: held.uploads.try_clone()? })
    }

    /// The descriptors that it needs.
    pub(crate) fn descriptors(&self) -> [i32; 2] {
        [self.archive.as_raw_fd(), self.uploads.as_raw_fd()]
    }

    /// Does it.
    pub(crate) fn run(self) -> Result<Moved, String> {
        let Self { transfer, archive, uploads } = self;
        let done = match transfer {
            Transfer::Pack { parts, max_bytes } => pack::pack(&archive, &parts, max_bytes),
            Transfer::Unpack => unpack::unpack(&archive, &uploads),
            Transfer::UnpackImage => image::unpack(&archive),
        };
        done.map_err(|error| error.to_string())
    }
}
