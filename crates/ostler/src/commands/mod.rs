//! The client commands: each asks a server over the HTTP API and shows the answer.

mod agents;
pub(crate) mod complete;
mod confirm;
mod create;
mod environments;
mod events;
mod images;
pub(crate) mod input;
mod models;
pub(crate) mod money;
mod network;
mod output;
mod packages;
mod sandboxes;
mod sessions;
mod tail;
mod talk;
mod waits;

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::cli::{
    AgentsCommand, EnvironmentsCommand, EventsCommand, ImagesCommand, ModelsCommand, SandboxesCommand, ServerArgs, SessionsCommand,
};
use crate::client::{Client, Kind, Request, Target, Usage};
use crate::logging;
use output::Output;
pub(crate) use output::ReaderGone;

/// Where a command asks and shows.
#[derive(Debug)]
struct Asker {
    client: Client,
    out: Output,
}

impl Asker {
    fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        logging::start(args.common.log.as_deref(), "error").map_err(|error| Usage(format!("{error:#}")))?;
        let target = Target::find(args, |name| std::env::var(name).ok())?;
        Ok(Self { client: Client::new(target)?, out: Output::new(args.json) })
    }

    /// Archives one thing.
    async fn archive(&self, kind: Kind, id: &str) -> anyhow::Result<u8> {
        let answer = self.client.post_text(Request::of(kind, id).then("archive"), &Value::Object(serde_json::Map::new())).await?;
        self.out.done(&answer, &format!("archived {} {id}", kind.name()))
    }

    /// Deletes one thing.
    async fn delete(&self, kind: Kind, id: &str) -> anyhow::Result<u8> {
        let answer = self.client.delete_text(Request::of(kind, id)).await?;
        self.out.done(&answer, &format!("deleted {} {id}", kind.name()))
    }
}

/// Runs a command to its exit status.
fn perform(work: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(work).map(ExitCode::from)
}

/// `ostler agents`.
pub(crate) fn agents(command: AgentsCommand) -> anyhow::Result<ExitCode> {
    perform(agents::run(command))
}

/// `ostler environments`.
pub(crate) fn environments(command: EnvironmentsCommand) -> anyhow::Result<ExitCode> {
    perform(environments::run(command))
}

/// `ostler images`.
pub(crate) fn images(command: ImagesCommand) -> anyhow::Result<ExitCode> {
    perform(images::run(command))
}

/// `ostler sandboxes`.
pub(crate) fn sandboxes(command: SandboxesCommand) -> anyhow::Result<ExitCode> {
    perform(sandboxes::run(command))
}

/// `ostler sessions`.
pub(crate) fn sessions(command: SessionsCommand) -> anyhow::Result<ExitCode> {
    perform(sessions::run(command))
}

/// `ostler events`.
pub(crate) fn events(command: EventsCommand) -> anyhow::Result<ExitCode> {
    perform(events::run(command))
}

/// `ostler models`.
pub(crate) fn models(command: ModelsCommand) -> anyhow::Result<ExitCode> {
    perform(models::run(command))
}
