//! Model providers: how a neutral request becomes a provider's, how its answer is read while it
//! arrives, and what its failures mean. It does not retry, keep a conversation or know a session;
//! `ostler-runtime` decides when to ask again, with the delays of [`retry`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

pub mod anthropic;
pub mod catalog;
pub mod demo;
mod exchange;
pub mod failure;
mod frames;
mod gate;
pub mod http_transport;
pub mod limits;
mod listing;
mod models;
mod nesting;
pub mod openai;
mod origin;
mod portable;
pub mod prices;
pub mod retry;
#[cfg(test)]
mod test_egress;
#[cfg(test)]
mod test_transport;
pub mod transport;

use std::fmt::Debug;

use async_trait::async_trait;
use ostler_core::ids::{EventId, IdSource};
use ostler_core::model::{ModelError, ModelRequest, ModelResponse};
use tokio_util::sync::CancellationToken;

pub use anthropic::Anthropic;
pub use catalog::{Catalog, CatalogProvider};
pub use demo::DemoModel;
pub use exchange::AnswerTimeouts;
pub use gate::Asker;
pub use http_transport::{HttpTransport, TransportSetupError};
pub use listing::ListedModel;
pub use models::Models;
pub use openai::{LimitField, OpenAi, OpenAiOptions};
pub use ostler_core::egress::calls::ProviderKind;
pub use prices::Prices;
pub use transport::{ModelTransport, ProviderRequest, ProviderResponse, TransportError};

/// What a block that begins will be, as far as previews care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewKind {
    /// Text for the user.
    Text,
    /// Reasoning; its content is never previewed.
    Thinking,
    /// Anything else, tool calls included.
    Other,
}

/// What is told of an answer while it arrives. A preview promises nothing: a later attempt starts
/// over with other ids, and a block that turns out empty or unusable is missing from the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelEvent {
    /// A block began. A text block is announced with its first visible character.
    BlockStarted {
        /// The id that the finished block's event will have.
        event_id: EventId,
        /// What it will be.
        kind: PreviewKind,
        /// The provider's index of the block in the answer.
        index: usize,
    },
    /// More text of a block that was announced as [`PreviewKind::Text`].
    TextDelta {
        /// The block.
        event_id: EventId,
        /// What to append.
        text: String,
    },
    /// A tool call began. What it says is not there yet.
    CallNamed {
        /// The tool.
        name: String,
    },
    /// Bytes arrived: the provider is alive.
    Progress,
}

/// A model that answers requests.
#[async_trait]
pub trait Model: Send + Sync + Debug {
    /// Runs one request to its end. `events` is called in order as the answer arrives.
    ///
    /// # Errors
    /// A classified failure; [`ModelErrorKind::Cancelled`](ostler_core::model::ModelErrorKind::Cancelled)
    /// as soon as `cancel` fires, after the connection is dropped. Never half an answer.
    async fn answer(
        &self,
        request: ModelRequest,
        ids: IdSource,
        events: &mut (dyn FnMut(ModelEvent) + Send),
        cancel: CancellationToken,
    ) -> Result<ModelResponse, ModelError>;

    /// The models that the provider says it serves; empty where it cannot be asked.
    ///
    /// # Errors
    /// A classified failure when the provider does not answer.
    async fn models(&self) -> Result<Vec<String>, ModelError> {
        Ok(Vec::new())
    }
}
