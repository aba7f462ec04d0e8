//! `ostler vault`, of a running server or without one.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use ostler_runtime::egress::Egress;
use ostler_store::{SqliteConfig, SqliteStore, Store};

use super::{KeyHolder, Rotation};
use crate::admin::{self, Ask};
use crate::cli::VaultCommand;
use crate::config::{Flags, Settings, VaultKey};
use crate::logging::{self, say};
use crate::{egress, node, terminal, vault_key};

pub(crate) fn main(command: VaultCommand) -> anyhow::Result<ExitCode> {
    let (VaultCommand::RotateKey { common, .. } | VaultCommand::NewKey { common }) = &command;
    logging::start(common.log.as_deref(), "warn")?;
    let settings = Settings::read(common, Flags::default(), |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    match command {
        VaultCommand::RotateKey { keep_former, .. } => runtime.block_on(rotate(&settings, keep_former))?,
        VaultCommand::NewKey { .. } => new_key(&settings)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the server that holds the data directory, or does it in its place.
async fn rotate(settings: &Settings, keep_former: bool) -> anyhow::Result<()> {
    if !settings.data_dir.join("ostler.db").exists() {
        bail!("there is no data in {}; say --data-dir DIR", settings.data_dir.display());
    }
    let Some(_lock) = node::lock(&settings.data_dir)? else {
        let ask = Ask::RotateVaultKey { keep_former };
        return admin::ask(&settings.data_dir, &ask, |text| say(&terminal::neutral(text))).await;
    };
    if let VaultKey::File(path) = &settings.vault_key
        && path.symlink_metadata().is_err()
    {
        bail!("there is no vault key at {}; bring it back, or let the next start of the server make one", path.display());
    }
    let ring = vault_key::read(&settings.vault_key)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteConfig::new(&settings.data_dir)).context("opening the database")?);
    let log = settings.log.as_deref().unwrap_or("warn");
    let running = egress::start(&settings.data_dir, &settings.vault_key, &ring, &settings.egress, Vec::new(), log)?;
    drop(ring);
    let running = running.handed().context("leaving the way to egress open")?.connect().await?;
    let rotation = Rotation {
        from: settings.vault_key.clone(),
        keep_former,
        store,
        egress: Arc::clone(&running.link) as Arc<dyn Egress>,
        holder: Arc::clone(&running.keys) as Arc<dyn KeyHolder>,
        router: None,
        say: Arc::new(|text: String| say(&terminal::neutral(&text))),
    };
    rotation.run().await
}

/// Prints what is to be kept where a key comes from that is no file.
fn new_key(settings: &Settings) -> anyhow::Result<()> {
    let text = vault_key::with_new(&settings.vault_key)?;
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes()).context("writing to standard output")
}
