//! The calls of one answer: who they wait for, and when each may start.

use crate::hex::hex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::record::{CallTarget, NewCall};
use crate::events::wire::EvaluatedPermission;
use crate::ids::{EventId, IncarnationId};
use crate::resources::web::WEB_SEARCH;

/// A call of the last answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The event, and the call's id.
    pub id: EventId,
    /// The tool.
    pub name: String,
    /// The arguments.
    pub input: Map<String, Value>,
    /// Whether the client runs it.
    pub custom: bool,
    /// Whether the tool only reads; such calls overlap and may be run again.
    pub read_only: bool,
    /// Who runs it, unless the client does.
    #[serde(default, skip_serializing_if = "Place::is_sandbox")]
    pub place: Place,
    /// Where it is.
    pub state: CallState,
    /// The sandbox's life that it was given to.
    pub incarnation: Option<IncarnationId>,
    /// How often it was given to another sandbox, because the last one ended.
    #[serde(default)]
    pub retries: u32,
}

/// Who runs a call of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Place {
    /// The sandbox.
    #[default]
    Sandbox,
    /// An MCP server, which the server asks.
    Mcp {
        /// The server, as the agent calls it.
        server: String,
        /// The tool, as the server calls it.
        tool: String,
    },
    /// The server itself, which asks the web.
    Web,
}

impl Place {
    /// Where a built-in tool runs.
    fn of_builtin(name: &str) -> Self {
        if name == WEB_SEARCH { Self::Web } else { Self::Sandbox }
    }

    fn is_sandbox(&self) -> bool {
        *self == Self::Sandbox
    }
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// A person has to allow it.
    AwaitingConfirmation,
    /// The client has to run it.
    AwaitingResult,
    /// It may run, as soon as the calls before it are through.
    Ready,
    /// It runs, or is about to.
    Running,
    /// It may not run; its result follows.
    Denied,
    /// It has its result.
    Settled,
}

impl CallState {
    /// Whether somebody outside has to answer.
    pub fn waits(self) -> bool {
        matches!(self, Self::AwaitingConfirmation | Self::AwaitingResult)
    }
}

impl Call {
    /// A call as it begins.
    pub fn new(call: &NewCall) -> Self {
        let judged = |permission: &EvaluatedPermission| match permission {
            EvaluatedPermission::Allow => CallState::Ready,
            EvaluatedPermission::Ask => CallState::AwaitingConfirmation,
            EvaluatedPermission::Deny => CallState::Denied,
        };
        let (custom, read_only, place, state) = match &call.target {
            CallTarget::Custom => (true, false, Place::Sandbox, CallState::AwaitingResult),
            CallTarget::Builtin { read_only, permission, .. } => (false, *read_only, Place::of_builtin(&call.name), judged(permission)),
            CallTarget::Mcp { server, tool, permission, .. } => {
                (false, false, Place::Mcp { server: server.clone(), tool: tool.clone() }, judged(permission))
            }
        };
        Self {
            id: call.event.clone(),
            name: call.name.clone(),
            input: call.input.clone(),
            custom,
            read_only,
            place,
            state,
            incarnation: None,
            retries: 0,
        }
    }

    /// Whether a sandbox runs it.
    pub fn is_of_sandbox(&self) -> bool {
        !self.custom && self.place.is_sandbox()
    }

    /// Whether it runs, or is about to, and no sandbox was given it yet.
    pub fn waits_for_sandbox(&self) -> bool {
        self.state == CallState::Running && self.is_of_sandbox() && self.incarnation.is_none()
    }

    /// Whether it runs, or may: somebody was given it.
    pub fn is_under_way(&self) -> bool {
        self.state == CallState::Running && !self.waits_for_sandbox()
    }

    /// SHA-256 in hex of the call's canonical form: tool and arguments, keys sorted, no blanks.
    pub fn input_sha256(&self) -> String {
        let mut text = String::new();
        write_canonical(&Value::Object(self.input.clone()), &mut text);
        let digest = Sha256::new().chain_update(self.name.as_bytes()).chain_update([0]).chain_update(text.as_bytes()).finalize();
        hex(digest)
    }
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<&String> = object.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&object[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Starts every call that may start. Sandbox calls behave as if run in order: neighbouring
/// read-only calls overlap, others wait for all sandbox calls before them. Calls of the client's
/// tools neither wait nor make others wait. What runs belongs to the living sandbox, if there is one.
pub fn promote(calls: &mut [Call], sandbox: Option<&IncarnationId>) {
    let mut earlier_open = false;
    let mut earlier_writer_open = false;
    for call in calls.iter_mut().filter(|call| !call.custom) {
        if call.state == CallState::Ready {
            let free = if call.read_only { !earlier_writer_open } else { !earlier_open };
            if free {
                call.state = CallState::Running;
            }
        }
        if call.waits_for_sandbox() {
            call.incarnation = sandbox.cloned();
        }
        if !matches!(call.state, CallState::Settled | CallState::Denied) {
            earlier_open = true;
            earlier_writer_open |= !call.read_only;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdSource;

    fn calls(kinds: &str) -> Vec<Call> {
        let mut ids = IdSource::new(1, 1);
        kinds
            .chars()
            .map(|kind| Call {
                id: EventId::mint(&mut ids),
                name: "t".into(),
                input: Map::new(),
                custom: kind == 'c',
                read_only: kind == 'r' || kind == 'q',
                place: Place::Sandbox,
                state: match kind {
                    'c' => CallState::AwaitingResult,
                    'a' | 'q' => CallState::AwaitingConfirmation,
                    's' => CallState::Settled,
                    _ => CallState::Ready,
                },
                incarnation: None,
                retries: 0,
            })
            .collect()
    }

    fn running(kinds: &str) -> String {
        let mut calls = calls(kinds);
        promote(&mut calls, None);
        calls.iter().map(|call| if call.state == CallState::Running { 'X' } else { '.' }).collect()
    }

    #[test]
    fn calls_behave_as_if_run_in_order() {
        for (kinds, expected) in [
            ("w", "X"),
            ("rr", "XX"),
            ("rrw", "XX."),
            ("wr", "X."),
            ("rwr", "X.."),
            ("sw", ".X"),
            ("srrw", ".XX."),
            ("cw", ".X"),
            ("aw", ".."),
            ("ar", ".."),
            ("ra", "X."),
            ("qr", ".X"),
            ("qw", ".."),
        ] {
            assert_eq!(running(kinds), expected, "{kinds}");
        }
    }

    #[test]
    fn the_canonical_form_ignores_key_order_only() {
        let call = |input: &str| Call { input: serde_json::from_str(input).unwrap(), ..calls("w").remove(0) }.input_sha256();
        assert_eq!(call(r#"{"a":1,"b":[{"x":1,"y":2}]}"#), call(r#"{"b":[{"y":2,"x":1}],"a":1}"#));
        assert_ne!(call(r#"{"a":1}"#), call(r#"{"a":"1"}"#));
    }
}
