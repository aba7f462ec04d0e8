//! What the operator asks of a running server on its own machine: over a unix socket in the data directory, whose other end the kernel
//! names. No API key leads here, because keys belong to tenants.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use client::ask;
pub(crate) use server::{Admin, serve};

/// A question, one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Ask {
    /// Exchange the key of vaults.
    RotateVaultKey {
        /// Whether former keys stay.
        keep_former: bool,
    },
}

/// An answer, one line of JSON for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Told {
    /// It goes on.
    Progress {
        /// For people.
        text: String,
    },
    /// It is done. The last line.
    Done,
    /// It is not. The last line.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// Where the server listens.
fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}
