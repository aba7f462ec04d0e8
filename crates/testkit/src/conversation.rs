//! A request's conversation as a script sees it: who said what, which calls were made and answered,
//! which script applies and how far it has been played.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::script::{self, Step};

#[derive(Debug, Default)]
struct Turn {
    is_user: bool,
    text: String,
    call_ids: Vec<String>,
    results: Vec<(String, bool)>,
}

/// The script of a conversation and the place in it.
#[derive(Debug)]
pub(crate) struct Position {
    /// Names the script and what went before it.
    pub(crate) key: String,
    /// `None` where nothing is scripted.
    pub(crate) steps: Option<Vec<Step>>,
    /// The step to play.
    pub(crate) step: usize,
}

/// A parsed request.
#[derive(Debug)]
pub(crate) struct Conversation {
    turns: Vec<Turn>,
    system: String,
    tools: Vec<String>,
    model: String,
}

/// The id of a call: it names the script and the step, so that both are found again.
pub(crate) fn call_id(key: &str, step: usize, number: usize) -> String {
    format!("toolu_tk_{key}_{step}_{number}")
}

impl Conversation {
    pub(crate) fn of(body: &Value) -> Self {
        let tools = list(&body["tools"]).map(|tool| tool["name"].as_str().or(tool["type"].as_str()).unwrap_or_default().to_owned());
        Self {
            turns: list(&body["messages"]).map(turn).collect(),
            system: flat(&body["system"]),
            tools: tools.collect(),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// What the user said last.
    pub(crate) fn user_text(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.is_user && !turn.text.is_empty()).map_or("", |turn| &turn.text)
    }

    /// Finds the newest script and how much of it was played.
    pub(crate) fn position(&self) -> Position {
        let scripted = self.turns.iter().enumerate().rev().filter(|(_, turn)| turn.is_user);
        let Some((at, steps)) = scripted.map(|(at, turn)| (at, script::parse(&turn.text))).find(|(_, steps)| steps.is_some()) else {
            return Position { key: "00000000".to_owned(), steps: None, step: 0 };
        };
        let mut hasher = DefaultHasher::new();
        for turn in &self.turns[..=at] {
            (turn.is_user, &turn.text).hash(&mut hasher);
        }
        let key = format!("{:08x}", hasher.finish() & 0xffff_ffff);
        let step = self.played(at, &key);
        Position { key, steps, step }
    }

    /// Our own call ids tell the step; assistant turns are counted where none do.
    fn played(&self, script_at: usize, key: &str) -> usize {
        let prefix = format!("toolu_tk_{key}_");
        let mut next = 0;
        let mut named_before = None;
        let mut was_assistant = false;
        for turn in &self.turns[script_at + 1..] {
            if !turn.is_user {
                next += usize::from(!was_assistant);
                let named = turn.call_ids.iter().filter_map(|id| id.strip_prefix(&prefix)?.split('_').next()?.parse::<usize>().ok()).max();
                if named > named_before {
                    named_before = named;
                    next = named.map_or(next, |step| step.saturating_add(1));
                }
            }
            was_assistant = !turn.is_user;
        }
        next
    }

    /// What the placeholders stand for.
    pub(crate) fn placeholders(&self, step: usize) -> HashMap<&'static str, String> {
        let results: Vec<&(String, bool)> = self.turns.iter().flat_map(|turn| &turn.results).collect();
        let last = results.last();
        HashMap::from([
            ("last_tool_result", last.map(|(text, _)| text.clone()).unwrap_or_default()),
            ("tool_results", results.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" | ")),
            ("last_tool_error", last.is_some_and(|(_, is_error)| *is_error).to_string()),
            ("tools", self.tools.join(",")),
            ("system", self.system.clone()),
            ("model", self.model.clone()),
            ("user_text", self.user_text().to_owned()),
            ("assistant_turns", self.turns.iter().filter(|turn| !turn.is_user).count().to_string()),
            ("step", step.to_string()),
            ("message_count", self.turns.len().to_string()),
        ])
    }
}

/// Replaces `{{name}}` where the name is known.
pub(crate) fn substitute(text: &str, placeholders: &HashMap<&'static str, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        match after.split_once("}}").and_then(|(name, tail)| Some((placeholders.get(name)?, tail))) {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn turn(message: &Value) -> Turn {
    let mut turn = Turn { is_user: message["role"] == "user", ..Turn::default() };
    if let Some(text) = message["content"].as_str() {
        turn.text = text.to_owned();
        return turn;
    }
    let mut texts = Vec::new();
    for block in list(&message["content"]) {
        match block["type"].as_str().unwrap_or_default() {
            "text" => texts.extend(block["text"].as_str()),
            "tool_use" => turn.call_ids.extend(block["id"].as_str().map(str::to_owned)),
            "tool_result" => turn.results.push((flat(&block["content"]), block["is_error"].as_bool().unwrap_or(false))),
            _ => {}
        }
    }
    turn.text = texts.join("\n");
    turn
}

fn flat(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        _ => list(content).filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n"),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step_of(messages: Value) -> usize {
        Conversation::of(&json!({ "messages": messages })).position().step
    }

    #[test]
    fn the_step_is_found_by_ids_and_by_counting() {
        let script = json!({"role": "user", "content": "TOOL a {}\nTOOL b {}\nSAY x\nSTEP\nSAY y"});
        let conversation = Conversation::of(&json!({"messages": [script]}));
        let key = conversation.position().key;
        let call = |id: String| json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "a", "input": {}}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "r"}]});
        assert_eq!(step_of(json!([script])), 0);
        assert_eq!(step_of(json!([script, call(call_id(&key, 0, 0)), result])), 1);
        assert_eq!(step_of(json!([script, call("rewritten".into()), result])), 1);
        assert_eq!(step_of(json!([script, call(call_id(&key, 1, 0)), result])), 2);
        assert_eq!(step_of(json!([script, call("other".into()), result, call("other".into()), result])), 2);
        assert_eq!(step_of(json!([script, call("x".into()), {"role": "user", "content": "SAY new"}])), 0);
    }

    #[test]
    fn placeholders_are_replaced_where_known() {
        let body = json!({"model": "m", "system": [{"type": "text", "text": "be"}], "tools": [{"name": "bash"}, {"name": "read"}], "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "bash", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": [{"type": "text", "text": "out"}]}]},
        ]});
        let placeholders = Conversation::of(&body).placeholders(1);
        let text = "{{last_tool_result}} {{last_tool_error}} {{tools}} {{system}} {{model}} {{user_text}} {{assistant_turns}} {{message_count}} {{step}} {{no}} {{";
        assert_eq!(substitute(text, &placeholders), "out true bash,read be m hi 1 3 1 {{no}} {{");
    }
}
