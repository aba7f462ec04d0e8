//! Calls of an answer while they arrive. Servers disagree on how a delta says which call it belongs
//! to, so id, index, name and arguments are all looked at:
//!
//! - an id that is known continues its call, whatever the other deltas in between (vLLM, OpenAI);
//! - a new id together with a name begins a call, even at an index that is taken (LiteLLM, Ollama and
//!   LMDeploy give every call index 0); without a name it goes on with the call at its index (some
//!   servers make up a new id for every delta);
//! - without an id the index decides, and without an index the last call goes on; a name begins a
//!   new call there once the arguments before it are a whole object (whole calls in one delta).
//!
//! Arguments are joined as text and parsed once, at the end. Nothing is guessed: what is not one
//! JSON object makes the call incomplete, and such a call is never run.

use std::collections::HashSet;

use ostler_core::ids::EventId;
use ostler_core::model::{BlockKind, ResponseBlock};
use serde_json::{Map, Value, json};

use crate::limits::{BLOCK_DEPTH, PORTABLE_ID_CHARS, PROVIDER_ID_BYTES};
use crate::nesting::is_within;
use crate::origin::MARK;
use crate::portable::call_id;

/// A call that has begun.
#[derive(Debug)]
struct Call {
    event_id: EventId,
    index: Option<u64>,
    /// The server's id; empty while there is none.
    id: String,
    name: String,
    arguments: Arguments,
    /// Fields of the call that this version does not know, to be sent back.
    fields: Map<String, Value>,
}

/// The calls of an answer, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    /// Ids that the conversation has already.
    taken: HashSet<String>,
}

/// One entry of `tool_calls`.
struct Entry<'a> {
    index: Option<u64>,
    id: &'a str,
    name: &'a str,
    arguments: String,
}

impl Calls {
    /// Gives these ids to no other call.
    pub(super) fn avoid(&mut self, ids: HashSet<String>) {
        self.taken.extend(ids);
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes one entry of `tool_calls`. `begin` gives the event id of a call that begins with it.
    pub(super) fn read(&mut self, entry: &Value, begin: impl FnOnce() -> EventId) {
        let function = &entry["function"];
        let read = Entry {
            index: entry["index"].as_u64(),
            id: entry["id"].as_str().unwrap_or_default(),
            name: function["name"].as_str().unwrap_or_default(),
            arguments: match &function["arguments"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        };
        let at = self.continued(&read).unwrap_or_else(|| {
            self.calls.push(Call::new(begin(), read.index));
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(at) else { return };
        call.add(&read);
        for (field, value) in entry.as_object().into_iter().flatten() {
            let is_known = matches!(field.as_str(), "index" | "id" | "type" | "function");
            if !is_known && !value.is_null() && is_within(value, BLOCK_DEPTH) {
                call.fields.insert(field.clone(), value.clone());
            }
        }
    }

    /// The call that the entry goes on with.
    fn continued(&self, entry: &Entry<'_>) -> Option<usize> {
        let fits = |call: &Call| entry.index.is_none() || call.index.is_none() || call.index == entry.index;
        let known = if entry.id.is_empty() { None } else { self.calls.iter().rposition(|call| call.id == entry.id && fits(call)) };
        let at = known.or_else(|| self.calls.iter().rposition(|call| entry.index.is_none() || call.index == entry.index))?;
        let there = self.calls.get(at)?;
        let goes_on = if entry.id.is_empty() || known.is_some() {
            !there.is_over(entry)
        } else {
            entry.name.is_empty() || (there.id.is_empty() && !there.is_over(entry))
        };
        goes_on.then_some(at)
    }

    /// The finished blocks. `cut` says that the answer's limit ended it in the last call.
    pub(super) fn finish(self, cut: bool, mark: &Map<String, Value>) -> Vec<ResponseBlock> {
        let Self { calls, mut taken } = self;
        let count = calls.len();
        let calls = calls.into_iter().enumerate();
        calls.map(|(at, call)| call.finish(cut && at + 1 == count, &mut taken, mark)).collect()
    }
}

impl Call {
    fn new(event_id: EventId, index: Option<u64>) -> Self {
        Self { event_id, index, id: String::new(), name: String::new(), arguments: Arguments::default(), fields: Map::new() }
    }

    /// Whether the entry begins another call, though it says that it is this one.
    fn is_over(&self, entry: &Entry<'_>) -> bool {
        let brings = !entry.arguments.trim().is_empty();
        let is_other = entry.name != self.name && !self.arguments.is_blank();
        !entry.name.is_empty() && (is_other || (brings && self.arguments.is_closed()))
    }

    fn add(&mut self, entry: &Entry<'_>) {
        if self.id.is_empty() {
            entry.id.clone_into(&mut self.id);
        }
        // A name is repeated by some servers and comes in pieces from others.
        if self.arguments.is_blank() && entry.name != self.name {
            self.name.push_str(entry.name);
        }
        self.arguments.push(&entry.arguments);
    }

    fn finish(self, cut: bool, taken: &mut HashSet<String>, mark: &Map<String, Value>) -> ResponseBlock {
        let sent = match self.arguments.text.trim() {
            // A call without arguments may send none; but then neither does one that was cut.
            "" => (!cut).then(|| json!({})),
            text => serde_json::from_str::<Value>(text).ok(),
        };
        let whole = sent.filter(|input| input.is_object() && is_within(input, BLOCK_DEPTH) && !self.name.is_empty());
        let complete = whole.is_some();
        let input = whole.unwrap_or_else(|| json!({}));
        let is_usable = !self.id.is_empty() && self.id.len() <= PROVIDER_ID_BYTES && !taken.contains(&self.id);
        // Event ids never repeat, so neither do these.
        let own = || format!("call_{}", self.event_id.as_str().rsplit('_').next().unwrap_or_default());
        let id = if is_usable { self.id.clone() } else { own() };
        taken.insert(id.clone());
        let mut raw = json!({"type": "tool_use", "id": id, "name": self.name, "input": input});
        // Only what its maker alone understands is worth a mark.
        if !self.fields.is_empty() || call_id(&id, PORTABLE_ID_CHARS) != id.as_str() {
            let mut mark = mark.clone();
            if !self.fields.is_empty() {
                mark.insert("fields".to_owned(), Value::Object(self.fields));
            }
            raw[MARK] = Value::Object(mark);
        }
        ResponseBlock { event_id: self.event_id, kind: BlockKind::ToolCall { id, name: self.name, input, complete }, raw }
    }
}

/// Arguments as they arrive, with as much of their structure as tells where an object ends; parsing
/// all of it again for every piece would be quadratic.
#[derive(Debug, Default)]
struct Arguments {
    text: String,
    depth: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Arguments {
    fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
        for byte in piece.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed |= self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Whether the first object has ended.
    fn is_closed(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::ids::IdSource;

    /// Name, arguments and completeness of the calls that these entries make.
    fn calls(entries: &[Value]) -> Vec<(String, Value, bool)> {
        let mut ids = IdSource::new(1, 1);
        let mut calls = Calls::default();
        for entry in entries {
            calls.read(entry, || EventId::mint(&mut ids));
        }
        let blocks = calls.finish(false, &Map::new());
        let seen: HashSet<String> = blocks.iter().map(|block| block.raw["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(seen.len(), blocks.len(), "ids repeat");
        let parts = blocks.into_iter().map(|block| match block.kind {
            BlockKind::ToolCall { name, input, complete, .. } => (name, input, complete),
            other => panic!("{other:?}"),
        });
        parts.collect()
    }

    fn entry(index: impl Into<Value>, id: impl Into<Value>, name: impl Into<Value>, arguments: impl Into<Value>) -> Value {
        json!({"index": index.into(), "id": id.into(), "function": {"name": name.into(), "arguments": arguments.into()}})
    }

    fn whole(name: &str, x: i64) -> (String, Value, bool) {
        (name.to_owned(), json!({"x": x}), true)
    }

    const NONE: Value = Value::Null;

    #[test]
    fn deltas_find_their_calls_on_every_kind_of_server() {
        let two = [whole("a", 1), whole("b", 2)];
        let table = [
            (
                "OpenAI",
                vec![
                    entry(0, "1", "a", ""),
                    entry(0, NONE, NONE, "{\"x\":"),
                    entry(0, NONE, NONE, "1}"),
                    entry(1, "2", "b", ""),
                    entry(1, NONE, NONE, "{\"x\":2}"),
                ],
            ),
            (
                "interleaved",
                vec![entry(0, "1", "a", "{\"x\""), entry(1, "2", "b", "{\"x"), entry(0, NONE, NONE, ":1}"), entry(1, NONE, NONE, "\":2}")],
            ),
            ("whole, index missing, no id", vec![entry(NONE, "", "a", "{\"x\":1}"), entry(NONE, "", "b", "{\"x\":2}")]),
            ("whole, constant index, no id", vec![entry(0, NONE, "a", "{\"x\":1}"), entry(0, NONE, "b", "{\"x\":2}")]),
            ("whole, constant index and id", vec![entry(0, "c", "a", "{\"x\":1}"), entry(0, "c", "b", "{\"x\":2}")]),
            (
                "constant index, ids, in pieces",
                vec![entry(0, "1", "a", ""), entry(0, "", NONE, "{\"x\":1}"), entry(0, "2", "b", ""), entry(0, "", NONE, "{\"x\":2}")],
            ),
            (
                "constant index, ids in every delta",
                vec![entry(0, "1", "a", ""), entry(0, "2", "b", ""), entry(0, "1", NONE, "{\"x\":1}"), entry(0, "2", NONE, "{\"x\":2}")],
            ),
            (
                "a new id in every delta",
                vec![
                    entry(0, "1", "a", ""),
                    entry(0, "2", NONE, "{\"x\":"),
                    entry(0, "3", NONE, "1}"),
                    entry(1, "4", "b", ""),
                    entry(1, "5", NONE, "{\"x\":2}"),
                ],
            ),
            (
                "an index only later",
                vec![
                    entry(NONE, "1", "a", "{\"x\""),
                    entry(0, "1", NONE, ":1}"),
                    entry(NONE, "2", "b", "{\"x\""),
                    entry(1, "2", NONE, ":2}"),
                ],
            ),
            (
                "names repeated",
                vec![
                    entry(0, "1", "a", ""),
                    entry(0, NONE, "a", "{\"x\""),
                    entry(0, "1", "a", ":1}"),
                    entry(0, "1", "a", ""),
                    entry(1, "2", "b", "{\"x\":2}"),
                ],
            ),
            (
                "names empty",
                vec![entry(0, "1", "a", ""), entry(0, "", "", "{\"x\":1}"), entry(1, "2", "b", ""), entry(1, "", "", "{\"x\":2}")],
            ),
            ("one id for two calls", vec![entry(0, "1", "a", "{\"x\":1}"), entry(1, "1", "b", "{\"x\":2}")]),
            (
                "the id late",
                vec![entry(0, NONE, "a", ""), entry(0, "1", NONE, "{\"x\":1}"), entry(1, NONE, "b", ""), entry(1, "2", "b", "{\"x\":2}")],
            ),
            ("objects", vec![entry(0, "1", "a", json!({"x": 1})), entry(0, "2", "b", json!({"x": 2}))]),
        ];
        for (server, entries) in table {
            assert_eq!(calls(&entries), two, "{server}");
        }
        let twice = [entry(0, NONE, "a", "{\"x\":1}"), entry(0, NONE, "a", "{\"x\":2}")];
        assert_eq!(calls(&twice), [whole("a", 1), whole("a", 2)]);
        let split = [entry(0, NONE, "get_", ""), entry(0, NONE, "weather", ""), entry(0, NONE, NONE, "{\"x\":1}")];
        assert_eq!(calls(&split), [whole("get_weather", 1)]);
    }

    #[test]
    fn what_is_not_one_object_is_incomplete() {
        for arguments in ["{\"x\":1", "[1]", "7", "\"{\\\"x\\\":1}\"", "null", "{\"x\":1}{\"x\":2}", "{x:1}", "{\"x\":1} and more"] {
            assert_eq!(calls(&[entry(0, "1", "a", arguments)]), [("a".to_owned(), json!({}), false)], "{arguments}");
        }
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(calls(&[entry(0, "1", "a", deep)]), [("a".to_owned(), json!({}), false)]);
        assert_eq!(calls(&[entry(0, "1", "", "{}")]), [(String::new(), json!({}), false)]);
        for nothing in [json!(""), json!(" "), json!(null), json!({}), json!("{}")] {
            assert_eq!(calls(&[entry(0, "1", "a", nothing)]), [("a".to_owned(), json!({}), true)]);
        }
        // Braces in strings end nothing.
        let tricky = [entry(0, NONE, "a", "{\"x\":\"}\\\""), entry(0, NONE, "a", "}{\"}")];
        assert_eq!(calls(&tricky), [("a".to_owned(), json!({"x": "}\"}{"}), true)]);
    }

    #[test]
    fn ids_are_kept_unless_they_repeat_or_are_missing() {
        let finish = |ids: &[&str], cut: bool| {
            let mut source = IdSource::new(1, 1);
            let mut calls = Calls::default();
            calls.avoid(HashSet::from(["old".to_owned()]));
            for (index, id) in ids.iter().enumerate() {
                calls.read(&entry(index as u64, *id, "a", ""), || EventId::mint(&mut source));
            }
            calls.finish(cut, &Map::new())
        };
        let ids: Vec<String> =
            finish(&["new", "old", "new", ""], false).iter().map(|block| block.raw["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids[0], "new");
        for id in &ids[1..] {
            assert_eq!((id.len(), &id[..5]), (31, "call_"), "{id}");
        }
        let complete = |block: &ResponseBlock| matches!(block.kind, BlockKind::ToolCall { complete: true, .. });
        assert_eq!(finish(&["x", "y"], true).iter().map(complete).collect::<Vec<_>>(), [true, false]);
    }
}
