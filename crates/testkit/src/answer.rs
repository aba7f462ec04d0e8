//! An answer in the dialect of Anthropic Messages: as a stream of events, or as one message.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::limits::INPUT_PIECE_CHARS;
use crate::plan::{Part, Plan, SIGNATURE};
use crate::playing::{Ending, Sink, Stopped, broken_here, pause, pieces, rest, write};

/// The whole message.
pub(crate) fn whole(plan: &Plan, model: &Value, number: u64) -> Value {
    let mut message = head(plan, model, number);
    message["content"] = Value::from(plan.content());
    message["stop_reason"] = Value::from(plan.stop.as_str());
    message["usage"] = usage(plan, plan.usage[1]);
    message
}

/// Writes the answer event by event.
pub(crate) async fn play(plan: &Plan, model: &Value, sink: &Sink, ending: &Ending) -> Result<(), Stopped> {
    let message = head(plan, model, ending.number);
    send(sink, &json!({"type": "message_start", "message": message})).await?;
    send(sink, &json!({"type": "ping"})).await?;
    rest(plan, sink, &frame(&json!({"type": "ping"}))).await?;
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
        broken_here(plan, sink, error_event).await?;
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
            broken_here(plan, sink, error_event).await?;
        }
        send(sink, &json!({"type": "content_block_delta", "index": index, "delta": delta})).await?;
        pause(plan).await;
    }
    send(sink, &json!({"type": "content_block_stop", "index": index})).await
}

fn error_event(kind: &str) -> Bytes {
    frame(&json!({"type": "error", "error": {"type": kind, "message": "scripted stream error"}}))
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
    write(sink, frame(event)).await
}

fn frame(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}
