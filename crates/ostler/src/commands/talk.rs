//! `ostler sessions send` and `ostler sessions interrupt`.

use serde_json::{Value, json};

use super::{Asker, create, waits};
use crate::cli::{InterruptArgs, SendArgs};
use crate::client::{Followed, Follower, Kind, Request, Start, Watch};
use crate::logging::say;
use crate::run::render::Render;
use crate::run::session::message;
use crate::run::turn::{self, Ending, Turn, unless_interrupted};

/// The id of the one event that an answer echoes.
fn echoed(answer: &str) -> anyhow::Result<Option<String>> {
    let answer: Value = serde_json::from_str(answer)?;
    Ok(answer.pointer("/data/0/id").and_then(Value::as_str).map(str::to_owned))
}

/// `ostler sessions send`.
pub(super) async fn send(args: SendArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let session = &args.session.session;
    let body = json!({"events": [message(&create::words(&args.text)?)]});
    let request = Request::of(Kind::Session, session).then("events");
    if !args.follow {
        let answer = asker.client.post_text(request, &body).await?;
        let sent = echoed(&answer)?.unwrap_or_default();
        return asker.out.done(&answer, &format!("sent {sent}"));
    }
    let watch = Watch { session: session.clone(), previews: true, kinds: &[] };
    // Open before anything happens, so that nothing is missed.
    let (follower, _) = Follower::open(&asker.client, watch, Start::Last(0)).await?;
    let before = waiting(&asker, session).await?;
    let answer = asker.client.post_text(request, &body).await?;
    let mut render = Render::new(args.server.json);
    if before {
        render.note("the message waits in line: calls of this session wait for answers first; see `ostler sessions show`");
        return Ok(Ending::Waits.code());
    }
    render.started(session);
    let turn = Turn::new(&asker.client, session, follower, echoed(&answer)?);
    Ok(turn.watch(&mut render, turn::keyboard()?).await?.code())
}

/// Whether the session waits for answers, so that messages start no turn.
async fn waiting(asker: &Asker, session: &str) -> anyhow::Result<bool> {
    let object = asker.client.get(Request::of(Kind::Session, session)).await?;
    if object["status"] != "idle" {
        return Ok(false);
    }
    let idle = waits::newest(&asker.client, session, &["session.status_idle"]).await?.unwrap_or_default();
    Ok(Ending::of(&idle) == Some(Ending::Waits))
}

/// `ostler sessions interrupt`.
pub(super) async fn interrupt(args: InterruptArgs) -> anyhow::Result<u8> {
    let asker = Asker::new(&args.server)?;
    let session = &args.session.session;
    if !args.wait {
        let answer = turn::interrupt(&asker.client, session).await?;
        return asker.out.done(&answer, &format!("asked session {session} to end its turn"));
    }
    let watch = Watch { session: session.clone(), previews: false, kinds: &[] };
    let (mut follower, _) = Follower::open(&asker.client, watch, Start::Last(0)).await?;
    let answer = turn::interrupt(&asker.client, session).await?;
    let sent = echoed(&answer)?;
    let mut keyboard = turn::keyboard()?;
    match unless_interrupted(&mut keyboard, over(&asker, session, &mut follower, sent)).await {
        None => Ok(Ending::Left.code()),
        Some(over) => {
            over?;
            asker.out.done(&answer, &format!("session {session} is idle"))
        }
    }
}

/// Waits until the interrupt took effect and the session is idle or over.
async fn over(asker: &Asker, session: &str, follower: &mut Follower, sent: Option<String>) -> anyhow::Result<()> {
    let mut effective = sent.is_none();
    loop {
        let event = match follower.next().await? {
            Followed::Event(event) => event,
            Followed::Gone => return Ok(()),
            Followed::Lost => {
                say("lost the server; waiting for it to come back");
                continue;
            }
            Followed::Back => continue,
        };
        match Ending::of(&event.data) {
            Some(Ending::Terminated) => return Ok(()),
            Some(_) if effective => return Ok(()),
            _ => {}
        }
        if event.event_id().is_some() && event.event_id() == sent.as_deref() {
            effective = true;
            // Of an idle session an interrupt is an event and nothing else.
            let status = &asker.client.get(Request::of(Kind::Session, session)).await?["status"];
            if status != "running" && status != "rescheduling" {
                return Ok(());
            }
        }
    }
}
