//! Whether a request keeps the rules of the Messages API, as strictly as the strictest provider.

use std::collections::HashSet;

use serde_json::Value;

/// The cache markers that one request may have.
const CACHE_MARKERS: usize = 4;
/// The longest name of a tool.
const NAME_CHARS: usize = 128;

/// The first rule that the request breaks.
pub(crate) fn check(body: &Value) -> Result<(), String> {
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("model: must be a non-empty string".to_owned());
    }
    if body["max_tokens"].as_u64().is_none_or(|count| count == 0) {
        return Err("max_tokens: must be a positive integer".to_owned());
    }
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        if tool["name"].as_str().is_none_or(str::is_empty) || !tool["input_schema"].is_object() {
            return Err(format!("tools.{index}: needs a name and an object input_schema"));
        }
    }
    if let Some(system) = body.get("system") {
        blocks(system, "system")?;
    }
    if let Some(field) = private_field(body) {
        return Err(format!("{field}: extra inputs are not permitted"));
    }
    let messages = body["messages"].as_array().filter(|list| !list.is_empty()).ok_or("messages: must be a non-empty list")?;
    markers(body)?;
    conversation(messages)
}

/// A field of Ostler's own, anywhere outside of a call's input.
pub(crate) fn private_field(value: &Value) -> Option<&str> {
    const PRIVATE: &str = "ostler";
    match value {
        Value::Array(list) => list.iter().find_map(private_field),
        Value::Object(map) => map
            .iter()
            .filter(|(field, _)| *field != "input" && *field != "input_schema")
            .find_map(|(field, value)| (field == PRIVATE).then_some(field.as_str()).or_else(|| private_field(value))),
        _ => None,
    }
}

/// Whether this is an id or a name as providers take it.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn markers(body: &Value) -> Result<(), String> {
    fn count(value: &Value) -> usize {
        match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => usize::from(map.contains_key("cache_control")) + map.get("content").map_or(0, count),
            _ => 0,
        }
    }
    let found = count(&body["system"]) + count(&body["tools"]) + count(&body["messages"]);
    if found > CACHE_MARKERS { Err(format!("cache_control: {found} markers, at most {CACHE_MARKERS}")) } else { Ok(()) }
}

fn conversation(messages: &[Value]) -> Result<(), String> {
    let mut pending: Vec<String> = Vec::new();
    let mut all_calls = HashSet::new();
    let mut last = "";
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        let role = message["role"].as_str().unwrap_or_default();
        // Two messages of the user in a row are fine, as in the real API: the first got no answer.
        let follows = if index == 0 { role == "user" } else { role == "user" || (role == "assistant" && last == "user") };
        if !follows {
            return Err(format!("{at}: role must not be {role:?}; conversations begin with user, and assistant follows user"));
        }
        last = role;
        blocks(&message["content"], &at)?;
        if role == "user" {
            results(message, &at, &std::mem::take(&mut pending))?;
        } else {
            pending = calls(message, &at, &mut all_calls)?;
        }
    }
    if last != "user" {
        return Err("messages: the last message must be from the user".to_owned());
    }
    Ok(())
}

fn blocks(content: &Value, at: &str) -> Result<(), String> {
    if let Some(text) = content.as_str() {
        return if text.trim().is_empty() { Err(format!("{at}: content is empty")) } else { Ok(()) };
    }
    let list = content.as_array().filter(|list| !list.is_empty()).ok_or_else(|| format!("{at}: content is empty"))?;
    for block in list {
        match block["type"].as_str().unwrap_or_default() {
            "" => return Err(format!("{at}: a block has no type")),
            "text" if block["text"].as_str().is_none_or(|text| text.trim().is_empty()) => {
                return Err(format!("{at}: a text block is empty"));
            }
            "thinking" if block["signature"].as_str().is_none() || block["thinking"].as_str().is_none() => {
                return Err(format!("{at}: a thinking block lacks its text or signature"));
            }
            "thinking" if !has_only(block, &["type", "thinking", "signature", "cache_control"]) => {
                return Err(format!("{at}: a thinking block has a field that is not known"));
            }
            "thinking" | "redacted_thinking" if block.get("cache_control").is_some() => {
                return Err(format!("{at}: a thinking block carries cache_control"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn has_only(block: &Value, fields: &[&str]) -> bool {
    block.as_object().into_iter().flatten().all(|(field, _)| fields.contains(&field.as_str()))
}

/// The ids of the calls in an assistant's message.
fn calls(message: &Value, at: &str, all: &mut HashSet<String>) -> Result<Vec<String>, String> {
    let mut ids = Vec::new();
    for block in message["content"].as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("tool_result") => return Err(format!("{at}: tool_result in an assistant message")),
            Some("tool_use") => {
                let id = block["id"].as_str().filter(|id| !id.is_empty()).ok_or_else(|| format!("{at}: tool_use without id"))?;
                if block["name"].as_str().is_none_or(str::is_empty) || !block["input"].is_object() {
                    return Err(format!("{at}: tool_use {id} needs a name and an object input"));
                }
                if !is_name(id, usize::MAX) || !block["name"].as_str().is_some_and(|name| is_name(name, NAME_CHARS)) {
                    return Err(format!("{at}: tool_use {id} should match [a-zA-Z0-9_-], and so should its name"));
                }
                if !has_only(block, &["type", "id", "name", "input", "cache_control"]) {
                    return Err(format!("{at}: tool_use {id} has a field that is not known"));
                }
                if !all.insert(id.to_owned()) {
                    return Err(format!("{at}: tool_use id {id} is used twice"));
                }
                ids.push(id.to_owned());
            }
            _ => {}
        }
    }
    Ok(ids)
}

/// The results in a user's message are exactly those of the calls before it, and come first.
fn results(message: &Value, at: &str, pending: &[String]) -> Result<(), String> {
    let mut answered: Vec<&str> = Vec::new();
    let mut other = false;
    for block in message["content"].as_array().into_iter().flatten() {
        match block["type"].as_str() {
            Some("tool_use") => return Err(format!("{at}: tool_use in a user message")),
            Some("tool_result") => {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                if other {
                    return Err(format!("{at}: tool_result {id} comes after other content"));
                }
                if !pending.iter().any(|call| call == id) {
                    return Err(format!("{at}: tool_result {id} answers no tool_use of the message before"));
                }
                if answered.contains(&id) {
                    return Err(format!("{at}: tool_use {id} has two results"));
                }
                answered.push(id);
                if block["content"].as_array().is_some_and(|list| !list.is_empty()) {
                    blocks(&block["content"], at)?;
                }
            }
            _ => other = true,
        }
    }
    match pending.iter().find(|call| !answered.contains(&call.as_str())) {
        Some(call) => Err(format!("{at}: tool_use {call} of the message before has no tool_result")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(messages: Value) -> Value {
        json!({"model": "m", "max_tokens": 1, "messages": messages})
    }

    fn call(ids: &[&str]) -> Value {
        let blocks: Vec<Value> = ids.iter().map(|id| json!({"type": "tool_use", "id": id, "name": "t", "input": {}})).collect();
        json!({"role": "assistant", "content": blocks})
    }

    fn answer(ids: &[&str]) -> Value {
        let blocks: Vec<Value> = ids.iter().map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "r"})).collect();
        json!({"role": "user", "content": blocks})
    }

    #[test]
    fn sound_requests_pass() {
        let user = json!({"role": "user", "content": "hi"});
        for messages in [json!([user]), json!([user, call(&["a", "b"]), answer(&["b", "a"])])] {
            assert_eq!(check(&request(messages)), Ok(()));
        }
    }

    #[test]
    fn broken_requests_are_told_why() {
        let user = json!({"role": "user", "content": "hi"});
        let text = json!({"type": "text", "text": "x"});
        let said = json!({"role": "assistant", "content": "hi"});
        let result = json!({"type": "tool_result", "tool_use_id": "a", "content": "r"});
        let marked = json!({"role": "user", "content": (0..5).map(|_| json!({"type": "text", "text": "x", "cache_control": {}})).collect::<Vec<_>>()});
        for (messages, why) in [
            (json!([]), "non-empty list"),
            (json!([call(&["a"])]), "begin with user"),
            (json!([user, call(&["a"]), answer(&["a"]), said, said]), "follows user"),
            (json!([user, call(&["a"])]), "last message"),
            (json!([{"role": "user", "content": ""}]), "empty"),
            (json!([{"role": "user", "content": []}]), "empty"),
            (json!([{"role": "user", "content": [{"type": "text", "text": " "}]}]), "empty"),
            (json!([user, call(&["a"]), user]), "no tool_result"),
            (json!([user, call(&["a", "b"]), answer(&["a"])]), "no tool_result"),
            (json!([user, call(&["a"]), answer(&["a", "a"])]), "two results"),
            (json!([user, call(&["a"]), answer(&["a", "z"])]), "answers no tool_use"),
            (json!([answer(&["a"])]), "answers no tool_use"),
            (json!([user, call(&["a", "a"]), answer(&["a"])]), "used twice"),
            (json!([user, call(&["a"]), {"role": "user", "content": [text, result]}]), "after other content"),
            (json!([user, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}, user]), "signature"),
            (
                json!([user, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": "x"}]}, user]),
                "object input",
            ),
            (json!([marked]), "markers"),
            (json!([user, call(&["a.b"]), answer(&["a.b"])]), "should match"),
            (json!([{"role": "user", "content": [{"type": "text", "text": "x", "ostler": {}}]}]), "ostler"),
            (
                json!([user, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": {}, "reasoning_details": []}]}, answer(&["a"])]),
                "not known",
            ),
            (
                json!([user, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "s", "reasoning_details": []}]}, user]),
                "not known",
            ),
        ] {
            let error = check(&request(messages.clone())).unwrap_err();
            assert!(error.contains(why), "{messages}: {error}");
        }
        assert!(check(&json!({"max_tokens": 1, "messages": [user]})).unwrap_err().contains("model"));
        assert!(check(&json!({"model": "m", "messages": [user]})).unwrap_err().contains("max_tokens"));
    }
}
