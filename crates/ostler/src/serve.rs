//! `ostler serve`: the HTTP API until a signal ends it.

use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::bootstrap;
use crate::cli::ServeArgs;
use crate::config::{Flags, Settings};
use crate::handover::{self, Begun};
use crate::logging::{self, say};
use crate::node::{self, Node};

pub(crate) fn main(args: ServeArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.common.log.as_deref(), "info")?;
    let flags = Flags { listen: args.listen, allow_plaintext: args.allow_plaintext, allowed_hosts: args.allowed_hosts, model: None };
    let env = |name: &str| std::env::var(name).ok();
    let Some(begun) = handover::take()? else {
        let text = Settings::text(&args.common, env)?;
        let settings = Settings::of(text.as_deref(), &args.common, flags, env)?;
        settings.check_exposure()?;
        let Some(lock) = node::lock(&settings.data_dir)? else {
            bail!("another server holds the data directory {}; stop it, or choose another with --data-dir", settings.data_dir.display());
        };
        match handover::become_server(&settings, text.as_deref(), lock, None, node::log_of(&settings))? {}
    };
    let settings = Settings::of(begun.settings.as_deref(), &args.common, flags, env)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(serve(settings, begun))
}

async fn serve(settings: Settings, begun: Begun) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut node = Node::start(&settings, begun, settings.listen).await?;
    if node.new_key && settings.bootstrap_key.is_none() {
        say("This is the first start. The API key is shown once:");
        say(&format!("\n    {}\n", node.access.key));
    }
    say(&format!("The API key is in {}.", bootstrap::key_file(&settings.data_dir).display()));
    tracing::info!(url = %node.access.url, data_dir = %settings.data_dir.display(), "serving; sandboxes reach what their environments allow");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping: asked to terminate"),
        _ = interrupt.recv() => tracing::info!("stopping: interrupted"),
        error = node.failed() => return Err(error),
    }
    let stopped = tokio::select! {
        stopped = node.stop() => stopped,
        _ = interrupt.recv() => bail!("stopped at once; running turns are taken up at the next start"),
    };
    stopped.map(|()| ExitCode::SUCCESS)
}
