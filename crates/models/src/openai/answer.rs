//! The chunks of a stream, or a whole completion, into an answer. Pure but for the previews it
//! announces; it reads no bytes and knows no time. Text in tags like `<think>` stays text.

use std::collections::HashSet;

use ostler_core::ids::{EventId, IdSource};
use ostler_core::model::{BlockKind, ModelError, ModelErrorKind, ModelResponse, ModelStop, ResponseBlock, TokenUsage};
use serde_json::{Map, Value, json};

use super::calls::Calls;
use super::reasoning::{Piece, Reasoning};
use super::usage::counts;
use crate::exchange::ReadAnswer;
use crate::failure::{bounded, failure, from_stream_error};
use crate::limits::{BLOCKS_PER_ANSWER, MESSAGE_CHARS, WORD_CHARS};
use crate::origin::Origin;
use crate::{ModelEvent, PreviewKind};

/// Text that has begun.
#[derive(Debug)]
struct Text {
    event_id: EventId,
    text: String,
    announced: bool,
}

/// An answer while it arrives.
#[derive(Debug)]
pub(super) struct Answer {
    ids: IdSource,
    mark: Map<String, Value>,
    model: Option<String>,
    reasoning: Option<Reasoning>,
    text: Option<Text>,
    /// The part of the text that says no.
    refusal: String,
    calls: Calls,
    /// How many blocks were announced.
    announced: usize,
    finish: Option<String>,
    usage: TokenUsage,
    done: bool,
}

type Events<'a> = &'a mut dyn FnMut(ModelEvent);

impl ReadAnswer for Answer {
    fn read_event(&mut self, data: &str, events: Events<'_>) -> Result<(), ModelError> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = serde_json::from_str(data).map_err(|_| nonsense("an event is no JSON"))?;
        self.read_chunk(&chunk, events)
    }

    fn read_message(&mut self, body: &[u8], events: Events<'_>) -> Result<(), ModelError> {
        let message: Value = serde_json::from_slice(body).map_err(|_| nonsense("it is no JSON"))?;
        self.read_chunk(&message, events)?;
        if self.finish.is_none() {
            return Err(nonsense("it gives no reason why it ended"));
        }
        self.done = true;
        Ok(())
    }

    fn is_ended(&self) -> bool {
        self.done
    }

    fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    fn usage(&self) -> TokenUsage {
        self.usage
    }
}

impl Answer {
    pub(super) fn new(ids: IdSource, origin: Origin<'_>) -> Self {
        Self {
            ids,
            mark: origin.mark(),
            model: None,
            reasoning: None,
            text: None,
            refusal: String::new(),
            calls: Calls::default(),
            announced: 0,
            finish: None,
            usage: TokenUsage::default(),
            done: false,
        }
    }

    /// Gives no call one of these ids.
    pub(super) fn avoid_ids(&mut self, ids: HashSet<String>) {
        self.calls.avoid(ids);
    }

    /// The answer, once it has ended.
    pub(super) fn finish(self, asked_model: &str) -> Result<ModelResponse, ModelError> {
        let Some(reason) = self.finish else {
            return Err(failure(ModelErrorKind::Unavailable, "the model's answer was cut before its end"));
        };
        let refusal = (!self.refusal.is_empty()).then(|| bounded(&self.refusal, MESSAGE_CHARS));
        let stop = match reason.as_str() {
            "content_filter" => ModelStop::Refusal { category: Some(reason), explanation: refusal },
            _ if refusal.is_some() => ModelStop::Refusal { category: None, explanation: refusal },
            "length" | "model_length" | "max_tokens" => ModelStop::MaxTokens,
            // Servers give either word with and without calls; what is there decides.
            "stop" | "tool_calls" | "function_call" if self.calls.len() > 0 => ModelStop::ToolUse,
            "stop" | "tool_calls" | "function_call" => ModelStop::EndTurn,
            other => ModelStop::Other { reason: bounded(other, WORD_CHARS) },
        };
        let cut = stop == ModelStop::MaxTokens;
        let text = self.text.filter(|text| !text.text.trim().is_empty());
        // Reasoning that the limit cut is nothing to go on from.
        let reasoning = self.reasoning.filter(|_| !cut || text.is_some() || self.calls.len() > 0);
        let mut blocks: Vec<ResponseBlock> = reasoning.map(|reasoning| reasoning.finish(self.mark.clone())).into_iter().collect();
        blocks.extend(text.map(|Text { event_id, text, .. }| {
            let raw = json!({"type": "text", "text": text});
            ResponseBlock { event_id, kind: BlockKind::Text { text }, raw }
        }));
        blocks.extend(self.calls.finish(cut, &self.mark));
        let model = self.model.unwrap_or_else(|| asked_model.to_owned());
        Ok(ModelResponse { blocks, stop, usage: self.usage, model })
    }

    /// Takes a chunk of a stream or a whole completion: they differ in where the message is.
    fn read_chunk(&mut self, chunk: &Value, events: Events<'_>) -> Result<(), ModelError> {
        let choices = chunk["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
        let choice = choices.iter().find(|choice| choice["index"].as_u64().unwrap_or(0) == 0).unwrap_or(&Value::Null);
        let usage = [&chunk["usage"], &choice["usage"], &chunk["x_groq"]["usage"]].into_iter().find(|usage| usage.is_object());
        if let Some(usage) = usage {
            self.usage = counts(usage);
        }
        if is_error(chunk) {
            return Err(from_stream_error(chunk));
        }
        if is_error(choice) {
            return Err(from_stream_error(choice));
        }
        if let Some(model) = chunk["model"].as_str().filter(|model| !model.is_empty()) {
            self.model = Some(bounded(model, WORD_CHARS));
        }
        // Behind deltas a message could only repeat them.
        let has_begun = self.text.is_some() || self.announced > 0;
        if choice["delta"].is_object() {
            self.read_part(&choice["delta"], events)?;
        } else if !has_begun {
            self.read_part(&choice["message"], events)?;
        }
        match choice["finish_reason"].as_str().unwrap_or_default() {
            "" => {}
            "error" => {
                let native = choice["native_finish_reason"].as_str().unwrap_or("error");
                let message = format!("the model provider broke off its answer ({native})");
                return Err(failure(ModelErrorKind::Unavailable, &message));
            }
            reason => self.finish = Some(bounded(reason, WORD_CHARS)),
        }
        Ok(())
    }

    fn read_part(&mut self, part: &Value, events: Events<'_>) -> Result<(), ModelError> {
        self.add_reasoning(Piece::of(part), events);
        match &part["content"] {
            Value::String(text) => self.add_text(text, events),
            // Mistral's servers give a list once a model reasons.
            Value::Array(pieces) => {
                for piece in pieces {
                    self.add_text(piece["text"].as_str().unwrap_or_default(), events);
                    for thought in piece["thinking"].as_array().into_iter().flatten() {
                        self.add_reasoning(Piece::of_content(thought["text"].as_str().unwrap_or_default()), events);
                    }
                }
            }
            _ => {}
        }
        if let Some(refusal) = part["refusal"].as_str() {
            self.refusal.push_str(refusal);
            self.add_text(refusal, events);
        }
        for entry in part["tool_calls"].as_array().into_iter().flatten() {
            self.add_call(entry, events)?;
        }
        if part["function_call"].is_object() {
            self.add_call(&json!({"function": part["function_call"]}), events)?;
        }
        Ok(())
    }

    fn add_reasoning(&mut self, piece: Option<Piece>, events: Events<'_>) {
        let Some(piece) = piece else { return };
        if self.reasoning.is_none() {
            let event_id = EventId::mint(&mut self.ids);
            self.announce(&event_id, PreviewKind::Thinking, events);
            self.reasoning = Some(Reasoning::new(event_id));
        }
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.add(piece);
        }
    }

    fn add_text(&mut self, more: &str, events: Events<'_>) {
        if more.is_empty() {
            return;
        }
        let mut text =
            self.text.take().unwrap_or_else(|| Text { event_id: EventId::mint(&mut self.ids), text: String::new(), announced: false });
        text.text.push_str(more);
        if text.announced {
            events(ModelEvent::TextDelta { event_id: text.event_id.clone(), text: more.to_owned() });
        } else if !more.trim().is_empty() {
            text.announced = true;
            self.announce(&text.event_id, PreviewKind::Text, events);
            events(ModelEvent::TextDelta { event_id: text.event_id.clone(), text: text.text.clone() });
        }
        self.text = Some(text);
    }

    fn add_call(&mut self, entry: &Value, events: Events<'_>) -> Result<(), ModelError> {
        let Self { calls, ids, .. } = self;
        let mut begun = None;
        calls.read(entry, || begun.insert(EventId::mint(ids)).clone());
        if let Some(event_id) = begun {
            self.announce(&event_id, PreviewKind::Other, events);
            events(ModelEvent::CallNamed { name: entry["function"]["name"].as_str().unwrap_or_default().to_owned() });
        }
        if self.calls.len() > BLOCKS_PER_ANSWER { Err(nonsense("it has too many calls")) } else { Ok(()) }
    }

    fn announce(&mut self, event_id: &EventId, kind: PreviewKind, events: Events<'_>) {
        events(ModelEvent::BlockStarted { event_id: event_id.clone(), kind, index: self.announced });
        self.announced += 1;
    }
}

/// Whether a chunk or a choice is an error, in any of the shapes that servers give it.
fn is_error(value: &Value) -> bool {
    let error = &value["error"];
    let is_bare = value.get("choices").is_none() && value["message"].is_string();
    error.is_object() || error.as_str().is_some_and(|text| !text.is_empty()) || is_bare
}

fn nonsense(why: &str) -> ModelError {
    failure(ModelErrorKind::Protocol, &format!("the model's answer makes no sense: {why}"))
}
