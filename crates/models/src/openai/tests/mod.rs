//! The dialect against golden files and the scripted server. The answers in `golden/` are written
//! after what the named servers send.

mod adapter;
mod answers;
mod over_http;
mod requests;
mod switching;

use ostler_core::model::{Fragment, ModelRequest};
use serde_json::{Value, json};

use super::DIALECT;
use crate::origin::Origin;

const TARGET: Origin<'_> = Origin { dialect: DIALECT, provider: "main", model: "model-x" };

fn plain(messages: &[Value]) -> ModelRequest {
    ModelRequest {
        model: TARGET.model.to_owned(),
        system: Vec::new(),
        tools: std::sync::Arc::from([]),
        messages: messages.iter().map(|message| Fragment::new(message.to_string())).collect::<Vec<_>>().into(),
        max_tokens: 1_000,
        effort: None,
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}
