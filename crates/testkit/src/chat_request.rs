//! A Chat Completions request in the shape of a Messages request, as far as scripts look at it, so
//! that one script plays the same in both dialects.

use serde_json::{Map, Value, json};

/// The request as a script sees it.
pub(crate) fn as_messages(body: &Value) -> Value {
    let mut system = Vec::new();
    let mut messages: Vec<Value> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for message in body["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let text = flat(&message["content"]);
            let is_error = text.starts_with("Error: ");
            results.push(json!({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": text, "is_error": is_error}));
            continue;
        }
        if !results.is_empty() {
            messages.push(json!({"role": "user", "content": std::mem::take(&mut results)}));
        }
        match role {
            "system" | "developer" => system.push(flat(&message["content"])),
            "assistant" => messages.push(json!({"role": "assistant", "content": assistant(message)})),
            _ => messages.push(json!({"role": "user", "content": flat(&message["content"])})),
        }
    }
    if !results.is_empty() {
        messages.push(json!({"role": "user", "content": results}));
    }
    let tools = body["tools"].as_array().into_iter().flatten().map(|tool| json!({"name": tool["function"]["name"]}));
    json!({"model": body["model"], "system": system.join("\n"), "tools": tools.collect::<Vec<_>>(), "messages": messages})
}

fn assistant(message: &Value) -> Vec<Value> {
    let text = flat(&message["content"]);
    let mut blocks = Vec::new();
    if !text.is_empty() {
        blocks.push(json!({"type": "text", "text": text}));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let input: Map<String, Value> = function["arguments"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        blocks.push(json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input}));
    }
    blocks
}

fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
