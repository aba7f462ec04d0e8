//! One block of an answer while it arrives: what its deltas add up to, and whether it is whole.

use ostler_core::ids::EventId;
use ostler_core::model::{BlockKind, ResponseBlock};
use serde_json::{Map, Value, json};

use crate::limits::BLOCK_DEPTH;
use crate::nesting::is_within;
use crate::origin::MARK;
use crate::{ModelEvent, PreviewKind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    Thinking,
    RedactedThinking,
    ToolCall,
    Other,
}

/// A block that has begun.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) index: usize,
    event_id: EventId,
    shape: Shape,
    /// What the provider sent when the block began, unknown fields included.
    start: Map<String, Value>,
    /// The text, or the reasoning.
    text: String,
    /// The serialised input of a call.
    input: String,
    announced: bool,
    closed: bool,
}

impl Block {
    pub(super) fn start(index: usize, event_id: EventId, mut start: Map<String, Value>, events: &mut dyn FnMut(ModelEvent)) -> Self {
        // A mark says who made a block, and is ours alone to put on.
        start.remove(MARK);
        let shape = match start.get("type").and_then(Value::as_str) {
            Some("text") => Shape::Text,
            Some("thinking") => Shape::Thinking,
            Some("redacted_thinking") => Shape::RedactedThinking,
            Some("tool_use") => Shape::ToolCall,
            _ => Shape::Other,
        };
        let begun = match shape {
            Shape::Text => taken(&mut start, "text"),
            Shape::Thinking => taken(&mut start, "thinking"),
            _ => String::new(),
        };
        let mut block = Self { index, event_id, shape, start, text: String::new(), input: String::new(), announced: false, closed: false };
        if shape != Shape::Text {
            block.announce(events);
        }
        block.add_text(&begun, events);
        block
    }

    /// Adds a `content_block_delta`. A delta that does not fit the block is ignored, so that the
    /// block stays one that can be sent back.
    pub(super) fn add(&mut self, delta: &Map<String, Value>, events: &mut dyn FnMut(ModelEvent)) {
        let text = |field: &str| delta.get(field).and_then(Value::as_str).unwrap_or_default();
        match (delta.get("type").and_then(Value::as_str).unwrap_or_default(), self.shape) {
            ("text_delta", Shape::Text) => self.add_text(text("text"), events),
            ("thinking_delta", Shape::Thinking) => self.text.push_str(text("thinking")),
            ("signature_delta", Shape::Thinking) => {
                self.start.insert("signature".to_owned(), Value::from(text("signature")));
            }
            ("citations_delta", Shape::Text) => {
                if let Some(citation) = delta.get("citation") {
                    extend(self.start.entry("citations").or_insert(Value::Null), json!([citation]));
                }
            }
            ("input_json_delta", Shape::ToolCall | Shape::Other) => self.input.push_str(text("partial_json")),
            (_, Shape::Other) => {
                for (field, value) in delta.iter().filter(|(field, _)| *field != "type") {
                    extend(self.start.entry(field.as_str()).or_insert(Value::Null), value.clone());
                }
            }
            _ => {}
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The finished block, or `None` for one that the provider would not take back: text without
    /// text, and reasoning that was cut before its signature. `cut` says that the answer's limit
    /// ended it in this block.
    pub(super) fn finish(mut self, cut: bool) -> Option<ResponseBlock> {
        let kind = match self.shape {
            Shape::Text if self.text.trim().is_empty() => return None,
            Shape::Text => {
                self.start.insert("text".to_owned(), Value::from(self.text.as_str()));
                BlockKind::Text { text: self.text }
            }
            Shape::Thinking if (cut || !self.closed) && text_of(&self.start, "signature").is_empty() => return None,
            Shape::Thinking => {
                self.start.insert("thinking".to_owned(), Value::from(self.text));
                self.start.entry("signature").or_insert_with(|| Value::from(""));
                BlockKind::Thinking
            }
            Shape::RedactedThinking => BlockKind::RedactedThinking,
            Shape::ToolCall => self.finish_call(cut),
            Shape::Other => {
                if let Ok(input) = serde_json::from_str::<Value>(&self.input) {
                    self.start.insert("input".to_owned(), input);
                }
                BlockKind::Other
            }
        };
        // What is nested deeper could be written into the journal and never be read again.
        self.start.retain(|_, value| is_within(value, BLOCK_DEPTH));
        Some(ResponseBlock { event_id: self.event_id, kind, raw: Value::Object(self.start) })
    }

    fn finish_call(&mut self, cut: bool) -> BlockKind {
        let id = text_of(&self.start, "id").to_owned();
        let name = text_of(&self.start, "name").to_owned();
        let sent = if self.input.trim().is_empty() {
            // A call without arguments sends no deltas; but then neither does one that was cut.
            self.start.get("input").filter(|input| !cut || !is_empty_object(input)).cloned()
        } else {
            serde_json::from_str(&self.input).ok()
        };
        let whole =
            sent.filter(|input| input.is_object() && is_within(input, BLOCK_DEPTH) && self.closed && !id.is_empty() && !name.is_empty());
        let complete = whole.is_some();
        let input = whole.unwrap_or_else(|| json!({}));
        self.start.insert("input".to_owned(), input.clone());
        BlockKind::ToolCall { id, name, input, complete }
    }

    fn add_text(&mut self, text: &str, events: &mut dyn FnMut(ModelEvent)) {
        self.text.push_str(text);
        if self.shape != Shape::Text || text.is_empty() {
            return;
        }
        if self.announced {
            events(ModelEvent::TextDelta { event_id: self.event_id.clone(), text: text.to_owned() });
        } else if !text.trim().is_empty() {
            self.announce(events);
            events(ModelEvent::TextDelta { event_id: self.event_id.clone(), text: self.text.clone() });
        }
    }

    fn announce(&mut self, events: &mut dyn FnMut(ModelEvent)) {
        self.announced = true;
        let kind = match self.shape {
            Shape::Text => PreviewKind::Text,
            Shape::Thinking | Shape::RedactedThinking => PreviewKind::Thinking,
            Shape::ToolCall | Shape::Other => PreviewKind::Other,
        };
        events(ModelEvent::BlockStarted { event_id: self.event_id.clone(), kind, index: self.index });
        if self.shape == Shape::ToolCall {
            events(ModelEvent::CallNamed { name: text_of(&self.start, "name").to_owned() });
        }
    }
}

/// Takes a text field out, empty where there is none.
fn taken(map: &mut Map<String, Value>, field: &str) -> String {
    match map.remove(field) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

fn text_of<'a>(map: &'a Map<String, Value>, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Appends text to text and lists to lists; anything else replaces.
fn extend(field: &mut Value, more: Value) {
    match (field, more) {
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(list), Value::Array(more)) => list.extend(more),
        (field, more) => *field = more,
    }
}
