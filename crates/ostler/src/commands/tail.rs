//! `ostler sessions tail`: what happened and what happens, over restarts of the server.

use serde_json::Value;

use super::{Asker, waits};
use crate::cli::TailArgs;
use crate::client::{Client, Followed, Follower, Kind, Listing, Paging, Request, Start, StreamEvent, Watch};
use crate::limits;
use crate::run::render::Render;
use crate::run::turn::{self, Ending, unless_interrupted};

/// The types of events that people see; others would only use up the places of `--last`.
const SHOWN: [&str; 16] = [
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "system.message",
    "agent.message",
    "agent.tool_use",
    "agent.mcp_tool_use",
    "agent.custom_tool_use",
    "agent.tool_result",
    "agent.mcp_tool_result",
    "session.error",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "agent.thread_context_compacted",
];

pub(super) async fn run(args: TailArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let mut render = Render::of_session(args.server.json);
    let mut keyboard = turn::keyboard()?;
    let watch = Watch {
        session: args.session.session.clone(),
        // Pieces are no events, so JSON has none.
        previews: !args.server.json,
        kinds: if args.server.json { &[] } else { &SHOWN },
    };
    let ended = unless_interrupted(&mut keyboard, tail(&asker.client, &args, watch, &mut render)).await;
    render.finish();
    match ended {
        Some(ending) => Ok(ending?.map_or(0, Ending::code)),
        None => Ok(Ending::Left.code()),
    }
}

/// Shows what is asked for; the ending is one only where a turn was waited for.
async fn tail(client: &Client, args: &TailArgs, watch: Watch, render: &mut Render) -> anyhow::Result<Option<Ending>> {
    let count = args.last.map_or(limits::TAIL_EVENTS, |last| usize::try_from(last).unwrap_or(usize::MAX));
    if !args.follow && !args.until_idle {
        past(client, &watch, args.from_start, count, render).await?;
        return Ok(None);
    }
    let session = watch.session.clone();
    let start = if args.from_start { Start::Beginning } else { Start::Last(count) };
    let (follower, shown) = Follower::open(client, watch, start).await?;
    // From the first line on, a server that goes away is waited for; so this question comes before.
    let now = Now::of(client, &session).await?;
    for event in &shown {
        render.event(event);
    }
    let mut tail = Tail { follower, until_idle: args.until_idle, old: None, at_rest: None };
    match start {
        // What is over already is shown; there is nothing to wait for behind it.
        Start::Last(_) if now.over => return Ok(args.until_idle.then_some(Ending::Terminated)),
        Start::Last(_) if args.until_idle && now.idle => return Ok(Some(now.ending())),
        Start::Beginning if args.until_idle && now.idle && now.newest_idle.is_none() => return Ok(Some(Ending::Done)),
        Start::Last(_) => {}
        Start::Beginning => {
            tail.at_rest = now.idle.then(|| now.ending());
            tail.old = now.newest_idle.and_then(|event| event["id"].as_str().map(str::to_owned));
        }
    }
    tail.run(render).await
}

/// Shows events that are there already.
async fn past(client: &Client, watch: &Watch, from_start: bool, count: usize, render: &mut Render) -> anyhow::Result<()> {
    if !from_start {
        // A list of no events would not say that there is no such session.
        client.get(Request::of(Kind::Session, &watch.session)).await?;
        for event in watch.last_events(client, count).await? {
            render.event(&event);
        }
        return Ok(());
    }
    let request = Request::of(Kind::Session, &watch.session).then("events");
    let mut listing = Listing::new(client, request, Paging::Cursor, usize::MAX);
    while let Some(page) = listing.page().await? {
        for text in page {
            render.event(&StreamEvent { id: None, data: serde_json::from_str(&text)?, text });
        }
        if render.is_closed() {
            break;
        }
    }
    Ok(())
}

/// The session at the moment.
struct Now {
    idle: bool,
    over: bool,
    /// The event with which it last became idle.
    newest_idle: Option<Value>,
}

impl Now {
    async fn of(client: &Client, session: &str) -> anyhow::Result<Self> {
        // While it runs, an event that was newest before is surely of an earlier turn; when it is
        // idle, one that is newest afterwards tells how it came to that.
        let before = waits::newest(client, session, &["session.status_idle"]).await?;
        let object = client.get(Request::of(Kind::Session, session)).await?;
        let idle = object["status"] == "idle";
        let newest_idle = if idle { waits::newest(client, session, &["session.status_idle"]).await? } else { before };
        Ok(Self { idle, over: object["status"] == "terminated", newest_idle })
    }

    /// How the last turn ended; a session that never ran has nothing to wait for.
    fn ending(&self) -> Ending {
        self.newest_idle.as_ref().and_then(Ending::of).unwrap_or(Ending::Done)
    }
}

/// A tail that goes on.
struct Tail {
    follower: Follower,
    until_idle: bool,
    /// The newest end of a turn at the beginning; those up to it are history.
    old: Option<String>,
    /// The session was idle at the beginning, after this ending.
    at_rest: Option<Ending>,
}

impl Tail {
    async fn run(mut self, render: &mut Render) -> anyhow::Result<Option<Ending>> {
        loop {
            match self.follower.next().await? {
                Followed::Event(event) => {
                    render.event(&event);
                    if let Some(ending) = self.ends_with(&event) {
                        return Ok(self.until_idle.then_some(ending));
                    }
                }
                Followed::Lost => render.note("lost the server; waiting for it to come back"),
                Followed::Back => render.reconnected(),
                Followed::Gone => {
                    render.note("the session was deleted");
                    return Ok(self.until_idle.then_some(Ending::Terminated));
                }
            }
            if render.is_closed() {
                return Ok(None);
            }
        }
    }

    fn ends_with(&mut self, event: &StreamEvent) -> Option<Ending> {
        let ending = Ending::of(&event.data)?;
        if ending == Ending::Terminated {
            return Some(ending);
        }
        if self.old.is_some() {
            if event.event_id() != self.old.as_deref() {
                return None;
            }
            self.old = None;
            return self.at_rest.filter(|_| self.until_idle);
        }
        self.until_idle.then_some(ending)
    }
}
