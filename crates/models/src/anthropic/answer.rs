//! The events of a stream, or a whole message, into an answer. Pure but for the previews it
//! announces; it reads no bytes and knows no time.

use ostler_core::ids::{EventId, IdSource};
use ostler_core::model::{ModelError, ModelErrorKind, ModelResponse, ModelStop, TokenUsage};
use serde_json::{Map, Value};

use super::block::Block;
use crate::ModelEvent;
use crate::exchange::ReadAnswer;
use crate::failure::{bounded, failure, from_stream_error};
use crate::limits::{BLOCKS_PER_ANSWER, MESSAGE_CHARS, WORD_CHARS};

/// An answer while it arrives.
#[derive(Debug)]
pub(super) struct Answer {
    ids: IdSource,
    model: Option<String>,
    blocks: Vec<Block>,
    stop: Option<ModelStop>,
    usage: TokenUsage,
    ended: bool,
}

impl Answer {
    pub(super) fn new(ids: IdSource) -> Self {
        Self { ids, model: None, blocks: Vec::new(), stop: None, usage: TokenUsage::default(), ended: false }
    }

    /// The answer, once it has ended.
    pub(super) fn finish(self, asked_model: &str) -> Result<ModelResponse, ModelError> {
        if !self.ended {
            return Err(failure(ModelErrorKind::Unavailable, "the model's answer was cut before its end"));
        }
        let stop = self.stop.ok_or_else(|| nonsense("it gives no reason why it ended"))?;
        let was_cut = match &stop {
            ModelStop::MaxTokens => true,
            ModelStop::Other { reason } => reason == "model_context_window_exceeded",
            _ => false,
        };
        let last = self.blocks.len();
        let blocks = self.blocks.into_iter().enumerate();
        let blocks = blocks.filter_map(|(index, block)| block.finish(was_cut && index + 1 == last)).collect();
        let model = self.model.unwrap_or_else(|| asked_model.to_owned());
        Ok(ModelResponse { blocks, stop, usage: self.usage, model })
    }

    fn read_head(&mut self, message: &Value) {
        self.model = message["model"].as_str().map(|model| bounded(model, WORD_CHARS)).or(self.model.take());
        merge_usage(&mut self.usage, &message["usage"]);
    }

    fn read_stop(&mut self, holder: &Value) {
        let Some(reason) = holder["stop_reason"].as_str() else { return };
        let details = &holder["stop_details"];
        self.stop = Some(match reason {
            "end_turn" => ModelStop::EndTurn,
            "tool_use" => ModelStop::ToolUse,
            "max_tokens" => ModelStop::MaxTokens,
            "refusal" => ModelStop::Refusal {
                category: details["category"].as_str().map(|word| bounded(word, WORD_CHARS)),
                explanation: details["explanation"].as_str().map(|text| bounded(text, MESSAGE_CHARS)),
            },
            other => ModelStop::Other { reason: bounded(other, WORD_CHARS) },
        });
    }

    fn start_block(&mut self, index: usize, start: Map<String, Value>, events: &mut dyn FnMut(ModelEvent)) -> Result<(), ModelError> {
        if self.blocks.len() >= BLOCKS_PER_ANSWER {
            return Err(nonsense("it has too many blocks"));
        }
        if self.blocks.iter().any(|block| block.index == index) {
            return Err(nonsense("a block begins twice"));
        }
        let event_id = EventId::mint(&mut self.ids);
        self.blocks.push(Block::start(index, event_id, start, events));
        Ok(())
    }

    fn block(&mut self, event: &Value) -> Result<&mut Block, ModelError> {
        let index = index_of(event)?;
        // Deltas nearly always belong to the block that began last.
        let block = self.blocks.iter_mut().rev().find(|block| block.index == index);
        block.ok_or_else(|| nonsense("it goes on with a block that never began"))
    }
}

impl ReadAnswer for Answer {
    fn is_ended(&self) -> bool {
        self.ended
    }

    fn is_whole(&self) -> bool {
        self.ended
    }

    fn usage(&self) -> TokenUsage {
        self.usage
    }

    /// Takes one event of the stream. Kinds that this version does not know are passed over.
    fn read_event(&mut self, data: &str, events: &mut dyn FnMut(ModelEvent)) -> Result<(), ModelError> {
        if self.ended || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let mut event: Value = serde_json::from_str(data).map_err(|_| nonsense("an event is no JSON"))?;
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => self.read_head(&event["message"]),
            "content_block_start" => {
                let index = index_of(&event)?;
                let start = object(event["content_block"].take())?;
                self.start_block(index, start, events)?;
            }
            "content_block_delta" => {
                let delta = object(event["delta"].take())?;
                self.block(&event)?.add(&delta, events);
            }
            "content_block_stop" => self.block(&event)?.close(),
            "message_delta" => {
                merge_usage(&mut self.usage, &event["usage"]);
                self.read_stop(&event["delta"]);
            }
            "message_stop" => self.ended = true,
            "error" => return Err(from_stream_error(&event)),
            _ => {}
        }
        Ok(())
    }

    /// Takes a whole message, as providers send it where they do not stream.
    fn read_message(&mut self, body: &[u8], events: &mut dyn FnMut(ModelEvent)) -> Result<(), ModelError> {
        let mut message: Value = serde_json::from_slice(body).map_err(|_| nonsense("it is no JSON"))?;
        if message["type"] == "error" {
            return Err(from_stream_error(&message));
        }
        if !message.is_object() {
            return Err(nonsense("it is no object"));
        }
        self.read_head(&message);
        self.read_stop(&message);
        let Value::Array(content) = message["content"].take() else {
            return Err(nonsense("it has no content"));
        };
        for (index, block) in content.into_iter().enumerate() {
            self.start_block(index, object(block)?, events)?;
            if let Some(block) = self.blocks.last_mut() {
                block.close();
            }
        }
        self.ended = true;
        Ok(())
    }
}

fn index_of(event: &Value) -> Result<usize, ModelError> {
    let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok());
    index.ok_or_else(|| nonsense("a block has no index"))
}

fn object(value: Value) -> Result<Map<String, Value>, ModelError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(nonsense("a block is no object")),
    }
}

fn nonsense(why: &str) -> ModelError {
    failure(ModelErrorKind::Protocol, &format!("the model's answer makes no sense: {why}"))
}

/// Later counts win; a count that is missing or null changes nothing.
fn merge_usage(usage: &mut TokenUsage, said: &Value) {
    let hour = &said["cache_creation"]["ephemeral_1h_input_tokens"];
    let counts = [
        (&mut usage.input_tokens, &said["input_tokens"]),
        (&mut usage.output_tokens, &said["output_tokens"]),
        (&mut usage.cache_read_input_tokens, &said["cache_read_input_tokens"]),
        (&mut usage.cache_creation_input_tokens, &said["cache_creation_input_tokens"]),
        (&mut usage.cache_creation_1h_input_tokens, hour),
    ];
    for (count, value) in counts {
        if let Some(value) = value.as_u64() {
            *count = value;
        }
    }
}
