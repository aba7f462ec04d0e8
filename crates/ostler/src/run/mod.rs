//! `ostler run`: one session, from a prompt to its end, shown on the terminal.

mod progress;
mod render;
mod session;

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::bootstrap;
use crate::cli::RunArgs;
use crate::client::{Client, read_access};
use crate::config::{Flags, Settings};
use crate::logging;
use crate::node::{self, Node};
use render::Render;
use session::{Ending, Task};

/// The longest prompt read from standard input, in bytes.
const PROMPT_BYTES: u64 = 16 << 20;

pub(crate) fn main(args: RunArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.common.log.as_deref(), "error")?;
    let flags = Flags { model: args.model.clone(), ..Flags::default() };
    let settings = Settings::read(&args.common, flags, |name| std::env::var(name).ok())?;
    let prompt = prompt(args.prompt)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(async move {
        let task = Task { prompt, model: settings.model.clone(), system: args.system };
        let code = run(&settings, task, args.json).await?;
        Ok(ExitCode::from(code))
    })
}

fn prompt(text: String) -> anyhow::Result<String> {
    let mut text = text;
    if text == "-" {
        text.clear();
        std::io::stdin().take(PROMPT_BYTES).read_to_string(&mut text).context("reading the prompt from standard input")?;
    }
    if text.trim().is_empty() {
        bail!("the prompt is empty; say what the agent is to do, for example: ostler run \"list the files here\"");
    }
    Ok(text)
}

async fn run(settings: &Settings, task: Task, json: bool) -> anyhow::Result<u8> {
    let mut render = Render::new(json);
    let Some(lock) = node::lock(&settings.data_dir)? else {
        let access = read_access(&bootstrap::access_file(&settings.data_dir))
            .context("a server holds the data directory, but does not say where it listens; it may be starting, try again")?;
        render.note(&format!("using the server at {}", access.url));
        return finish(&Client::new(access)?, task, &mut render).await.map(|(code, _)| code);
    };
    let node = Node::start(settings, lock, ([127, 0, 0, 1], 0).into()).await?;
    if node.demo {
        render.note("no model is configured: the built-in demo model answers (a script, no AI). Set ANTHROPIC_API_KEY to use a real one.");
    }
    let outcome = finish(&Client::new(node.access.clone())?, task, &mut render).await;
    let sandboxes = node.sandboxes().clone();
    node.stop().await?;
    if let Ok((_, Some(session))) = &outcome {
        sandboxes.stop(session).await.context("ending the sandbox")?;
        node::end_idle_spawner(&sandboxes).await;
        render.note(&format!("files: {}", settings.data_dir.join("sandboxes").join(session.as_str()).join("workspace").display()));
    }
    outcome.map(|(code, _)| code)
}

/// Runs the task to its end. Ctrl-C interrupts the turn, a second one leaves.
async fn finish(client: &Client, task: Task, render: &mut Render) -> anyhow::Result<(u8, Option<ostler_core::ids::SessionId>)> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut session = session::start(client, task, render).await?;
    let mut interrupted = false;
    let ending = loop {
        tokio::select! {
            ending = session.next(render) => match ending? {
                Some(ending) => break ending,
                None => continue,
            },
            _ = interrupts.recv() => {
                if interrupted {
                    break Ending::Left;
                }
                interrupted = true;
                render.note("interrupting; press Ctrl-C again to leave at once");
                session.interrupt(client).await?;
            }
        }
    };
    let ending = if interrupted && ending == Ending::Done { Ending::Interrupted } else { ending };
    let totals = client.get(&format!("/v1/sessions/{}", session.id)).await.ok();
    render.end(&ending, session.id.as_str(), totals.as_ref());
    let code = match ending {
        Ending::Left | Ending::Interrupted => 130,
        Ending::Done => 0,
        Ending::Failed | Ending::Terminated => 1,
        Ending::Declined => 3,
        Ending::Waits => 4,
    };
    Ok((code, Some(session.id)))
}
