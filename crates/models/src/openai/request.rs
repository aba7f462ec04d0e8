//! A neutral request as the body of a Chat Completions request.

use std::collections::HashSet;

use bytes::Bytes;
use ostler_core::model::{EffortLevel, ModelRequest, ToolSpec};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

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
    for message in request.messages.iter() {
        messages.push(message.text());
    }
    let translated = messages.finish();
    let optional = Optional {
        limit: adaptation.limit(options.limit_field),
        effort: request.effort.and_then(|effort| effort_word(effort, adaptation.effort)),
        has_counts: !adaptation.without_counts,
        has_reasoning: translated.has_reasoning,
    };
    let mut fields = Map::new();
    fields.insert("model".to_owned(), request.model.as_str().into());
    fields.insert("messages".to_owned(), translated.messages.into());
    fields.insert("stream".to_owned(), true.into());
    fields.insert(optional.limit.name().to_owned(), request.max_tokens.into());
    if optional.has_counts {
        fields.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    if let Some(word) = optional.effort {
        fields.insert("reasoning_effort".to_owned(), word.into());
    }
    let body = Body { fields, tools: request.tools.iter().map(Tool::of).collect() };
    // Values and texts always have a text.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Encoded { body: Bytes::from(body), optional, call_ids: translated.call_ids }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    function: Function<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct Function<'a> {
    description: &'a str,
    name: &'a str,
    parameters: &'a RawValue,
}

impl<'a> Tool<'a> {
    fn of(tool: &'a ToolSpec) -> Self {
        let function = Function { description: &tool.description, name: &tool.name, parameters: &tool.input_schema };
        Self { function, kind: "function" }
    }
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
