//! An answer in the dialect of OpenAI Chat Completions: as a stream of chunks, or as one completion.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::limits::INPUT_PIECE_CHARS;
use crate::plan::{Part, Plan};
use crate::playing::{Ending, Sink, Stopped, broken_here, pause, pieces, rest, write};

/// The whole completion.
pub(crate) fn whole(plan: &Plan, model: &Value, number: u64) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let joined = |pick: fn(&Part) -> Option<&String>| plan.parts.iter().filter_map(pick).cloned().collect::<Vec<_>>();
    let texts = joined(|part| if let Part::Text(text) = part { Some(text) } else { None });
    if !texts.is_empty() {
        message["content"] = Value::from(texts.join("\n"));
    }
    let thoughts = joined(|part| if let Part::Thinking(text) = part { Some(text) } else { None });
    if !thoughts.is_empty() {
        message["reasoning_content"] = Value::from(thoughts.join("\n"));
    }
    let calls: Vec<Value> = plan.parts.iter().filter_map(call).collect();
    if !calls.is_empty() {
        message["tool_calls"] = Value::from(calls);
    }
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(&plan.stop)});
    let mut completion = head("chat.completion", model, number);
    completion["choices"] = json!([choice]);
    completion["usage"] = usage(plan);
    completion
}

/// Writes the answer chunk by chunk.
pub(crate) async fn play(plan: &Plan, model: &Value, with_usage: bool, sink: &Sink, ending: &Ending) -> Result<(), Stopped> {
    let head = head("chat.completion.chunk", model, ending.number);
    let chunk = |delta: Value, reason: Value| {
        let mut chunk = head.clone();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]);
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        frame(&chunk)
    };
    write(sink, chunk(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null)).await?;
    rest(plan, sink, &Bytes::from_static(b": still at it\n\n")).await?;
    let last = plan.parts.iter().rposition(|part| !matches!(part, Part::Gate(_)));
    let mut calls = 0;
    for (at, part) in plan.parts.iter().enumerate() {
        if let Part::Gate(gate) = part {
            ending.recording.pass(gate).await;
            continue;
        }
        let deltas = deltas(part, plan.manner.chunk, calls);
        calls += usize::from(matches!(part, Part::Call { .. }));
        let half = deltas.len() / 2;
        for (number, delta) in deltas.into_iter().enumerate() {
            if last == Some(at) && number >= half {
                broken_here(plan, sink, error_event).await?;
            }
            write(sink, chunk(delta, Value::Null)).await?;
            pause(plan).await;
        }
    }
    if last.is_none() {
        broken_here(plan, sink, error_event).await?;
    }
    write(sink, chunk(json!({}), Value::from(finish_reason(&plan.stop)))).await?;
    if with_usage {
        let mut counts = head.clone();
        counts["choices"] = json!([]);
        counts["usage"] = usage(plan);
        write(sink, frame(&counts)).await?;
    }
    write(sink, Bytes::from_static(b"data: [DONE]\n\n")).await
}

fn deltas(part: &Part, chunk: usize, index: usize) -> Vec<Value> {
    match part {
        Part::Text(text) => pieces(text, chunk).map(|piece| json!({ "content": piece })).collect(),
        Part::Thinking(text) => pieces(text, chunk).map(|piece| json!({ "reasoning_content": piece })).collect(),
        Part::Call { id, name, input } => {
            let first = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
            let input = input.to_string();
            let more = pieces(&input, INPUT_PIECE_CHARS).map(|piece| json!({"index": index, "function": {"arguments": piece}}));
            [first].into_iter().chain(more).map(|entry| json!({ "tool_calls": [entry] })).collect()
        }
        Part::Gate(_) => Vec::new(),
    }
}

fn call(part: &Part) -> Option<Value> {
    let Part::Call { id, name, input } = part else { return None };
    Some(json!({"id": id, "type": "function", "function": {"name": name, "arguments": input.to_string()}}))
}

fn head(object: &str, model: &Value, number: u64) -> Value {
    json!({"id": format!("chatcmpl-tk-{number}"), "object": object, "created": 1_767_225_600, "model": model})
}

/// The script's word for a stop in this dialect's words.
fn finish_reason(stop: &str) -> &str {
    match stop {
        "end_turn" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "refusal" => "content_filter",
        other => other,
    }
}

/// What a cache held is part of the prompt in this dialect.
fn usage(plan: &Plan) -> Value {
    let [input, output, read, written] = plan.usage;
    let prompt = input.saturating_add(read).saturating_add(written);
    json!({
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    })
}

fn error_event(kind: &str) -> Bytes {
    frame(&json!({"error": {"message": "scripted stream error", "type": kind, "param": null, "code": null}}))
}

fn frame(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
