//! What a session says to a model and hears back, free of any provider's transport.
//!
//! Context messages have the shape of Anthropic Messages (`{"role", "content": [blocks]}`); it is
//! the richest of the dialects, so that nothing is lost when a conversation is kept in it. Other
//! dialects translate from it and to it.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::ids::EventId;

/// One serialised context message. Kept as text, so that a request is a concatenation.
#[derive(Debug, Clone)]
pub struct Fragment {
    text: Arc<str>,
    goes_as_is: OnceLock<bool>,
}

/// Equal texts are equal, whatever was found out about them.
impl PartialEq for Fragment {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Fragment {
    /// The message with this text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), goes_as_is: OnceLock::new() }
    }

    /// The JSON object.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether every Messages request can carry it as it is. Decided once, by whoever asks first:
    /// a long conversation is sent again with every request.
    pub fn goes_as_is(&self, decide: impl FnOnce(&str) -> bool) -> bool {
        *self.goes_as_is.get_or_init(|| decide(&self.text))
    }
}

/// A tool as offered to the model; cheap to clone, because every request has all of them.
#[derive(Debug, Clone)]
pub struct ToolSpec {
    /// The name the model calls.
    pub name: Arc<str>,
    /// What it does, for the model.
    pub description: Arc<str>,
    /// JSON Schema of the input, serialised.
    pub input_schema: Arc<RawValue>,
}

impl ToolSpec {
    /// The tool, with its schema serialised once for all requests.
    pub fn new(name: impl Into<Arc<str>>, description: impl Into<Arc<str>>, input_schema: &Value) -> Self {
        // A value always has a text.
        let input_schema = to_raw_value(input_schema).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { name: name.into(), description: description.into(), input_schema: input_schema.into() }
    }
}

/// How hard the model should think; passed on to providers that know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffortLevel {
    /// Least.
    Low,
    /// Between.
    Medium,
    /// The default of most models.
    High,
    /// More.
    Xhigh,
    /// Most.
    Max,
}

/// One request to a model.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The model, as the provider calls it.
    pub model: String,
    /// The system prompt's parts, in order.
    pub system: Vec<String>,
    /// The tools on offer, in a stable order (a prompt cache is keyed by its prefix).
    pub tools: Arc<[ToolSpec]>,
    /// The conversation so far, shared with the session's context.
    pub messages: Arc<Vec<Fragment>>,
    /// The most tokens the answer may have.
    pub max_tokens: u32,
    /// Only set where the agent asks for one.
    pub effort: Option<EffortLevel>,
}

/// What one block of an answer is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockKind {
    /// Text for the user.
    Text {
        /// The whole text.
        text: String,
    },
    /// The model's reasoning; never shown to clients.
    Thinking,
    /// Reasoning that the provider keeps sealed.
    RedactedThinking,
    /// A call of a tool.
    ToolCall {
        /// The provider's id of the call, echoed with its result.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments; an object. Empty when they did not parse.
        input: Value,
        /// False when the answer was cut before the arguments were complete or they are no JSON
        /// object; such a call is never run.
        complete: bool,
    },
    /// A kind this version does not know; kept and sent back as it came.
    Other,
}

/// One block of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseBlock {
    /// The id its event will have; chosen when the block began, because previews carry it.
    pub event_id: EventId,
    /// What it is.
    pub kind: BlockKind,
    /// The block in the context's shape, unknown fields and signatures included.
    pub raw: Value,
}

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelStop {
    /// It was done.
    EndTurn,
    /// It wants tools run.
    ToolUse,
    /// The answer reached its token limit.
    MaxTokens,
    /// It declined.
    Refusal {
        /// The provider's category, if it gives one.
        category: Option<String>,
        /// The provider's words, if it gives any.
        explanation: Option<String>,
    },
    /// A reason this version does not know; treated as the end of the turn.
    Other {
        /// The provider's word.
        reason: String,
    },
}

/// Token counts of one request. `input_tokens` excludes what was read from or written to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenUsage {
    /// Uncached input.
    pub input_tokens: u64,
    /// Output.
    pub output_tokens: u64,
    /// Input read from the provider's cache.
    pub cache_read_input_tokens: u64,
    /// Input written to the provider's cache.
    pub cache_creation_input_tokens: u64,
    /// The part of `cache_creation_input_tokens` kept for an hour.
    #[serde(default)]
    pub cache_creation_1h_input_tokens: u64,
}

impl TokenUsage {
    /// Whether nothing was counted.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the input was counted: no request has none.
    pub fn has_input(&self) -> bool {
        self.input_tokens > 0 || self.cache_read_input_tokens > 0 || self.cache_creation_input_tokens > 0
    }

    /// All tokens, read and written.
    pub fn total(&self) -> u64 {
        let input = self.input_tokens.saturating_add(self.cache_read_input_tokens).saturating_add(self.cache_creation_input_tokens);
        input.saturating_add(self.output_tokens)
    }

    /// Adds another request's counts.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cache_read_input_tokens = self.cache_read_input_tokens.saturating_add(other.cache_read_input_tokens);
        self.cache_creation_input_tokens = self.cache_creation_input_tokens.saturating_add(other.cache_creation_input_tokens);
        self.cache_creation_1h_input_tokens = self.cache_creation_1h_input_tokens.saturating_add(other.cache_creation_1h_input_tokens);
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResponse {
    /// The blocks in order.
    pub blocks: Vec<ResponseBlock>,
    /// Why it stopped.
    pub stop: ModelStop,
    /// What it cost in tokens.
    pub usage: TokenUsage,
    /// The model that answered, as the provider names it.
    pub model: String,
}

/// What went wrong with a request to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorKind {
    /// The provider has no capacity (529, 503, `overloaded_error`).
    Overloaded,
    /// Too many requests (429).
    RateLimited,
    /// The provider failed, or the connection did (5xx, 408, cut or stalled streams).
    Unavailable,
    /// The provider refuses the key (401, 403).
    Authentication,
    /// The provider wants money (402).
    Billing,
    /// The provider refuses the request as it is (other 4xx).
    Rejected,
    /// The conversation no longer fits the model's context window.
    ContextOverflow,
    /// The answer makes no sense to this version.
    Protocol,
    /// It was not asked, because it failed too often or asked for a pause just now.
    Suspended,
    /// We gave up on it: interrupt or shutdown.
    Cancelled,
}

impl ModelErrorKind {
    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Overloaded | Self::RateLimited | Self::Unavailable | Self::Protocol | Self::Suspended)
    }
}

/// A failed request to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What went wrong.
    pub kind: ModelErrorKind,
    /// For people; bounded, without secrets.
    pub message: String,
    /// How long the provider asks us to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What the failed request still cost, as far as the provider said.
    #[serde(default)]
    pub usage: TokenUsage,
    /// Whether the provider may charge more than `usage` says: it has the request, did not refuse it, and
    /// did not come to its end.
    #[serde(default)]
    pub billed: bool,
}
