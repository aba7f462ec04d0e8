//! What of a conversation a Messages request carries; the rules are in [`crate::origin`]. Nearly
//! every message goes out as it is stored. Only those with a marked block, with thinking or with an
//! id that this dialect refuses are parsed and written again.

use std::borrow::Cow;

use ostler_core::model::Fragment;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::origin::{Kinship, MARK, Origin};
use crate::portable::{call_id, tool_name};

/// As much of a message as decides whether it can go out as it is.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow)]
    content: Vec<BlockGlance<'a>>,
}

#[derive(Deserialize)]
struct BlockGlance<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(default)]
    ostler: Option<IgnoredAny>,
}

/// What a message that cannot go out as it is has in it. In the text of a block its quotes would be
/// escaped, so that looking for it is enough, and much quicker than reading a message with an image.
const SUSPECT: [&str; 4] = ["\"ostler\"", "\"thinking\"", "\"tool_use\"", "\"tool_result\""];

/// The message as the target takes it; `None` where nothing is left of it.
pub(super) fn outgoing<'a>(message: &'a Fragment, target: &Origin<'_>) -> Option<Cow<'a, str>> {
    if message.goes_as_is(every_target_takes) {
        return Some(Cow::Borrowed(message.text()));
    }
    let message = message.text();
    let Ok(mut parsed) = serde_json::from_str::<Value>(message) else { return Some(Cow::Borrowed(message)) };
    let Some(Value::Array(blocks)) = parsed.get_mut("content") else { return Some(Cow::Borrowed(message)) };
    blocks.retain(|block| is_taken(block, target));
    if blocks.is_empty() {
        return None;
    }
    blocks.iter_mut().for_each(fit);
    Some(Cow::Owned(parsed.to_string()))
}

fn every_target_takes(message: &str) -> bool {
    !SUSPECT.iter().any(|suspect| message.contains(suspect))
        || serde_json::from_str::<Glance<'_>>(message).is_ok_and(|glance| glance.content.iter().all(is_plain))
}

fn is_plain(block: &BlockGlance<'_>) -> bool {
    let is_sound = |id: &Option<Cow<'_, str>>| id.as_ref().is_none_or(|id| matches!(call_id(id, usize::MAX), Cow::Borrowed(_)));
    let named = block.name.as_ref().is_none_or(|name| matches!(tool_name(name), Cow::Borrowed(_)));
    block.ostler.is_none() && block.kind != "thinking" && is_sound(&block.id) && is_sound(&block.tool_use_id) && named
}

fn is_taken(block: &Value, target: &Origin<'_>) -> bool {
    let text = |field: &str| block[field].as_str().unwrap_or_default();
    let kinship = target.kinship(block);
    match text("type") {
        "text" => !text("text").trim().is_empty(),
        "thinking" if text("signature").is_empty() => kinship == Some(Kinship::Same),
        "tool_use" | "tool_result" | "image" | "document" | "search_result" => true,
        _ => kinship.is_none_or(|kinship| kinship >= Kinship::SameProvider),
    }
}

/// Takes out what is ours and replaces what the provider would refuse.
fn fit(block: &mut Value) {
    let Value::Object(fields) = block else { return };
    fields.remove(MARK);
    let (id, is_call) = match fields.get("type").and_then(Value::as_str) {
        Some("tool_use") => ("id", true),
        Some("tool_result") => ("tool_use_id", false),
        _ => return,
    };
    replace(fields, id, |id| call_id(id, usize::MAX));
    if is_call {
        replace(fields, "name", tool_name);
    }
}

fn replace(fields: &mut serde_json::Map<String, Value>, field: &str, by: impl Fn(&str) -> Cow<'_, str>) {
    if let Some(Value::String(text)) = fields.get_mut(field)
        && let Cow::Owned(new) = by(text)
    {
        *text = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TARGET: Origin<'_> = Origin { dialect: "anthropic_messages", provider: "main", model: "claude-x" };

    fn sent(blocks: &Value) -> Value {
        let message = json!({"role": "assistant", "content": blocks}).to_string();
        outgoing(&Fragment::new(message), &TARGET)
            .map_or(Value::Null, |message| serde_json::from_str::<Value>(&message).unwrap()["content"].take())
    }

    fn marked(mut block: Value, maker: Origin<'_>) -> Value {
        maker.put_on(&mut block);
        block
    }

    #[test]
    fn thinking_goes_to_whoever_made_it() {
        let signed = json!({"type": "thinking", "thinking": "hm", "signature": "c2ln"});
        let sealed = json!({"type": "redacted_thinking", "data": "xx"});
        let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
        let other = json!({"type": "compaction", "content": "short"});
        let sibling = Origin { model: "claude-y", ..TARGET };
        let stranger = Origin { provider: "else", ..TARGET };
        let chat = Origin { dialect: "chat_completions", ..TARGET };
        for block in [&signed, &sealed, &other] {
            assert_eq!(sent(&json!([block])), json!([block]), "without a mark");
            for maker in [TARGET, sibling] {
                assert_eq!(sent(&json!([marked(block.clone(), maker)])), json!([block]));
            }
            for maker in [stranger, chat] {
                assert_eq!(sent(&json!([marked(block.clone(), maker)])), Value::Null);
            }
        }
        assert_eq!(sent(&json!([marked(unsigned.clone(), TARGET)])), json!([unsigned]));
        for maker in [sibling, stranger, chat] {
            assert_eq!(sent(&json!([marked(unsigned.clone(), maker)])), Value::Null);
        }
        assert_eq!(sent(&json!([unsigned])), Value::Null, "without a mark");
    }

    #[test]
    fn calls_and_results_keep_sound_ids_and_lose_what_is_private() {
        let call =
            json!({"type": "tool_use", "id": "functions.bash:0", "name": "a tool", "input": {"x": 1}, "ostler": {"fields": {"a": 1}}});
        let blocks = sent(&json!([{"type": "text", "text": " "}, call]));
        let id = blocks[0]["id"].clone();
        assert_eq!(blocks, json!([{"type": "tool_use", "id": id, "name": "a_tool", "input": {"x": 1}}]));
        let result = sent(&json!([{"type": "tool_result", "tool_use_id": "functions.bash:0", "content": [{"type": "text", "text": "r"}]}]));
        assert_eq!(result[0]["tool_use_id"], id);
        assert!(id.as_str().unwrap().starts_with("call_"));
        let sound = json!([{"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}]);
        assert_eq!(sent(&sound), sound);
    }

    #[test]
    fn a_block_of_an_unexpected_shape_shows_nothing_private_either() {
        let odd = json!({"type": "server_thing", "id": 7, "name": [], "nested": {"ostler": "the model's own word"}});
        let written = json!([{"type": "text", "text": "a \"thinking\" \"ostler\" \"tool_use\""}]);
        assert_eq!(sent(&written), written);
        assert_eq!(sent(&json!([marked(odd.clone(), TARGET)])), json!([odd]));
        assert_eq!(sent(&json!([marked(json!({"no": "type"}), TARGET)])), json!([{"no": "type"}]));
    }

    #[test]
    fn messages_that_need_no_change_stay_the_same_bytes() {
        for message in [
            "{\"role\":\"user\",  \"content\":\"text\"}",
            "{\"role\":\"user\", \"content\":[ {\"type\":\"text\",\"text\":\"a \\\"ostler\\\" \\u00e9\"}]}",
            "{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"text\",\"text\":\"x\\ny\"}]}],\"role\":\"user\"}",
            "no json",
        ] {
            assert!(matches!(outgoing(&Fragment::new(message), &TARGET), Some(Cow::Borrowed(same)) if same == message), "{message}");
        }
    }
}
