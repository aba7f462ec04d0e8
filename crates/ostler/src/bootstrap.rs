//! The first start: one organization, one workspace, one API key, and where the command line
//! finds the key again.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ostler_core::ids::{OrganizationId, WorkspaceId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_runtime::ambient::Ambient;
use ostler_server::keys::ApiKeySecret;
use ostler_store::{Bootstrap, NewApiKey, Store};

use crate::client::Access;

/// The key of the command line, in the data directory, readable by its owner alone.
pub(crate) fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("api-key")
}

/// Where the running server is, in the data directory.
pub(crate) fn access_file(data_dir: &Path) -> PathBuf {
    data_dir.join("server.json")
}

/// Makes organization, workspace and key unless there are some. Returns the command line's key,
/// and whether it is new.
pub(crate) async fn first_key(
    store: &dyn Store,
    ambient: &Ambient,
    data_dir: &Path,
    preset: Option<&str>,
) -> anyhow::Result<(String, bool)> {
    let file = key_file(data_dir);
    let kept = std::fs::read_to_string(&file).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let secret = match preset {
        Some(text) => ApiKeySecret::from_preset(text),
        None => ApiKeySecret::generate(ambient).context("no randomness for an API key")?,
    };
    let mut ids = ambient.ids();
    let key = NewApiKey { id: secret.id.clone(), sha256: secret.sha256, name: "bootstrap".into(), created_at: ambient.now() };
    let first = Bootstrap { organization: OrganizationId::mint(&mut ids), workspace: WorkspaceId::mint(&mut ids), key };
    // The file comes first: a key that is in the database and nowhere else opens nothing.
    if kept.is_none() || preset.is_some() {
        write_private(&file, secret.text())?;
    }
    let made = store.bootstrap(&Scope::System(SystemReason::Bootstrap), &first).await.context("creating the first organization")?;
    if made {
        if kept.is_some() && preset.is_none() {
            write_private(&file, secret.text())?;
        }
        return Ok((secret.text().to_owned(), true));
    }
    match (kept, preset) {
        (Some(kept), None) => Ok((kept, false)),
        (kept, Some(preset)) => {
            let known =
                store.api_key(&Scope::System(SystemReason::Authentication), &secret.id).await.context("looking the preset key up")?;
            if known.is_none() {
                if let Some(kept) = kept {
                    write_private(&file, &kept)?;
                }
                anyhow::bail!(
                    "OSTLER_BOOTSTRAP_API_KEY presets the key of the first start, and this data directory had its first start with another one; unset the variable"
                );
            }
            Ok((preset.to_owned(), false))
        }
        (None, None) => anyhow::bail!(
            "{} is gone; with OSTLER_BOOTSTRAP_API_KEY set to an existing key the server starts and keeps it there again",
            file.display()
        ),
    }
}

/// Tells the command line where the server is.
pub(crate) fn write_access(data_dir: &Path, access: &Access) -> anyhow::Result<()> {
    write_private(&access_file(data_dir), &serde_json::to_string(access)?)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&draft);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}
