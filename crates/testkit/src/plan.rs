//! What one request will be answered with: the step it is at, its placeholders filled in.

use serde_json::{Value, json};

use crate::conversation::{Conversation, Position, call_id, substitute};
use crate::limits::ECHO_CHARS;
use crate::script::{Fail, Item, Step};

/// One thing the answer does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Thinking(String),
    Call { id: String, name: String, input: Value },
    Gate(String),
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) key: String,
    pub(crate) step: usize,
    pub(crate) parts: Vec<Part>,
    pub(crate) stop: String,
    pub(crate) usage: [u64; 4],
    /// How it is paced and broken.
    pub(crate) manner: Step,
}

impl Plan {
    /// The answer to a request in the shape of Messages, whose body had this many bytes.
    pub(crate) fn of(body: &Value, body_bytes: usize) -> Self {
        let conversation = Conversation::of(body);
        let Position { key, steps, step } = conversation.position();
        let manner = steps.as_ref().and_then(|steps| steps.get(step)).cloned();
        let parts = match (&manner, steps.is_some()) {
            (Some(step_now), _) => scripted(step_now, &conversation, &key, step),
            (None, true) => vec![Part::Text("DONE".to_owned())],
            (None, false) => {
                let echo: String = conversation.user_text().chars().take(ECHO_CHARS).collect();
                vec![Part::Text(format!("OK: {echo}"))]
            }
        };
        let manner = manner.unwrap_or_default();
        let calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
        let stop = manner.stop.clone().unwrap_or_else(|| if calls { "tool_use" } else { "end_turn" }.to_owned());
        let usage = manner.usage.unwrap_or_else(|| estimate(body_bytes, &parts));
        Self { key, step, parts, stop, usage, manner }
    }

    pub(crate) fn fail(&self) -> Option<&Fail> {
        self.manner.fail.as_ref()
    }

    /// The content blocks of the whole answer.
    pub(crate) fn content(&self) -> Vec<Value> {
        let block = |part: &Part| match part {
            Part::Text(text) => Some(json!({"type": "text", "text": text})),
            Part::Thinking(text) => Some(json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})),
            Part::Call { id, name, input } => Some(json!({"type": "tool_use", "id": id, "name": name, "input": input})),
            Part::Gate(_) => None,
        };
        self.parts.iter().filter_map(block).collect()
    }
}

/// The signature of every thinking block.
pub(crate) const SIGNATURE: &str = "dGVzdGtpdA==";

fn scripted(step: &Step, conversation: &Conversation, key: &str, number: usize) -> Vec<Part> {
    let placeholders = conversation.placeholders(number);
    let fill = |text: &str| substitute(text, &placeholders);
    let mut calls = 0;
    let part = |item: &Item| match item {
        Item::Say(text) => Part::Text(fill(text)),
        Item::Think(text) => Part::Thinking(fill(text)),
        Item::Gate(name) => Part::Gate(name.clone()),
        Item::Tool { name, input } => match serde_json::from_str::<Value>(input) {
            Ok(input) => {
                let id = call_id(key, number, calls);
                calls += 1;
                Part::Call { id, name: name.clone(), input: filled(input, &fill) }
            }
            Err(error) => Part::Text(format!("the script's input for {name} is no JSON: {error}")),
        },
    };
    step.items.iter().map(part).collect()
}

fn filled(value: Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(&text)),
        Value::Array(list) => list.into_iter().map(|entry| filled(entry, fill)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, entry)| (key, filled(entry, fill))).collect(),
        other => other,
    }
}

/// Four bytes to a token, and never none.
fn estimate(body_bytes: usize, parts: &[Part]) -> [u64; 4] {
    let length = |part: &Part| match part {
        Part::Text(text) | Part::Thinking(text) => text.len(),
        Part::Call { input, .. } => input.to_string().len(),
        Part::Gate(_) => 0,
    };
    let tokens = |bytes: usize| u64::try_from(bytes / 4).unwrap_or(u64::MAX).max(1);
    [tokens(body_bytes), tokens(parts.iter().map(length).sum()), 0, 0]
}
