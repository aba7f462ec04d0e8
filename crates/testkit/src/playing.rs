//! What playing a plan is in every dialect: the stream, its pace, where the script breaks it.
//! Whichever way the client or the script ends it, the outcome is recorded.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::{FLUSH_PAUSE, PING_INTERVAL};
use crate::plan::{Part, Plan};
use crate::recording::{Outcome, Recording};
use crate::{answer, chat_answer};

/// How a request is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions.
    Chat {
        /// Whether the stream ends with token counts.
        with_usage: bool,
    },
}

/// Records how a request ended, even if the client's leaving ended it.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) recording: Arc<Recording>,
    pub(crate) number: u64,
    outcome: Outcome,
}

impl Ending {
    pub(crate) fn new(recording: Arc<Recording>, number: u64) -> Self {
        Self { recording, number, outcome: Outcome::Aborted }
    }

    pub(crate) fn is(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.recording.end(self.number, self.outcome.clone());
    }
}

/// The stream stopped early: the client is gone, or the script says so.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) Outcome);

/// Where a stream is written to.
pub(crate) type Sink = mpsc::Sender<Result<Bytes, io::Error>>;

/// Writes the answer event by event.
pub(crate) async fn stream(plan: Plan, model: Value, dialect: Dialect, sink: Sink, ending: Ending) {
    let client = sink.clone();
    let play = async {
        match dialect {
            Dialect::Messages => answer::play(&plan, &model, &sink, &ending).await,
            Dialect::Chat { with_usage } => chat_answer::play(&plan, &model, with_usage, &sink, &ending).await,
        }
    };
    let played = tokio::select! {
        () = client.closed() => Err(Stopped(Outcome::Aborted)),
        played = play => played,
    };
    let outcome = match played {
        Ok(()) => Outcome::Answered,
        Err(Stopped(Outcome::Disconnected)) => {
            sleep(FLUSH_PAUSE).await;
            let cut = io::Error::new(io::ErrorKind::ConnectionAborted, "cut, as scripted");
            // A client that left already needs no cut.
            let _ = sink.send(Err(cut)).await;
            Outcome::Disconnected
        }
        Err(Stopped(outcome)) => outcome,
    };
    ending.is(outcome);
}

/// The whole answer of a request that does not stream, after the plan's waits.
pub(crate) async fn whole(plan: &Plan, model: &Value, dialect: Dialect, recording: &Recording, number: u64) -> Value {
    sleep(plan.manner.sleep).await;
    for part in &plan.parts {
        if let Part::Gate(gate) = part {
            recording.pass(gate).await;
        }
    }
    match dialect {
        Dialect::Messages => answer::whole(plan, model, number),
        Dialect::Chat { .. } => chat_answer::whole(plan, model, number),
    }
}

/// The scripted sleep, with a sign of life now and then.
pub(crate) async fn rest(plan: &Plan, sink: &Sink, ping: &Bytes) -> Result<(), Stopped> {
    let until = Instant::now() + plan.manner.sleep;
    while Instant::now() < until {
        sleep_until(until.min(Instant::now() + PING_INTERVAL)).await;
        write(sink, ping.clone()).await?;
    }
    Ok(())
}

/// The scripted pause behind a piece.
pub(crate) async fn pause(plan: &Plan) {
    if !plan.manner.delay.is_zero() {
        sleep(plan.manner.delay).await;
    }
}

/// Ends the stream where the script wants it broken; `error` is the dialect's error event.
pub(crate) async fn broken_here(plan: &Plan, sink: &Sink, error: impl FnOnce(&str) -> Bytes) -> Result<(), Stopped> {
    if let Some(kind) = &plan.manner.error_event {
        write(sink, error(kind)).await?;
        return Err(Stopped(Outcome::BrokenOff));
    }
    if plan.manner.disconnect { Err(Stopped(Outcome::Disconnected)) } else { Ok(()) }
}

pub(crate) async fn write(sink: &Sink, bytes: Bytes) -> Result<(), Stopped> {
    sink.send(Ok(bytes)).await.map_err(|_| Stopped(Outcome::Aborted))
}

/// The text in pieces; one empty piece where it is empty.
pub(crate) fn pieces(text: &str, chars: usize) -> impl Iterator<Item = String> {
    let all: Vec<char> = text.chars().collect();
    let mut pieces: Vec<String> = all.chunks(chars).map(|piece| piece.iter().collect()).collect();
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces.into_iter()
}
