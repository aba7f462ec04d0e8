//! Playing a plan to a client: as a stream of events, or as one message. Whichever way the client
//! or the script ends it, the outcome is recorded.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::limits::{FLUSH_PAUSE, INPUT_PIECE_CHARS, PING_INTERVAL};
use crate::plan::{Part, Plan, SIGNATURE};
use crate::recording::{Outcome, Recording};

/// Records how a request ended, even if the client's leaving ended it.
#[derive(Debug)]
pub(crate) struct Ending {
    recording: Arc<Recording>,
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
struct Stopped(Outcome);

type Sink = mpsc::Sender<Result<Bytes, io::Error>>;

/// The whole message, after the plan's waits.
pub(crate) async fn whole(plan: &Plan, model: &Value, recording: &Recording, number: u64) -> Value {
    sleep(plan.manner.sleep).await;
    for part in &plan.parts {
        if let Part::Gate(gate) = part {
            recording.pass(gate).await;
        }
    }
    let mut message = head(plan, model, number);
    message["content"] = Value::from(plan.content());
    message["stop_reason"] = Value::from(plan.stop.as_str());
    message["usage"] = usage(plan, plan.usage[1]);
    message
}

/// Writes the answer event by event.
pub(crate) async fn stream(plan: Plan, model: Value, sink: Sink, ending: Ending) {
    let client = sink.clone();
    let played = tokio::select! {
        () = client.closed() => Err(Stopped(Outcome::Aborted)),
        played = play(&plan, &model, &sink, &ending) => played,
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

async fn play(plan: &Plan, model: &Value, sink: &Sink, ending: &Ending) -> Result<(), Stopped> {
    let message = head(plan, model, ending.number);
    send(sink, &json!({"type": "message_start", "message": message})).await?;
    send(sink, &json!({"type": "ping"})).await?;
    let until = Instant::now() + plan.manner.sleep;
    while Instant::now() < until {
        sleep_until(until.min(Instant::now() + PING_INTERVAL)).await;
        send(sink, &json!({"type": "ping"})).await?;
    }
    let last = plan.parts.iter().rposition(|part| !matches!(part, Part::Gate(_)));
    let mut index = 0;
    for (at, part) in plan.parts.iter().enumerate() {
        if let Part::Gate(gate) = part {
            ending.recording.pass(gate).await;
            continue;
        }
        play_block(plan, part, index, last == Some(at), sink).await?;
        index += 1;
    }
    if last.is_none() {
        broken_here(plan, sink).await?;
    }
    let stop_details = if plan.stop == "refusal" { json!({"type": "refusal", "category": null, "explanation": null}) } else { Value::Null };
    let delta = json!({"stop_reason": plan.stop, "stop_sequence": null, "stop_details": stop_details});
    send(sink, &json!({"type": "message_delta", "delta": delta, "usage": usage(plan, plan.usage[1])})).await?;
    send(sink, &json!({"type": "message_stop"})).await
}

async fn play_block(plan: &Plan, part: &Part, index: usize, is_last: bool, sink: &Sink) -> Result<(), Stopped> {
    let (start, deltas) = block(part, plan.manner.chunk);
    send(sink, &json!({"type": "content_block_start", "index": index, "content_block": start})).await?;
    let half = deltas.len() / 2;
    for (number, delta) in deltas.into_iter().enumerate() {
        if is_last && number >= half {
            broken_here(plan, sink).await?;
        }
        send(sink, &json!({"type": "content_block_delta", "index": index, "delta": delta})).await?;
        if !plan.manner.delay.is_zero() {
            sleep(plan.manner.delay).await;
        }
    }
    send(sink, &json!({"type": "content_block_stop", "index": index})).await
}

/// Ends the stream where the script wants it broken.
async fn broken_here(plan: &Plan, sink: &Sink) -> Result<(), Stopped> {
    if let Some(kind) = &plan.manner.error_event {
        send(sink, &json!({"type": "error", "error": {"type": kind, "message": "scripted stream error"}})).await?;
        return Err(Stopped(Outcome::BrokenOff));
    }
    if plan.manner.disconnect { Err(Stopped(Outcome::Disconnected)) } else { Ok(()) }
}

fn block(part: &Part, chunk: usize) -> (Value, Vec<Value>) {
    match part {
        Part::Text(text) => {
            let deltas = pieces(text, chunk).map(|piece| json!({"type": "text_delta", "text": piece}));
            (json!({"type": "text", "text": ""}), deltas.collect())
        }
        Part::Thinking(text) => {
            let deltas = pieces(text, chunk).map(|piece| json!({"type": "thinking_delta", "thinking": piece}));
            let signature = json!({"type": "signature_delta", "signature": SIGNATURE});
            (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas.chain([signature]).collect())
        }
        Part::Call { id, name, input } => {
            let input = input.to_string();
            let delta = |piece: String| json!({"type": "input_json_delta", "partial_json": piece});
            let deltas = [String::new()].into_iter().chain(pieces(&input, INPUT_PIECE_CHARS)).map(delta);
            (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), deltas.collect())
        }
        Part::Gate(_) => (Value::Null, Vec::new()),
    }
}

/// The text in pieces; one empty piece where it is empty.
fn pieces(text: &str, chars: usize) -> impl Iterator<Item = String> {
    let all: Vec<char> = text.chars().collect();
    let mut pieces: Vec<String> = all.chunks(chars).map(|piece| piece.iter().collect()).collect();
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces.into_iter()
}

fn head(plan: &Plan, model: &Value, number: u64) -> Value {
    json!({
        "id": format!("msg_tk_{number}"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(plan, 1),
    })
}

fn usage(plan: &Plan, output: u64) -> Value {
    let [input, _, read, written] = plan.usage;
    json!({"input_tokens": input, "output_tokens": output, "cache_read_input_tokens": read, "cache_creation_input_tokens": written})
}

async fn send(sink: &Sink, event: &Value) -> Result<(), Stopped> {
    let name = event["type"].as_str().unwrap_or_default();
    let frame = Bytes::from(format!("event: {name}\ndata: {event}\n\n"));
    sink.send(Ok(frame)).await.map_err(|_| Stopped(Outcome::Aborted))
}
