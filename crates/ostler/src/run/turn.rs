//! A turn as the person at the terminal sees it: followed to its end, interrupted from the keyboard.

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::render::Render;
use crate::client::{Client, Followed, Follower, Kind, Request, StreamEvent};

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The agent was done.
    Done,
    /// The person ended the turn.
    Interrupted,
    /// The turn was given up.
    Failed,
    /// The model declined.
    Declined,
    /// Somebody has to answer.
    Waits,
    /// The budget is used up.
    OverBudget,
    /// The session was archived or deleted meanwhile.
    Terminated,
    /// The person left.
    Left,
}

impl Ending {
    /// The exit status that tells it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Terminated => 1,
            Self::Declined => 3,
            Self::Waits | Self::OverBudget => 4,
            Self::Left | Self::Interrupted => 130,
        }
    }

    /// How an event ends a turn, if it does.
    pub(crate) fn of(event: &Value) -> Option<Self> {
        match event.get("type")?.as_str()? {
            "session.status_idle" => Some(match event.pointer("/stop_reason/type").and_then(Value::as_str) {
                Some("end_turn") => Self::Done,
                Some("requires_action") => Self::Waits,
                Some("refusal") => Self::Declined,
                Some("budget_reached") => Self::OverBudget,
                _ => Self::Failed,
            }),
            "session.status_terminated" | "session.deleted" => Some(Self::Terminated),
            _ => None,
        }
    }
}

/// A session whose turn is watched.
#[derive(Debug)]
pub(crate) struct Turn {
    client: Client,
    session: String,
    follower: Follower,
    /// The message whose turn it is; turns that end before it was taken up are others.
    awaited: Option<String>,
}

impl Turn {
    /// Watches the first turn that ends, or, with the id of a message's event, the turn of that message.
    pub(crate) fn new(client: &Client, session: &str, follower: Follower, awaited: Option<String>) -> Self {
        Self { client: client.clone(), session: session.to_owned(), follower, awaited }
    }

    /// Shows the turn to its end. Ctrl-C interrupts it, a second one leaves.
    pub(crate) async fn watch(mut self, render: &mut Render, mut keyboard: Signal) -> anyhow::Result<Ending> {
        let mut interrupted = false;
        let ending = loop {
            tokio::select! {
                ending = self.next(render) => match ending? {
                    Some(ending) => break ending,
                    None => continue,
                },
                _ = keyboard.recv() => {
                    if interrupted {
                        break Ending::Left;
                    }
                    interrupted = true;
                    render.note("interrupting; press Ctrl-C again to leave at once");
                    // Leaving must be possible even if the server does not answer.
                    match unless_interrupted(&mut keyboard, interrupt(&self.client, &self.session)).await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => render.note(&format!("it cannot be interrupted: {error:#}")),
                        None => break Ending::Left,
                    }
                }
            }
        };
        let ending = if interrupted && ending == Ending::Done { Ending::Interrupted } else { ending };
        let totals = self.client.get(Request::of(Kind::Session, &self.session)).await.ok();
        render.end(ending, &self.session, totals.as_ref());
        Ok(ending)
    }

    async fn next(&mut self, render: &mut Render) -> anyhow::Result<Option<Ending>> {
        let event = match self.follower.next().await? {
            Followed::Event(event) => event,
            Followed::Gone => return Ok(Some(Ending::Terminated)),
            Followed::Lost => {
                render.note("lost the server; waiting for it to come back");
                return Ok(None);
            }
            Followed::Back => {
                render.reconnected();
                return Ok(None);
            }
        };
        render.event(&event);
        Ok(self.ends_with(&event))
    }

    fn ends_with(&mut self, event: &StreamEvent) -> Option<Ending> {
        if self.awaited.is_some() && event.event_id() == self.awaited.as_deref() {
            self.awaited = None;
        }
        match Ending::of(&event.data)? {
            // The message waits behind this one, and its turn comes next.
            Ending::Done | Ending::Failed | Ending::Declined if self.awaited.is_some() => None,
            ending => Some(ending),
        }
    }
}

/// Ctrl-C, from now on: it does not end this process any more.
pub(crate) fn keyboard() -> std::io::Result<Signal> {
    signal(SignalKind::interrupt())
}

/// Asks the agent to end its turn; gives the server's answer.
pub(crate) async fn interrupt(client: &Client, session: &str) -> anyhow::Result<String> {
    let request = Request::of(Kind::Session, session).then("events");
    client.post_text(request, &json!({"events": [{"type": "user.interrupt"}]})).await
}

/// The future's result, or nothing when the keyboard interrupts first.
pub(crate) async fn unless_interrupted<T>(keyboard: &mut Signal, work: impl Future<Output = T>) -> Option<T> {
    let work = work.fuse();
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => Some(done),
        _ = keyboard.recv() => None,
    }
}
