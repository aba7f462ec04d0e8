//! Whether a request keeps the rules of Chat Completions, as strictly as the strictest server.

use std::collections::HashSet;

use serde_json::Value;

use crate::validate::{is_name, private_field};

/// Fields of a request that servers know; they refuse others.
const FIELDS: [&str; 8] =
    ["model", "messages", "tools", "stream", "stream_options", "max_tokens", "max_completion_tokens", "reasoning_effort"];
/// The longest id of a call.
const ID_CHARS: usize = 64;

/// The first rule that the request breaks.
pub(crate) fn check(body: &Value) -> Result<(), String> {
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err("model: must be a non-empty string".to_owned());
    }
    if let Some(field) = body.as_object().into_iter().flatten().map(|(field, _)| field).find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("Unrecognized request argument supplied: {field}"));
    }
    let limits: Vec<&Value> = ["max_tokens", "max_completion_tokens"].iter().filter_map(|field| body.get(*field)).collect();
    if limits.len() > 1 || limits.iter().any(|limit| limit.as_u64().is_none_or(|count| count == 0)) {
        return Err("max_tokens: one limit, a positive integer".to_owned());
    }
    if body.get("stream_options").is_some() && body["stream"] != true {
        return Err("stream_options: only with stream".to_owned());
    }
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let function = &tool["function"];
        if tool["type"] != "function"
            || !function["name"].as_str().is_some_and(|name| is_name(name, ID_CHARS))
            || !function["parameters"].is_object()
        {
            return Err(format!("tools.{index}: needs type function, a name and object parameters"));
        }
    }
    if let Some(field) = private_field(body) {
        return Err(format!("{field}: extra inputs are not permitted"));
    }
    let messages = body["messages"].as_array().filter(|list| !list.is_empty()).ok_or("messages: must be a non-empty list")?;
    conversation(messages)
}

fn conversation(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<String> = Vec::new();
    let mut all = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if open.first().is_none_or(|call| call != id) {
                return Err(format!("{at}: tool_call_id {id:?} is not that of the next call without an answer"));
            }
            open.remove(0);
            if message["content"].as_str().is_none_or(str::is_empty) {
                return Err(format!("{at}: a tool message carries text"));
            }
            continue;
        }
        if let Some(call) = open.first() {
            return Err(format!("{at}: tool_call {call} of the message before has no tool message"));
        }
        match role {
            "system" | "developer" if index == 0 => content(&message["content"], false, &at)?,
            "user" => content(&message["content"], true, &at)?,
            "assistant" => open = assistant(message, &at, &mut all)?,
            _ => return Err(format!("{at}: role must not be {role:?} here")),
        }
    }
    match (open.first(), messages.last().and_then(|message| message["role"].as_str())) {
        (Some(call), _) => Err(format!("messages: tool_call {call} has no tool message")),
        (None, Some("user" | "tool")) => Ok(()),
        _ => Err("messages: the last message must be from the user or a tool".to_owned()),
    }
}

fn content(content: &Value, with_media: bool, at: &str) -> Result<(), String> {
    if let Some(text) = content.as_str() {
        return if text.trim().is_empty() { Err(format!("{at}: content is empty")) } else { Ok(()) };
    }
    let parts = content.as_array().filter(|parts| !parts.is_empty()).ok_or_else(|| format!("{at}: content is empty"))?;
    for part in parts {
        let sound = match part["type"].as_str().unwrap_or_default() {
            "text" => part["text"].as_str().is_some_and(|text| !text.trim().is_empty()),
            "image_url" => {
                with_media && part["image_url"]["url"].as_str().is_some_and(|url| url.starts_with("data:image/") || url.starts_with("http"))
            }
            "file" => with_media && part["file"]["file_data"].as_str().is_some_and(|data| data.starts_with("data:")),
            _ => false,
        };
        if !sound {
            return Err(format!("{at}: not a part of content: {part}"));
        }
    }
    Ok(())
}

/// The ids of an assistant's calls.
fn assistant(message: &Value, at: &str, all: &mut HashSet<String>) -> Result<Vec<String>, String> {
    if !message["content"].is_string() && message["tool_calls"].as_array().is_none_or(Vec::is_empty) {
        return Err(format!("{at}: an assistant message needs content or tool_calls"));
    }
    let mut ids = Vec::new();
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let id = call["id"].as_str().filter(|id| is_name(id, ID_CHARS)).ok_or_else(|| format!("{at}: a tool_call without a sound id"))?;
        let function = &call["function"];
        let arguments: Option<Value> = function["arguments"].as_str().and_then(|text| serde_json::from_str(text).ok());
        let named = function["name"].as_str().is_some_and(|name| is_name(name, ID_CHARS));
        if call["type"] != "function" || !named || !arguments.is_some_and(|arguments| arguments.is_object()) {
            return Err(format!("{at}: tool_call {id} needs type function, a name and arguments that are an object as text"));
        }
        if !all.insert(id.to_owned()) {
            return Err(format!("{at}: tool_call id {id} is used twice"));
        }
        ids.push(id.to_owned());
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(messages: Value) -> Value {
        json!({"model": "m", "max_tokens": 1, "messages": messages})
    }

    fn calls(ids: &[&str]) -> Value {
        let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "t", "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
    }

    fn tool(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": "r"})
    }

    #[test]
    fn sound_requests_pass() {
        let user = json!({"role": "user", "content": "hi"});
        let picture = json!({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]});
        let system = json!({"role": "system", "content": "be"});
        for messages in [
            json!([user]),
            json!([system, user, calls(&["a", "b"]), tool("a"), tool("b"), picture]),
            json!([user, calls(&["a"]), tool("a")]),
        ] {
            assert_eq!(check(&request(messages)), Ok(()));
        }
    }

    #[test]
    fn broken_requests_are_told_why() {
        let user = json!({"role": "user", "content": "hi"});
        let said = json!({"role": "assistant", "content": "hi"});
        let broken = |field: &str, value: Value| {
            let mut call = calls(&["a"]);
            call["tool_calls"][0][field] = value;
            json!([user, call, tool("a")])
        };
        for (messages, why) in [
            (json!([]), "non-empty list"),
            (json!([user, said]), "last message"),
            (json!([user, calls(&["a"])]), "no tool message"),
            (json!([user, calls(&["a", "b"]), tool("a"), user]), "b of the message before"),
            (json!([user, calls(&["a", "b"]), tool("b"), tool("a")]), "next call"),
            (json!([user, calls(&["a"]), tool("a"), tool("a")]), "next call"),
            (json!([user, tool("a")]), "next call"),
            (json!([user, calls(&["a", "a"]), tool("a")]), "used twice"),
            (json!([user, calls(&["a b"]), tool("a b")]), "sound id"),
            (json!([user, {"role": "system", "content": "late"}]), "role must not be"),
            (json!([{"role": "user", "content": " "}]), "empty"),
            (json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]), "not a part"),
            (json!([{"role": "user", "content": "hi", "ostler": {}}]), "ostler"),
            (json!([user, {"role": "assistant", "content": null}, user]), "content or tool_calls"),
            (json!([user, calls(&["a"]), {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url"}]}]), "carries text"),
            (broken("function", json!({"name": "t", "arguments": {}})), "as text"),
            (broken("function", json!({"name": "a b", "arguments": "{}"})), "a name"),
            (broken("type", Value::Null), "type function"),
        ] {
            let error = check(&request(messages.clone())).unwrap_err();
            assert!(error.contains(why), "{messages}: {error}");
        }
        for (field, value, why) in [
            ("model", json!(""), "model"),
            ("max_tokens", json!(0), "max_tokens"),
            ("max_completion_tokens", json!(3), "one limit"),
            ("stream_options", json!({}), "only with stream"),
            ("system", json!("be"), "system"),
            ("tools", json!([{"name": "t", "input_schema": {}}]), "tools.0"),
        ] {
            let mut body = request(json!([user]));
            body[field] = value;
            let error = check(&body).unwrap_err();
            assert!(error.contains(why), "{field}: {error}");
        }
    }
}
