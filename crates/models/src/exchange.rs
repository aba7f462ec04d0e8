//! One request and its answer over a transport, whatever the dialect: the time limits, the reading
//! of bodies, giving up. What the bytes mean is the dialect's [`ReadAnswer`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use ostler_core::model::{ModelError, ModelErrorKind, TokenUsage};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::ModelEvent;
use crate::failure::{failure, from_status, from_transport};
use crate::frames::FrameDecoder;
use crate::limits::{ANSWER_BYTES, DRAIN_TIMEOUT, ERROR_BODY_BYTES, IDLE_TIMEOUT, TOTAL_TIMEOUT, TRAILER_TIMEOUT};
use crate::listing;
use crate::transport::{ModelTransport, ProviderRequest, ProviderResponse, TransportError};

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

/// A dialect's answer while it arrives.
pub(crate) trait ReadAnswer: Send {
    /// Takes the data of one event of a stream.
    fn read_event(&mut self, data: &str, events: &mut dyn FnMut(ModelEvent)) -> Result<(), ModelError>;
    /// Takes a whole answer, as providers send it where they do not stream.
    fn read_message(&mut self, body: &[u8], events: &mut dyn FnMut(ModelEvent)) -> Result<(), ModelError>;
    /// Whether the provider said that this is all.
    fn is_ended(&self) -> bool;
    /// Whether nothing of the answer is missing, though counts may still follow.
    fn is_whole(&self) -> bool;
    /// What the answer cost, as far as the provider said.
    fn usage(&self) -> TokenUsage;
}

/// An HTTP status other than success, with the start of its body.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    Refused(Refusal),
    Error(ModelError),
}

impl From<ModelError> for Failed {
    fn from(error: ModelError) -> Self {
        Self::Error(error)
    }
}

impl Failed {
    pub(crate) fn into_error(self) -> ModelError {
        match self {
            Self::Error(error) => error,
            Self::Refused(Refusal { status, headers, body }) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                from_status(status, &headers, &body, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

/// Headers of every dialect.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("ostler/", env!("CARGO_PKG_VERSION"))));
    headers
}

/// Does `work` until it ends, the total time is over, or `cancel` fires. Whichever it is, the work
/// and its connection are dropped.
pub(crate) async fn within_limits<T>(
    timeouts: AnswerTimeouts,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, ModelError>>,
) -> Result<T, ModelError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(failure(ModelErrorKind::Cancelled, "the model request was cancelled")),
        ended = timeout(timeouts.total, work) => ended.unwrap_or_else(|_| {
            let seconds = timeouts.total.as_secs();
            Err(failure(ModelErrorKind::Unavailable, &format!("the model's answer took longer than {seconds} seconds")))
        }),
    }
}

/// Requests to one provider.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    transport: &'a dyn ModelTransport,
    provider: &'a str,
    idle: Duration,
    begun: bool,
    /// Whether the provider may have counted something: it has the request and did not refuse it.
    may_cost: bool,
    /// Whether it said anything of an answer.
    said: bool,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(transport: &'a dyn ModelTransport, provider: &'a str, timeouts: AnswerTimeouts) -> Self {
        Self { transport, provider, idle: timeouts.idle, begun: false, may_cost: false, said: false }
    }

    /// Sends the request and reads the answer into `answer`.
    pub(crate) async fn run(
        &mut self,
        request: ProviderRequest,
        answer: &mut impl ReadAnswer,
        events: &mut (dyn FnMut(ModelEvent) + Send),
    ) -> Result<(), Failed> {
        self.may_cost = true;
        let mut response =
            timeout(self.idle, self.transport.send(self.provider, request)).await.map_err(|_| self.stalled())?.map_err(|error| {
                self.may_cost = matches!(error, TransportError::Broken { .. });
                from_transport(&error)
            })?;
        events(ModelEvent::Progress);
        if !(200..300).contains(&response.status) {
            // A gateway that gave up waiting says nothing of what its model did.
            self.may_cost = matches!(response.status, 408 | 504 | 524);
            return Err(Failed::Refused(self.refused(response).await));
        }
        self.begun = true;
        match media_type(&response.headers).as_str() {
            "application/json" => {
                let body = self.whole_body(&mut response, events).await?;
                Ok(answer.read_message(&body, events)?)
            }
            // A web site answers any path with a page; asking again would not change that.
            "text/html" => Err(Failed::Error(failure(
                ModelErrorKind::Rejected,
                "the model provider answered with a web page; check the provider's base_url",
            ))),
            _ => Ok(self.stream(&mut response, answer, events).await?),
        }
    }

    /// The error with what the request cost: every failure of a request passes here. Refusals cost
    /// nothing in whatever form they come, unless a part of the answer came before.
    pub(crate) fn costed(&self, error: ModelError, usage: TokenUsage) -> ModelError {
        use ModelErrorKind as Kind;
        let refused = matches!(error.kind, Kind::Rejected | Kind::Authentication | Kind::Billing | Kind::ContextOverflow);
        ModelError { usage, billed: self.may_cost && (self.said || !refused), ..error }
    }

    /// The ids in the provider's list of models.
    pub(crate) async fn list(&self, path: &'static str, headers: HeaderMap) -> Result<Vec<String>, ModelError> {
        let request = ProviderRequest { path, headers, body: None };
        let mut response = timeout(self.idle, self.transport.send(self.provider, request))
            .await
            .map_err(|_| self.stalled())?
            .map_err(|error| from_transport(&error))?;
        if !(200..300).contains(&response.status) {
            return Err(Failed::Refused(self.refused(response).await).into_error());
        }
        let body = self.whole_body(&mut response, &mut |_| {}).await?;
        let list =
            serde_json::from_slice(&body).map_err(|_| failure(ModelErrorKind::Protocol, "the provider's list of models is no JSON"))?;
        Ok(listing::ids(&list))
    }

    async fn stream(
        &mut self,
        response: &mut ProviderResponse,
        answer: &mut impl ReadAnswer,
        events: &mut (dyn FnMut(ModelEvent) + Send),
    ) -> Result<(), ModelError> {
        let mut frames = FrameDecoder::new();
        let mut total = 0_usize;
        let mut whole_since = None;
        while let Some(chunk) = self.next_part(response, whole_since).await? {
            events(ModelEvent::Progress);
            total = total.saturating_add(chunk.len());
            if total > ANSWER_BYTES {
                return Err(failure(ModelErrorKind::Protocol, "the model's answer is larger than this server reads"));
            }
            for data in frames.push(chunk)? {
                let mut tell = |event: ModelEvent| {
                    self.said |= event != ModelEvent::Progress;
                    events(event);
                };
                answer.read_event(&data, &mut tell)?;
            }
            if answer.is_ended() {
                // The pool can reuse a connection only when it has seen the end of the body.
                let _ = timeout(DRAIN_TIMEOUT, response.body.next()).await;
                return Ok(());
            }
            if answer.is_whole() {
                whole_since.get_or_insert_with(Instant::now);
            }
        }
        if answer.is_whole() {
            return Ok(());
        }
        Err(failure(ModelErrorKind::Unavailable, "the model's answer was cut before its end"))
    }

    /// The next bytes of a stream. What follows a whole answer is welcome but not waited for long,
    /// and its loss is none of the answer.
    async fn next_part(&self, response: &mut ProviderResponse, whole_since: Option<Instant>) -> Result<Option<Bytes>, ModelError> {
        let Some(since) = whole_since else { return self.next_chunk(response).await };
        match timeout_at(since + TRAILER_TIMEOUT.min(self.idle), response.body.next()).await {
            Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
            _ => Ok(None),
        }
    }

    async fn next_chunk(&self, response: &mut ProviderResponse) -> Result<Option<Bytes>, ModelError> {
        match timeout(self.idle, response.body.next()).await {
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
    async fn refused(&self, mut response: ProviderResponse) -> Refusal {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.next_chunk(&mut response).await {
            body.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY_BYTES - body.len())]);
            if body.len() >= ERROR_BODY_BYTES {
                break;
            }
        }
        Refusal { status: response.status, headers: response.headers, body }
    }

    fn stalled(&self) -> ModelError {
        let what = if self.begun { "sent nothing" } else { "did not begin to answer" };
        failure(ModelErrorKind::Unavailable, &format!("the model provider {what} for {} seconds", self.idle.as_secs()))
    }
}

/// The media type without its parameters, in lower case; empty where none is given.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_transport::Canned;
    use ostler_core::ids::IdSource;
    use ostler_core::model::ModelRequest;
    use std::sync::Arc;

    use crate::{Anthropic, Model};

    fn request() -> ModelRequest {
        ModelRequest { model: "m".into(), system: Vec::new(), tools: Arc::from([]), messages: Arc::default(), max_tokens: 9, effort: None }
    }

    /// Whether a failure like this may have cost something.
    async fn billed(canned: Canned) -> bool {
        let adapter = Anthropic::new(Arc::new(canned), "p");
        let answer = adapter.answer(request(), IdSource::new(1, 1), &mut |_| {}, CancellationToken::new()).await;
        answer.unwrap_err().billed
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_provider_refuses_costs_nothing_and_what_it_may_have_begun_does() {
        for status in [400, 401, 429, 500, 529] {
            assert!(!billed(Canned::new(status, "application/json", "{}")).await, "{status}");
        }
        assert!(billed(Canned::new(504, "text/html", "gateway timeout")).await);
        assert!(!billed(Canned::new(200, "text/html", "<html>")).await, "no model answers with a page");
        let refusal = "event: error\ndata: {\"type\": \"error\", \"error\": {\"type\": \"invalid_request_error\", \"message\": \"prompt is too long\"}}\n\n";
        assert!(!billed(Canned::new(200, "text/event-stream", refusal)).await, "refused before it said anything");
        let said = "event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, \"content_block\": {\"type\": \"text\", \"text\": \"a part\"}}\n\n";
        let start = "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"id\": \"m\", \"type\": \"message\", \"role\": \"assistant\", \"model\": \"m\", \"content\": [], \"usage\": {}}}\n\n";
        assert!(billed(Canned::new(200, "text/event-stream", format!("{start}{said}{refusal}"))).await, "refused in the middle");
        assert!(billed(Canned::new(200, "text/event-stream", "event: ping\n\n")).await, "cut");
        let mut stalled = Canned::new(200, "text/event-stream", "");
        stalled.hangs = true;
        assert!(billed(stalled).await);
        let mut broken = Canned::new(200, "text/event-stream", "");
        broken.chunks = vec![Err(TransportError::Broken { provider: "p".into(), reason: "reset".into() })];
        assert!(billed(broken).await);
    }

    #[tokio::test]
    async fn a_request_that_never_left_costs_nothing() {
        #[derive(Debug)]
        struct Fails(TransportError);
        #[async_trait::async_trait]
        impl ModelTransport for Fails {
            async fn send(&self, _: &str, _: ProviderRequest) -> Result<ProviderResponse, TransportError> {
                Err(self.0.clone())
            }
        }
        let connect = TransportError::Connect { provider: "p".into(), reason: "refused".into() };
        let broken = TransportError::Broken { provider: "p".into(), reason: "reset".into() };
        for (error, expected) in [(connect, false), (broken, true)] {
            let adapter = Anthropic::new(Arc::new(Fails(error)), "p");
            let answer = adapter.answer(request(), IdSource::new(1, 1), &mut |_| {}, CancellationToken::new()).await;
            assert_eq!(answer.unwrap_err().billed, expected);
        }
    }

    #[tokio::test]
    async fn a_providers_list_of_models_is_read_or_its_failure_said() {
        let list = r#"{"object": "list", "data": [{"id": "a", "object": "model"}, {"id": ""}, {}, {"id": "b"}]}"#;
        let ids = Anthropic::new(Arc::new(Canned::new(200, "application/json", list)), "p").models().await;
        assert_eq!(ids.unwrap(), ["a", "b"]);
        let refused = Anthropic::new(Arc::new(Canned::new(401, "application/json", "{}")), "p").models().await;
        assert_eq!(refused.unwrap_err().kind, ModelErrorKind::Authentication);
    }
}
