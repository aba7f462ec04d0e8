//! The conversation as Chat Completions messages; what is sent to whom is in [`crate::origin`].
//! Every call is answered by one `tool` message, in the order of the calls and directly behind them,
//! because servers refuse anything else. Those carry text alone: images of results follow in the
//! user's message.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::content::{joined, parts, text_part};
use crate::limits::PORTABLE_ID_CHARS;
use crate::origin::{Kinship, MARK, Origin};
use crate::portable::{call_id, tool_name};

/// Said for a call whose result is not in the conversation.
const NO_RESULT: &str = "Error: the result of this call is not known.";
/// Said for a result without content.
const NO_OUTPUT: &str = "(no output)";

/// A conversation while it is translated.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    target: Origin<'a>,
    takes_files: bool,
    with_reasoning: bool,
    /// Calls of the last assistant message: the id in the context, and the one that is sent.
    open: Vec<(String, String)>,
    done: Translated,
}

/// A translated conversation.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub(super) messages: Vec<Value>,
    pub(super) call_ids: HashSet<String>,
    pub(super) has_reasoning: bool,
}

impl<'a> Messages<'a> {
    pub(super) fn new(target: Origin<'a>, takes_files: bool, with_reasoning: bool) -> Self {
        Self { target, takes_files, with_reasoning, open: Vec::new(), done: Translated::default() }
    }

    pub(super) fn system(&mut self, text: &str) {
        self.done.messages.push(json!({"role": "system", "content": text}));
    }

    /// Takes the next message of the context.
    pub(super) fn push(&mut self, message: &str) {
        let Ok(mut message) = serde_json::from_str::<Map<String, Value>>(message) else { return };
        let is_assistant = message.get("role").is_some_and(|role| role == "assistant");
        let blocks = match message.remove("content") {
            Some(Value::Array(blocks)) => blocks,
            Some(Value::String(text)) => vec![text_part(&text)],
            _ => Vec::new(),
        };
        if is_assistant {
            self.answer_open(&[]);
            self.assistant(&blocks);
        } else {
            self.user(&blocks);
        }
    }

    pub(super) fn finish(mut self) -> Translated {
        self.answer_open(&[]);
        self.done
    }

    fn assistant(&mut self, blocks: &[Value]) {
        let mut texts = Vec::new();
        let mut calls = Vec::new();
        let mut message = Map::new();
        for block in blocks {
            match block["type"].as_str().unwrap_or_default() {
                "text" => texts.extend(block["text"].as_str().filter(|text| !text.trim().is_empty())),
                "tool_use" => calls.push(self.call(block)),
                "thinking" if self.with_reasoning && self.target.kinship(block) == Some(Kinship::Same) => reasoning(block, &mut message),
                _ => {}
            }
        }
        if texts.is_empty() && calls.is_empty() && message.is_empty() {
            return;
        }
        self.done.has_reasoning |= !message.is_empty();
        let content = if texts.is_empty() && !calls.is_empty() { Value::Null } else { Value::from(texts.join("\n")) };
        message.insert("role".to_owned(), Value::from("assistant"));
        message.insert("content".to_owned(), content);
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), Value::from(calls));
        }
        self.done.messages.push(Value::Object(message));
    }

    fn call(&mut self, block: &Value) -> Value {
        let id = block["id"].as_str().unwrap_or_default();
        let is_ours = self.target.kinship(block) == Some(Kinship::Same);
        let sent = if is_ours { id.to_owned() } else { call_id(id, PORTABLE_ID_CHARS).into_owned() };
        let name = tool_name(block["name"].as_str().unwrap_or_default());
        let arguments = if block["input"].is_object() { block["input"].to_string() } else { "{}".to_owned() };
        let mut call = json!({"id": sent, "type": "function", "function": {"name": name, "arguments": arguments}});
        if is_ours && let (Some(call), Some(fields)) = (call.as_object_mut(), block[MARK]["fields"].as_object()) {
            call.extend(fields.clone());
        }
        self.done.call_ids.insert(id.to_owned());
        self.open.push((id.to_owned(), sent));
        call
    }

    /// Results answer the open calls and stand in no other place; one without a call is left out.
    fn user(&mut self, blocks: &[Value]) {
        let is_result = |block: &&Value| block["type"] == "tool_result";
        let results: Vec<&Value> = blocks.iter().filter(is_result).collect();
        let mut content = self.answer_open(&results);
        content.extend(blocks.iter().filter(|block| !is_result(block)).flat_map(|block| parts(block, self.takes_files)));
        if !content.is_empty() {
            self.done.messages.push(json!({"role": "user", "content": joined(content)}));
        }
    }

    /// Answers the open calls with these results; gives what of them tool messages cannot carry.
    fn answer_open(&mut self, results: &[&Value]) -> Vec<Value> {
        let mut attached = Vec::new();
        for (id, sent) in std::mem::take(&mut self.open) {
            let result = results.iter().find(|result| result["tool_use_id"] == id.as_str());
            let (text, extra) = result.map_or_else(|| (NO_RESULT.to_owned(), Vec::new()), |result| outcome(result, self.takes_files));
            self.done.messages.push(json!({"role": "tool", "tool_call_id": sent, "content": text}));
            if !extra.is_empty() {
                attached.push(text_part(&format!("From the result of call {sent}:")));
                attached.extend(extra);
            }
        }
        attached
    }
}

/// A result's text, and its parts that are no text.
fn outcome(result: &Value, takes_files: bool) -> (String, Vec<Value>) {
    let all: Vec<Value> = match &result["content"] {
        Value::String(text) => vec![text_part(text)],
        Value::Array(blocks) => blocks.iter().flat_map(|block| parts(block, takes_files)).collect(),
        _ => Vec::new(),
    };
    let (texts, extra): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|part| part["type"] == "text");
    let mut text = texts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n");
    if !extra.is_empty() {
        let more = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{more}[{} attached to the next message]", extra.len()));
    }
    if text.is_empty() {
        NO_OUTPUT.clone_into(&mut text);
    }
    if result["is_error"] == true && !text.starts_with("Error: ") {
        text.insert_str(0, "Error: ");
    }
    (text, extra)
}

/// Reasoning as the server gave it: its structured form where there is one, else the same field.
fn reasoning(block: &Value, message: &mut Map<String, Value>) {
    let mark = &block[MARK];
    if mark["details"].is_array() {
        message.insert("reasoning_details".to_owned(), mark["details"].clone());
    } else if let (Some(field @ ("reasoning" | "reasoning_content")), Some(text)) = (mark["field"].as_str(), block["thinking"].as_str()) {
        message.insert(field.to_owned(), Value::from(text));
    }
}
