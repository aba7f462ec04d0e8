//! A tool call as it crosses the boundary to a sandbox, and what comes back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a call came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnd {
    /// The tool ran to its end (well or badly).
    Finished,
    /// Its time was over; its processes are gone.
    TimedOut,
    /// It was interrupted; its processes are gone.
    Cancelled,
    /// The sandbox ended while it ran; what it did is not known.
    OutcomeUnknown,
    /// It was never run: denied, truncated, or cancelled while it waited.
    NotRun,
}

/// The settled result of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallOutcome {
    /// Content blocks in wire shape: text, image and document blocks.
    pub content: Vec<Value>,
    /// Whether the tool failed.
    pub is_error: bool,
    /// How it ended.
    pub end: CallEnd,
}

impl CallOutcome {
    /// A result of one text block.
    pub fn text(text: impl Into<String>, is_error: bool, end: CallEnd) -> Self {
        Self { content: vec![serde_json::json!({"type": "text", "text": text.into()})], is_error, end }
    }
}
