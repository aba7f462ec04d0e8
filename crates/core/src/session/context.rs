//! What the model sees of a session, folded from the same records: messages of user and assistant.
//! Two messages of the user stand side by side where the first got no answer (it was interrupted,
//! or its turn was given up): merged into one, the old request would be asked again with the new.
//!
//! Not part of the state, because it grows with the history. It is held while a session is awake
//! and read back from the journal when it wakes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::record::{InputRole, QueuedInput, Record, RecordBody};
use crate::events::content::ContentBlock;
use crate::ids::EventId;
use crate::model::{BlockKind, Fragment, ResponseBlock};

/// The kinds of record that have a part in the context; others need not be read to rebuild it.
pub const CONTEXT_KINDS: [&str; 6] = ["turn_started", "inputs_flushed", "instructed", "request_answered", "call_settled", "custom_result"];

/// The conversation, as serialised messages.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Shared with the requests under way; copied only where one of them still is when a message comes.
    messages: Arc<Vec<Fragment>>,
    results: Option<Results>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

/// The calls of the last answer and what came back so far. The model gets all results at once, in
/// the order of the calls, whatever the order in which they settled.
#[derive(Debug, Clone)]
struct Results {
    calls: Vec<(EventId, String)>,
    blocks: Vec<Option<Value>>,
    notes: Vec<Value>,
}

impl Context {
    /// Takes in a record.
    pub fn push(&mut self, record: &Record) {
        match &record.body {
            RecordBody::TurnStarted { inputs, .. } | RecordBody::InputsFlushed { inputs } => self.inputs(inputs),
            RecordBody::Instructed { content, .. } => {
                let notes = instruction_blocks(content);
                match &mut self.results {
                    Some(results) => results.notes.extend(notes),
                    None => self.append(Role::User, notes),
                }
            }
            RecordBody::RequestAnswered { blocks, calls, .. } => {
                self.append(Role::Assistant, blocks.iter().filter(|block| !is_empty_text(block)).map(|block| block.raw.clone()).collect());
                if !calls.is_empty() {
                    let calls: Vec<_> = calls.iter().map(|call| (call.event.clone(), call.provider_id.clone())).collect();
                    self.results = Some(Results { blocks: vec![None; calls.len()], calls, notes: Vec::new() });
                }
            }
            RecordBody::CallSettled { call, outcome, .. } => self.result(call, outcome.content.clone(), outcome.is_error),
            RecordBody::CustomResult { call, content, is_error, .. } => {
                let content = content.iter().filter_map(|block| serde_json::to_value(block).ok()).collect();
                self.result(call, content, *is_error);
            }
            _ => {}
        }
    }

    /// The messages so far, oldest first.
    pub fn messages(&self) -> Arc<Vec<Fragment>> {
        Arc::clone(&self.messages)
    }

    /// Inputs that enter together are one message.
    fn inputs(&mut self, inputs: &[QueuedInput]) {
        let blocks = inputs.iter().flat_map(|input| match input.role {
            InputRole::User => input.content.iter().filter_map(|block| serde_json::to_value(block).ok()).collect(),
            InputRole::System => instruction_blocks(&input.content),
        });
        self.append(Role::User, blocks.collect());
    }

    fn append(&mut self, role: Role, blocks: Vec<Value>) {
        if !blocks.is_empty() {
            Arc::make_mut(&mut self.messages).push(serialise(role, &blocks));
        }
    }

    fn result(&mut self, call: &EventId, content: Vec<Value>, is_error: bool) {
        let Some(results) = &mut self.results else { return };
        let Some(index) = results.calls.iter().position(|(id, _)| id == call) else { return };
        let content: Vec<Value> = content
            .into_iter()
            .filter(|block| !block.get("text").and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()))
            .collect();
        let mut block = json!({"type": "tool_result", "tool_use_id": results.calls[index].1, "is_error": is_error});
        if !content.is_empty() {
            block["content"] = Value::Array(content);
        }
        results.blocks[index] = Some(block);
        if results.blocks.iter().all(Option::is_some)
            && let Some(done) = self.results.take()
        {
            self.append(Role::User, done.blocks.into_iter().flatten().chain(done.notes).collect());
        }
    }
}

/// Instructions of the operator reach the model as marked text beside the user's, because only few
/// models take another role in the middle of a conversation.
fn instruction_blocks(content: &[ContentBlock]) -> Vec<Value> {
    let texts = content.iter().filter_map(|block| match block {
        ContentBlock::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.map(|text| json!({"type": "text", "text": format!("<system-message>\n{text}\n</system-message>")})).collect()
}

fn is_empty_text(block: &ResponseBlock) -> bool {
    matches!(&block.kind, BlockKind::Text { text } if text.is_empty())
}

fn serialise(role: Role, blocks: &[Value]) -> Fragment {
    let role = match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    Fragment::new(json!({"role": role, "content": blocks}).to_string())
}
