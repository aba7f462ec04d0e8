//! The Anthropic Messages dialect: sends a request, reads the stream or the whole message that
//! comes back, within time limits. Mapping is in `request`, reading in `frames`, `answer`, `block`.

mod answer;
mod block;
mod frames;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use ostler_core::ids::IdSource;
use ostler_core::model::{ModelError, ModelErrorKind, ModelRequest, ModelResponse};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::answer::Answer;
use self::frames::FrameDecoder;
use crate::failure::{failure, from_status, from_transport};
use crate::limits::{ANSWER_BYTES, DRAIN_TIMEOUT, ERROR_BODY_BYTES, IDLE_TIMEOUT, TOTAL_TIMEOUT};
use crate::transport::{ModelTransport, ProviderRequest, ProviderResponse};
use crate::{Model, ModelEvent};

/// The version of the wire format this adapter speaks.
const WIRE_VERSION: &str = "2023-06-01";

/// How long one answer may take.
#[derive(Debug, Clone, Copy)]
pub struct AnswerTimeouts {
    /// To the first byte, and between any two.
    pub idle: Duration,
    /// From start to end.
    pub total: Duration,
}

impl Default for AnswerTimeouts {
    fn default() -> Self {
        Self { idle: IDLE_TIMEOUT, total: TOTAL_TIMEOUT }
    }
}

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

    /// Sends the request and reads the answer into `answer`.
    async fn exchange(
        &self,
        request: &ModelRequest,
        answer: &mut Answer,
        events: &mut (dyn FnMut(ModelEvent) + Send),
    ) -> Result<(), ModelError> {
        let request = ProviderRequest { path: "/v1/messages", headers: headers(), body: request::encode(request) };
        let mut response = timeout(self.timeouts.idle, self.transport.send(&self.provider, request))
            .await
            .map_err(|_| self.stalled())?
            .map_err(|error| from_transport(&error))?;
        events(ModelEvent::Progress);
        if !(200..300).contains(&response.status) {
            return Err(self.refused(&mut response).await);
        }
        match media_type(&response.headers).as_str() {
            "application/json" => {
                let body = self.whole_body(&mut response, events).await?;
                answer.read_message(&body, events)
            }
            // A web site answers any path with a page; asking again would not change that.
            "text/html" => {
                Err(failure(ModelErrorKind::Rejected, "the model provider answered with a web page; check the provider's base_url"))
            }
            _ => self.stream(&mut response, answer, events).await,
        }
    }

    async fn stream(
        &self,
        response: &mut ProviderResponse,
        answer: &mut Answer,
        events: &mut (dyn FnMut(ModelEvent) + Send),
    ) -> Result<(), ModelError> {
        let mut frames = FrameDecoder::new();
        let mut total = 0_usize;
        while let Some(chunk) = self.next_chunk(response).await? {
            events(ModelEvent::Progress);
            total = total.saturating_add(chunk.len());
            if total > ANSWER_BYTES {
                return Err(failure(ModelErrorKind::Protocol, "the model's answer is larger than this server reads"));
            }
            for data in frames.push(chunk)? {
                answer.read_event(&data, events)?;
            }
            if answer.is_ended() {
                // The pool can reuse a connection only when it has seen the end of the body.
                let _ = timeout(DRAIN_TIMEOUT, response.body.next()).await;
                return Ok(());
            }
        }
        Err(failure(ModelErrorKind::Unavailable, "the model's answer was cut before its end"))
    }

    async fn next_chunk(&self, response: &mut ProviderResponse) -> Result<Option<Bytes>, ModelError> {
        match timeout(self.timeouts.idle, response.body.next()).await {
            Err(_) => Err(self.stalled()),
            Ok(None) => Ok(None),
            Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
            Ok(Some(Err(error))) => Err(from_transport(&error)),
        }
    }

    async fn whole_body(&self, response: &mut ProviderResponse, events: &mut (dyn FnMut(ModelEvent) + Send)) -> Result<Bytes, ModelError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.next_chunk(response).await? {
            events(ModelEvent::Progress);
            if body.len() + chunk.len() > ANSWER_BYTES {
                return Err(failure(ModelErrorKind::Protocol, "the model's answer is larger than this server reads"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads as much of the error as arrives; what is missing of it changes nothing.
    async fn refused(&self, response: &mut ProviderResponse) -> ModelError {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.next_chunk(response).await {
            body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES - body.len())]);
            if body.len() >= ERROR_BODY_BYTES {
                break;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        from_status(response.status, &response.headers, &body, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    fn stalled(&self) -> ModelError {
        let seconds = self.timeouts.idle.as_secs();
        failure(ModelErrorKind::Unavailable, &format!("the model provider sent nothing for {seconds} seconds"))
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
        let mut answer = Answer::new(ids);
        // Whichever branch ends the select, the exchange and its connection are dropped with it.
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(failure(ModelErrorKind::Cancelled, "the model request was cancelled")),
            ended = timeout(self.timeouts.total, self.exchange(&request, &mut answer, events)) => ended.unwrap_or_else(|_| {
                let seconds = self.timeouts.total.as_secs();
                Err(failure(ModelErrorKind::Unavailable, &format!("the model's answer took longer than {seconds} seconds")))
            }),
        };
        let usage = answer.usage();
        ended.and_then(|()| answer.finish(&request.model)).map_err(|error| ModelError { usage, ..error })
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert("anthropic-version", HeaderValue::from_static(WIRE_VERSION));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("ostler/", env!("CARGO_PKG_VERSION"))));
    headers
}

/// The media type without its parameters, in lower case; empty where none is given.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
