//! The seven events that clients send.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::content::{ContentBlock, Place, check};
use crate::error::{Refusal, check_chars, check_count};
use crate::ids::EventId;
use crate::limits;

/// An event as a client sends it.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum ClientEvent {
    /// Something to do. Queued while a turn runs; starts a turn otherwise.
    #[serde(rename = "user.message")]
    UserMessage {
        /// Text, pictures, documents.
        #[schema(min_items = 1)]
        content: Vec<ContentBlock>,
    },
    /// Ends the running turn.
    #[serde(rename = "user.interrupt")]
    UserInterrupt {
        /// The thread; all when left out.
        #[serde(default)]
        session_thread_id: Option<String>,
    },
    /// Answers a call that waits for a person.
    #[serde(rename = "user.tool_confirmation")]
    UserToolConfirmation {
        /// The id of the call's event.
        tool_use_id: String,
        /// Whether it may run.
        result: Confirmation,
        /// Told to the model; only with `deny`.
        #[serde(default)]
        deny_message: Option<String>,
    },
    /// The result of a tool that the client ran.
    #[serde(rename = "user.custom_tool_result")]
    UserCustomToolResult {
        /// The id of the call's event.
        custom_tool_use_id: String,
        /// What came back.
        #[serde(default)]
        content: Option<Vec<ContentBlock>>,
        /// Whether it failed.
        #[serde(default)]
        is_error: Option<bool>,
    },
    /// The result of a built-in tool that a self-hosted worker ran; not supported yet.
    #[serde(rename = "user.tool_result")]
    UserToolResult {
        /// The id of the call's event.
        tool_use_id: String,
        /// What came back.
        #[serde(default)]
        content: Option<Vec<ContentBlock>>,
        /// Whether it failed.
        #[serde(default)]
        is_error: Option<bool>,
    },
    /// A goal with a rubric; not supported yet.
    #[serde(rename = "user.define_outcome")]
    UserDefineOutcome {
        /// The goal.
        description: String,
        /// How it is judged.
        #[schema(value_type = Object)]
        rubric: Value,
        /// The most attempts.
        #[serde(default)]
        max_iterations: Option<u32>,
    },
    /// Instructions that go with the message before them.
    #[serde(rename = "system.message")]
    SystemMessage {
        /// Text.
        #[schema(min_items = 1)]
        content: Vec<ContentBlock>,
    },
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// It may run.
    Allow,
    /// It may not.
    Deny,
}

/// Parses and checks what does not depend on the session's state. All or nothing.
pub fn parse(values: Vec<Value>) -> Result<Vec<ClientEvent>, Refusal> {
    if values.is_empty() {
        return Err(Refusal::invalid("events: must not be empty"));
    }
    check_count("events", values.len(), limits::EVENTS_PER_REQUEST)?;
    let events = values.into_iter().enumerate().map(|(index, value)| parse_one(index, value)).collect::<Result<Vec<_>, _>>()?;
    check_system_messages(&events)?;
    Ok(events)
}

/// Parses what starts a session: messages only.
pub fn parse_initial(values: Vec<Value>) -> Result<Vec<ClientEvent>, Refusal> {
    let events = parse(values)?;
    if events.iter().any(|event| matches!(event, ClientEvent::UserMessage { .. }))
        && events.iter().all(|event| matches!(event, ClientEvent::UserMessage { .. }))
    {
        return Ok(events);
    }
    Err(Refusal::invalid("initial_events: only user.message is supported"))
}

fn parse_one(index: usize, value: Value) -> Result<ClientEvent, Refusal> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let event: ClientEvent = serde_json::from_value(value).map_err(|error| Refusal::invalid(format!("events.{index}: {error}")))?;
    check_event(&event).map_err(|refusal| Refusal { message: format!("events.{index} ({kind}): {}", refusal.message), ..refusal })?;
    Ok(event)
}

fn check_event(event: &ClientEvent) -> Result<(), Refusal> {
    match event {
        ClientEvent::UserMessage { content } => check_content(content, Place::Message, 1),
        ClientEvent::UserCustomToolResult { content, custom_tool_use_id, .. } => {
            check_call_id(custom_tool_use_id)?;
            check_content(content.as_deref().unwrap_or_default(), Place::ToolResult, 0)
        }
        ClientEvent::UserToolConfirmation { tool_use_id, result, deny_message } => {
            check_call_id(tool_use_id)?;
            check_chars("deny_message", deny_message.as_deref().unwrap_or_default(), limits::DENY_MESSAGE_CHARS)?;
            match (result, deny_message) {
                (Confirmation::Allow, Some(_)) => Err(Refusal::invalid("deny_message: only goes with result \"deny\"")),
                _ => Ok(()),
            }
        }
        ClientEvent::SystemMessage { content } => {
            check_content(content, Place::Message, 1)?;
            if content.iter().all(|block| matches!(block, ContentBlock::Text { .. })) {
                Ok(())
            } else {
                Err(Refusal::invalid("content: only text blocks are allowed"))
            }
        }
        ClientEvent::UserInterrupt { .. } => Ok(()),
        ClientEvent::UserToolResult { .. } => Err(Refusal::invalid(
            "only sessions of self-hosted environments take these; answer with user.tool_confirmation or user.custom_tool_result",
        )),
        ClientEvent::UserDefineOutcome { .. } => Err(Refusal::invalid("outcomes are not supported by this server yet")),
    }
}

fn check_content(content: &[ContentBlock], place: Place, least: usize) -> Result<(), Refusal> {
    if content.len() < least {
        return Err(Refusal::invalid("content: must not be empty"));
    }
    check_count("content", content.len(), limits::CONTENT_BLOCKS)?;
    check(content, place)
}

fn check_call_id(id: &str) -> Result<(), Refusal> {
    id.parse::<EventId>().map(|_| ()).map_err(|_| Refusal::invalid(format!("no tool call {id:?} waits for an answer")))
}

/// At most one, at the end, right behind what it goes with.
fn check_system_messages(events: &[ClientEvent]) -> Result<(), Refusal> {
    let count = events.iter().filter(|event| matches!(event, ClientEvent::SystemMessage { .. })).count();
    let well_placed = match events {
        [.., before, ClientEvent::SystemMessage { .. }] => matches!(
            before,
            ClientEvent::UserMessage { .. } | ClientEvent::UserCustomToolResult { .. } | ClientEvent::UserToolResult { .. }
        ),
        _ => false,
    };
    if count == 0 || (count == 1 && well_placed) {
        Ok(())
    } else {
        Err(Refusal::invalid(
            "system.message: at most one, as the last event, directly behind the user.message or tool result that it goes with",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message() -> Value {
        json!({"type": "user.message", "content": [{"type": "text", "text": "hi"}]})
    }

    fn system() -> Value {
        json!({"type": "system.message", "content": [{"type": "text", "text": "be kind"}]})
    }

    #[test]
    fn good_requests_parse() {
        assert_eq!(parse(vec![message(), system()]).unwrap().len(), 2);
        assert!(parse(vec![json!({"type": "user.interrupt"}), message()]).is_ok());
        assert!(
            parse(vec![json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_a", "result": "deny", "deny_message": "no"})]).is_ok()
        );
    }

    #[test]
    fn bad_requests_are_refused_whole() {
        for events in [
            vec![],
            vec![json!({"type": "no.such"})],
            vec![json!({"type": "user.message"})],
            vec![json!({"type": "user.message", "content": "bare"})],
            vec![json!({"type": "user.message", "content": []})],
            vec![json!({"type": "agent.message", "content": []})],
            vec![json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_a", "result": "maybe"})],
            vec![json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_a", "result": "Allow"})],
            vec![json!({"type": "user.tool_confirmation", "tool_use_id": "sevt_a", "result": "allow", "deny_message": "x"})],
            vec![system(), message()],
            vec![message(), system(), system()],
            vec![system()],
            vec![message(), json!({"type": "user.interrupt"}), system()],
        ] {
            assert!(parse(events.clone()).is_err(), "{events:?}");
        }
    }
}
