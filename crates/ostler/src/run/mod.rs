//! `ostler run`: one session, from a prompt to its end, shown on the terminal.

mod progress;
pub(crate) mod render;
pub(crate) mod session;
pub(crate) mod turn;

use std::process::ExitCode;

use anyhow::Context;
use ostler_core::ids::SessionId;

use crate::cli::RunArgs;
use crate::client::{Client, Target, Usage};
use crate::commands::input;
use crate::config::{Flags, Settings};
use crate::handover::{self, Begun};
use crate::logging::{self, say};
use crate::node::{self, Node};
use render::Render;
use session::Task;

pub(crate) fn main(args: RunArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.common.log.as_deref(), "error").map_err(|error| Usage(format!("{error:#}")))?;
    let flags = Flags { model: args.model.clone(), ..Flags::default() };
    let env = |name: &str| std::env::var(name).ok();
    let usage = |error: anyhow::Error| Usage(format!("{error:#}"));
    let begun = handover::take()?;
    let text = match &begun {
        Some(begun) => begun.settings.clone(),
        None => Settings::text(&args.common, env).map_err(usage)?,
    };
    let settings = Settings::of(text.as_deref(), &args.common, flags, env).map_err(usage)?;
    let (prompt, begun) = match begun {
        Some(begun) => (begun.prompt.clone().unwrap_or_default(), Some(begun)),
        None => {
            let prompt = prompt(args.prompt)?;
            // Without a server it is one itself.
            if let Some(lock) = node::lock(&settings.data_dir)? {
                match handover::become_server(&settings, text.as_deref(), lock, Some(prompt), node::log_of(&settings))? {}
            }
            (prompt, None)
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(async move {
        let task = Task { prompt, model: settings.model.clone(), system: args.system };
        let code = run(&settings, begun, task, args.json).await?;
        Ok(ExitCode::from(code))
    })
}

fn prompt(text: String) -> anyhow::Result<String> {
    if text != "-" && input::is_piped() {
        say("standard input is not read; with - as the prompt it is: ostler run -");
    }
    let text = if text == "-" { input::stdin()? } else { text };
    if text.trim().is_empty() {
        return Err(
            Usage("the prompt is empty; say what the agent is to do, for example: ostler run \"list the files here\"".to_owned()).into()
        );
    }
    Ok(text)
}

async fn run(settings: &Settings, begun: Option<Begun>, task: Task, json: bool) -> anyhow::Result<u8> {
    let mut render = Render::new(json);
    let Some(begun) = begun else {
        let target = Target::of_data_dir(&settings.data_dir)
            .context("a server holds the data directory, but does not say where it listens; it may be starting, try again")?;
        let client = Client::new(target)?;
        render.note(&format!("using the server at {}", client.url()));
        return finish(&client, task, &mut render).await.map(|(code, _)| code);
    };
    let node = Node::start(settings, begun, ([127, 0, 0, 1], 0).into()).await?;
    if node.demo {
        render.note("no model is configured: the built-in demo model answers (a script, no AI). Set ANTHROPIC_API_KEY to use a real one.");
    }
    let outcome = finish(&Client::new(Target::own(node.access.clone()))?, task, &mut render).await;
    let sandboxes = node.sandboxes().clone();
    node.stop().await?;
    if let Ok((_, session)) = &outcome {
        sandboxes.stop(session).await.context("ending the sandbox")?;
        node::end_idle_spawner(&sandboxes).await;
        let files = settings.data_dir.join("sandboxes").join(session.as_str()).join("workspace");
        render.note(&if files.exists() {
            format!("files: {}", files.display())
        } else {
            // On a disk of the session's own, which only a server mounts.
            format!("files: start `ostler serve`, then `ostler sandboxes export {session} files.tar`")
        });
    }
    outcome.map(|(code, _)| code)
}

/// Runs the task to its end. Ctrl-C interrupts the turn, a second one leaves.
async fn finish(client: &Client, task: Task, render: &mut Render) -> anyhow::Result<(u8, SessionId)> {
    // Taken over before anything runs: this process may hold the server and its sandboxes.
    let keyboard = turn::keyboard()?;
    let (session, turn) = session::start(client, task, render).await?;
    let ending = turn.watch(render, keyboard).await?;
    Ok((ending.code(), session.parse().context("the server's session id")?))
}
