//! A neutral request as the body of a Messages request. The conversation is concatenated, most of
//! it as it is stored; the last message is parsed to place the cache marker.

use std::borrow::Cow;

use bytes::Bytes;
use ostler_core::model::{EffortLevel, ModelRequest, ToolSpec};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::messages::outgoing;
use crate::origin::Origin;

/// The body, for this target. Field order is fixed, so that equal prefixes of a conversation are equal bytes.
pub(super) fn encode(request: &ModelRequest, target: Origin<'_>) -> Bytes {
    let mut body = String::with_capacity(4096 + request.messages.iter().map(|message| message.text().len() + 1).sum::<usize>());
    body.push_str("{\"model\":");
    body.push_str(&Value::from(request.model.as_str()).to_string());
    body.push_str(&format!(",\"max_tokens\":{},\"stream\":true", request.max_tokens));
    if let Some(effort) = request.effort {
        body.push_str(&format!(",\"output_config\":{}", json!({"effort": effort_word(effort)})));
    }
    let system = marked(request.system.iter().filter(|text| !text.trim().is_empty()).map(|text| json!({"type": "text", "text": text})));
    if !system.is_empty() {
        body.push_str(",\"system\":");
        body.push_str(&Value::from(system).to_string());
    }
    if let Some(tools) = tools(&request.tools) {
        body.push_str(",\"tools\":");
        body.push_str(&tools);
    }
    body.push_str(",\"messages\":[");
    let mut messages: Vec<Cow<'_, str>> = request.messages.iter().filter_map(|message| outgoing(message, &target)).collect();
    if let Some(last) = messages.last_mut()
        && let Some(text) = with_marker(last)
    {
        *last = Cow::Owned(text);
    }
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(message);
    }
    body.push_str("]}");
    Bytes::from(body)
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Value>,
    description: &'a str,
    input_schema: &'a RawValue,
    name: &'a str,
}

impl<'a> Tool<'a> {
    fn of(spec: &'a ToolSpec) -> Self {
        Self { cache_control: None, description: &spec.description, input_schema: &spec.input_schema, name: &spec.name }
    }
}

/// The tools with a cache marker on the last; `None` where there are none.
fn tools(specs: &[ToolSpec]) -> Option<String> {
    let mut tools: Vec<Tool<'_>> = specs.iter().map(Tool::of).collect();
    tools.last_mut()?.cache_control = Some(cache_marker());
    serde_json::to_string(&tools).ok()
}

fn effort_word(effort: EffortLevel) -> &'static str {
    match effort {
        EffortLevel::Low => "low",
        EffortLevel::Medium => "medium",
        EffortLevel::High => "high",
        EffortLevel::Xhigh => "xhigh",
        EffortLevel::Max => "max",
    }
}

/// The entries with a cache marker on the last.
fn marked(entries: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut entries: Vec<Value> = entries.collect();
    if let Some(Value::Object(last)) = entries.last_mut() {
        mark(last);
    }
    entries
}

fn mark(block: &mut Map<String, Value>) {
    block.insert("cache_control".to_owned(), cache_marker());
}

fn cache_marker() -> Value {
    json!({"type": "ephemeral"})
}

/// The message with a cache marker on its last block; `None` where it can carry none.
fn with_marker(message: &str) -> Option<String> {
    let mut message: Value = serde_json::from_str(message).ok()?;
    let content = message.get_mut("content")?;
    if let Value::String(text) = content {
        *content = json!([{"type": "text", "text": text}]);
    }
    let block = content.as_array_mut()?.last_mut()?.as_object_mut()?;
    let markable = match block.get("type").and_then(Value::as_str)? {
        "thinking" | "redacted_thinking" => false,
        "text" => block.get("text").and_then(Value::as_str).is_some_and(|text| !text.is_empty()),
        _ => true,
    };
    if !markable {
        return None;
    }
    mark(block);
    Some(message.to_string())
}
