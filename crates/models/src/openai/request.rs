//! A neutral request as the body of a Chat Completions request.

use std::collections::HashSet;

use bytes::Bytes;
use ostler_core::model::{EffortLevel, ModelRequest, ToolSpec};
use serde_json::{Value, json};

use super::messages::Messages;
use super::options::{Adaptation, EffortWords, OpenAiOptions, Optional};
use crate::origin::Origin;

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) body: Bytes,
    /// Which of the fields that a server may refuse it has.
    pub(super) optional: Optional,
    /// The ids of all calls in the conversation.
    pub(super) call_ids: HashSet<String>,
}

/// The request for this target. Equal conversations give equal bytes.
pub(super) fn encode(request: &ModelRequest, target: Origin<'_>, options: OpenAiOptions, adaptation: Adaptation) -> Encoded {
    let mut messages = Messages::new(target, options.takes_files, !adaptation.without_reasoning);
    let system: Vec<&str> = request.system.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
    if !system.is_empty() {
        messages.system(&system.join("\n\n"));
    }
    for message in &request.messages {
        messages.push(&message.0);
    }
    let translated = messages.finish();
    let optional = Optional {
        limit: adaptation.limit(options.limit_field),
        effort: request.effort.and_then(|effort| effort_word(effort, adaptation.effort)),
        has_counts: !adaptation.without_counts,
        has_reasoning: translated.has_reasoning,
    };
    let mut body = json!({"model": request.model, "messages": translated.messages, "stream": true});
    body[optional.limit.name()] = Value::from(request.max_tokens);
    if optional.has_counts {
        body["stream_options"] = json!({"include_usage": true});
    }
    if let Some(word) = optional.effort {
        body["reasoning_effort"] = Value::from(word);
    }
    if !request.tools.is_empty() {
        body["tools"] = request.tools.iter().map(tool).collect();
    }
    Encoded { body: Bytes::from(body.to_string()), optional, call_ids: translated.call_ids }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}})
}

/// Servers know `low`, `medium` and `high`, newer models `xhigh`, which stands for all above; where
/// it is refused, `high` follows.
fn effort_word(effort: EffortLevel, words: EffortWords) -> Option<&'static str> {
    match (effort, words) {
        (_, EffortWords::None) => None,
        (EffortLevel::Low, _) => Some("low"),
        (EffortLevel::Medium, _) => Some("medium"),
        (EffortLevel::Xhigh | EffortLevel::Max, EffortWords::All) => Some("xhigh"),
        (EffortLevel::High | EffortLevel::Xhigh | EffortLevel::Max, _) => Some("high"),
    }
}
