//! The OpenAI Chat Completions dialect, as OpenAI and the many servers speak it that copied it:
//! OpenRouter, LiteLLM, vLLM, Ollama, llama.cpp. What is sent is in `request`, `messages` and
//! `content`, what servers refuse of it in `options`, reading in `answer`, `calls`, `reasoning` and
//! `usage`. It knows no server by name beyond the defaults of [`OpenAiOptions`]; it takes what any
//! of them sends.

mod answer;
mod calls;
mod content;
mod messages;
mod options;
mod reasoning;
mod request;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ostler_core::ids::IdSource;
use ostler_core::model::{ModelError, ModelRequest, ModelResponse};
use tokio_util::sync::CancellationToken;

use self::answer::Answer;
use self::options::Adaptation;
pub use self::options::{LimitField, OpenAiOptions};
use crate::exchange::{AnswerTimeouts, Exchange, Failed, ReadAnswer, headers, within_limits};
use crate::limits::ADAPTED_MODELS;
use crate::origin::Origin;
use crate::transport::{ModelTransport, ProviderRequest};
use crate::{Model, ModelEvent};

/// What marks of blocks call this dialect.
const DIALECT: &str = "chat_completions";

/// A model behind the Chat Completions API.
#[derive(Debug, Clone)]
pub struct OpenAi {
    transport: Arc<dyn ModelTransport>,
    provider: String,
    options: OpenAiOptions,
    timeouts: AnswerTimeouts,
    /// What models of this provider turned out to refuse.
    adaptations: Arc<Mutex<HashMap<String, Adaptation>>>,
}

impl OpenAi {
    /// Asks the provider of this name through `transport`, with the default time limits.
    pub fn new(transport: Arc<dyn ModelTransport>, provider: impl Into<String>, options: OpenAiOptions) -> Self {
        Self { transport, provider: provider.into(), options, timeouts: AnswerTimeouts::default(), adaptations: Arc::default() }
    }

    /// The same with other time limits.
    #[must_use]
    pub fn with_timeouts(self, timeouts: AnswerTimeouts) -> Self {
        Self { timeouts, ..self }
    }

    fn adaptation(&self, model: &str) -> Adaptation {
        self.adaptations.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied().unwrap_or_default()
    }

    fn remember(&self, model: &str, adaptation: Adaptation) {
        if adaptation == self.adaptation(model) {
            return;
        }
        let mut known = self.adaptations.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADAPTED_MODELS {
            // Learnt again at the price of one refused request each.
            known.clear();
        }
        known.insert(model.to_owned(), adaptation);
    }

    /// Asks until the server refuses no more optional fields. Each refusal takes away one of few
    /// fields for good, so this ends. What was learnt is kept once it has helped.
    async fn ask(
        &self,
        request: &ModelRequest,
        origin: Origin<'_>,
        exchange: &mut Exchange<'_>,
        answer: &mut Answer,
        events: &mut (dyn FnMut(ModelEvent) + Send),
    ) -> Result<(), ModelError> {
        let mut adaptation = self.adaptation(&request.model);
        loop {
            let encoded = request::encode(request, origin, self.options, adaptation);
            answer.avoid_ids(encoded.call_ids);
            let sent = ProviderRequest { path: "/v1/chat/completions", headers: headers(), body: Some(encoded.body) };
            match exchange.run(sent, answer, events).await {
                Ok(()) => {
                    self.remember(&request.model, adaptation);
                    return Ok(());
                }
                Err(Failed::Refused(refusal)) if adaptation.learn(&refusal, &encoded.optional) => {}
                Err(failed) => return Err(failed.into_error()),
            }
        }
    }
}

#[async_trait]
impl Model for OpenAi {
    async fn answer(
        &self,
        request: ModelRequest,
        ids: IdSource,
        events: &mut (dyn FnMut(ModelEvent) + Send),
        cancel: CancellationToken,
    ) -> Result<ModelResponse, ModelError> {
        let origin = Origin { dialect: DIALECT, provider: &self.provider, model: &request.model };
        let mut answer = Answer::new(ids, origin);
        let mut exchange = Exchange::new(&*self.transport, &self.provider, self.timeouts);
        let ended = within_limits(self.timeouts, &cancel, self.ask(&request, origin, &mut exchange, &mut answer, events)).await;
        let usage = answer.usage();
        ended.and_then(|()| answer.finish(&request.model)).map_err(|error| exchange.costed(error, usage))
    }

    async fn models(&self) -> Result<Vec<String>, ModelError> {
        Exchange::new(&*self.transport, &self.provider, self.timeouts).list("/v1/models", headers()).await
    }
}
