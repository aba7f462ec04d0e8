//! Reasoning of an answer: its text, the field it came in, and OpenRouter's structured form, which
//! some models want back exactly as it was.

use ostler_core::ids::EventId;
use ostler_core::model::{BlockKind, ResponseBlock};
use serde_json::{Map, Value, json};

use crate::limits::{BLOCK_DEPTH, REASONING_DETAILS};
use crate::nesting::is_within;
use crate::origin::MARK;

/// Fields of a delta that carry reasoning. A server that sends two of them sends it twice.
const FIELDS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Reasoning that has begun.
#[derive(Debug)]
pub(super) struct Reasoning {
    event_id: EventId,
    text: String,
    field: Option<&'static str>,
    details: Vec<Value>,
}

/// What one delta says of reasoning.
#[derive(Debug)]
pub(super) struct Piece {
    text: String,
    field: Option<&'static str>,
    details: Vec<Value>,
}

impl Piece {
    /// The reasoning in a delta or a message, if there is any.
    pub(super) fn of(part: &Value) -> Option<Self> {
        let field = FIELDS.into_iter().find(|field| part[*field].as_str().is_some_and(|text| !text.is_empty()));
        let text = field.and_then(|field| part[field].as_str()).unwrap_or_default().to_owned();
        let details = part["reasoning_details"].as_array().cloned().unwrap_or_default();
        (!text.is_empty() || !details.is_empty()).then_some(Self { text, field, details })
    }

    /// Reasoning that came as a part of the content.
    pub(super) fn of_content(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self { text: text.to_owned(), field: None, details: Vec::new() })
    }
}

impl Reasoning {
    pub(super) fn new(event_id: EventId) -> Self {
        Self { event_id, text: String::new(), field: None, details: Vec::new() }
    }

    pub(super) fn add(&mut self, piece: Piece) {
        if self.field.is_none() || piece.field.is_none() || self.field == piece.field {
            self.text.push_str(&piece.text);
            self.field = self.field.or(piece.field);
        }
        for detail in piece.details {
            add_detail(&mut self.details, detail);
        }
    }

    /// The block, marked with its maker; the server's own form is kept in the mark.
    pub(super) fn finish(self, mut mark: Map<String, Value>) -> ResponseBlock {
        if let Some(field) = self.field {
            mark.insert("field".to_owned(), Value::from(field));
        }
        // What is left out or nested too deeply cannot be sent back as it was.
        if !self.details.is_empty() && self.details.len() < REASONING_DETAILS {
            let details = Value::from(self.details);
            if is_within(&details, BLOCK_DEPTH) {
                mark.insert("details".to_owned(), details);
            }
        }
        let raw = json!({"type": "thinking", "thinking": self.text, MARK: mark});
        ResponseBlock { event_id: self.event_id, kind: BlockKind::Thinking, raw }
    }
}

/// Joins the pieces of one text or summary; everything else stands for itself.
fn add_detail(details: &mut Vec<Value>, piece: Value) {
    let same = |field: &str, last: &Value| last[field].is_null() || piece[field].is_null() || last[field] == piece[field];
    let streamed = match piece["type"].as_str() {
        Some("reasoning.text") => "text",
        Some("reasoning.summary") => "summary",
        _ => "",
    };
    if let (Some(last), Some(fields)) = (details.last_mut(), piece.as_object())
        && !streamed.is_empty()
        && last["type"] == piece["type"]
        && same("index", last)
        && same("id", last)
    {
        for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match (&mut last[field.as_str()], value) {
                (Value::String(text), Value::String(more)) if field == streamed => text.push_str(more),
                (known, value) => *known = value.clone(),
            }
        }
    } else if details.len() < REASONING_DETAILS {
        details.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_details_are_joined_where_they_belong_together() {
        let mut details = Vec::new();
        for piece in [
            json!({"type": "reasoning.text", "text": "let ", "signature": null, "index": 0, "format": "a"}),
            json!({"type": "reasoning.text", "text": "me", "index": 0}),
            json!({"type": "reasoning.text", "signature": "c2ln", "index": 0}),
            json!({"type": "reasoning.text", "text": "second", "index": 1}),
            json!({"type": "reasoning.summary", "summary": "s", "id": "x"}),
            json!({"type": "reasoning.summary", "summary": "um", "id": "x"}),
            json!({"type": "reasoning.encrypted", "data": "A", "id": "y"}),
            json!({"type": "reasoning.encrypted", "data": "B", "id": "y"}),
        ] {
            add_detail(&mut details, piece);
        }
        let expected = json!([
            {"type": "reasoning.text", "text": "let me", "signature": "c2ln", "index": 0, "format": "a"},
            {"type": "reasoning.text", "text": "second", "index": 1},
            {"type": "reasoning.summary", "summary": "sum", "id": "x"},
            {"type": "reasoning.encrypted", "data": "A", "id": "y"},
            {"type": "reasoning.encrypted", "data": "B", "id": "y"},
        ]);
        assert_eq!(Value::from(details), expected);
    }
}
