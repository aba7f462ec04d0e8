//! What a conversation says about where it stands. It understands text, calls and results, and
//! passes over everything else.

use std::collections::HashMap;

use ostler_core::model::Fragment;
use serde_json::Value;

/// A call that was made since the user last spoke, with what came back.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) tool: String,
    pub(super) result: String,
    pub(super) is_error: bool,
}

/// The part of a conversation that the script goes by.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// What the user said last.
    pub(super) user_text: String,
    /// Whether the model spoke before that.
    pub(super) is_later_turn: bool,
    /// What was done about it so far.
    pub(super) steps: Vec<Step>,
}

impl Conversation {
    pub(super) fn read(messages: &[Fragment]) -> Self {
        let messages: Vec<Value> = messages.iter().filter_map(|message| serde_json::from_str(message.text()).ok()).collect();
        let mut conversation = Self::default();
        let mut calls: HashMap<String, String> = HashMap::new();
        let mut spoke = false;
        for message in &messages {
            if message["role"] == "assistant" {
                spoke = true;
                for call in blocks(message, "tool_use") {
                    calls.insert(word(call, "id"), word(call, "name"));
                }
                continue;
            }
            let text = said(&message["content"]);
            if !text.trim().is_empty() {
                conversation = Self { user_text: text, is_later_turn: spoke, steps: Vec::new() };
                continue;
            }
            for result in blocks(message, "tool_result") {
                let tool = calls.remove(&word(result, "tool_use_id")).unwrap_or_else(|| "a tool".to_owned());
                let is_error = result["is_error"].as_bool().unwrap_or(false);
                conversation.steps.push(Step { tool, result: said(&result["content"]), is_error });
            }
        }
        conversation
    }
}

fn blocks<'a>(message: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    message["content"].as_array().into_iter().flatten().filter(move |block| block["type"] == kind)
}

fn word(block: &Value, field: &str) -> String {
    block[field].as_str().unwrap_or_default().to_owned()
}

/// The text of a message's or a result's content, be it a string or blocks.
fn said(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let texts = content.as_array().into_iter().flatten().filter(|block| block["type"] == "text");
    texts.filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}
