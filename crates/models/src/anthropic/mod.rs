//! The Anthropic Messages dialect. Mapping is in `request`, what of a conversation it takes in
//! `messages`, reading in `answer` and `block`.

mod answer;
mod block;
mod messages;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue};
use ostler_core::ids::IdSource;
use ostler_core::model::{BlockKind, ModelError, ModelRequest, ModelResponse};
use tokio_util::sync::CancellationToken;

use self::answer::Answer;
use crate::exchange::{AnswerTimeouts, Exchange, Failed, ReadAnswer, headers, within_limits};
use crate::origin::Origin;
use crate::transport::{ModelTransport, ProviderRequest};
use crate::{Model, ModelEvent};

/// The version of the wire format this adapter speaks.
const WIRE_VERSION: &str = "2023-06-01";
/// What marks of blocks call this dialect.
const DIALECT: &str = "anthropic_messages";

/// A model behind the Anthropic Messages API.
#[derive(Debug, Clone)]
pub struct Anthropic {
    transport: Arc<dyn ModelTransport>,
    provider: String,
    timeouts: AnswerTimeouts,
}

impl Anthropic {
    /// Asks the provider of this name through `transport`, with the default time limits.
    pub fn new(transport: Arc<dyn ModelTransport>, provider: impl Into<String>) -> Self {
        Self { transport, provider: provider.into(), timeouts: AnswerTimeouts::default() }
    }

    /// The same with other time limits.
    #[must_use]
    pub fn with_timeouts(self, timeouts: AnswerTimeouts) -> Self {
        Self { timeouts, ..self }
    }
}

#[async_trait]
impl Model for Anthropic {
    async fn answer(
        &self,
        request: ModelRequest,
        ids: IdSource,
        events: &mut (dyn FnMut(ModelEvent) + Send),
        cancel: CancellationToken,
    ) -> Result<ModelResponse, ModelError> {
        let model = request.model.clone();
        let origin = Origin { dialect: DIALECT, provider: &self.provider, model: &model };
        let sent = ProviderRequest { path: "/v1/messages", headers: versioned(), body: Some(request::encode(&request, origin)) };
        // Its share in the conversation ends here, so that the session need not copy it.
        drop(request);
        let mut answer = Answer::new(ids);
        let mut exchange = Exchange::new(&*self.transport, &self.provider, self.timeouts);
        let asked = async { exchange.run(sent, &mut answer, events).await.map_err(Failed::into_error) };
        let ended = within_limits(self.timeouts, &cancel, asked).await;
        let usage = answer.usage();
        let whole = ended.and_then(|()| answer.finish(&model));
        whole.map(|response| marked(response, origin)).map_err(|error| exchange.costed(error, usage))
    }

    async fn models(&self) -> Result<Vec<String>, ModelError> {
        Exchange::new(&*self.transport, &self.provider, self.timeouts).list("/v1/models?limit=1000", versioned()).await
    }
}

fn versioned() -> HeaderMap {
    let mut headers = headers();
    headers.insert("anthropic-version", HeaderValue::from_static(WIRE_VERSION));
    headers
}

/// The answer with a mark on each block that only its maker takes back.
fn marked(mut response: ModelResponse, origin: Origin<'_>) -> ModelResponse {
    for block in &mut response.blocks {
        if matches!(block.kind, BlockKind::Thinking | BlockKind::RedactedThinking | BlockKind::Other) {
            origin.put_on(&mut block.raw);
        }
    }
    response
}
