//! The transport of `rmcp` over the socket of egress, without streams that a server could keep open, or have opened again and again, with
//! nothing under way: nothing is offered to servers that they could ask for there. An answer whose stream breaks is not waited for again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use ostler_core::egress::calls::CALL;
use ostler_core::ids::EventId;
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::UnixSocketHttpClient;
use rmcp::transport::streamable_http_client::{SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};
use sse_stream::Sse;

type Headers = HashMap<HeaderName, HeaderValue>;
type Failed = StreamableHttpError<<UnixSocketHttpClient as StreamableHttpClient>::Error>;

/// The call that a connection is used for, which has one at a time.
pub(crate) type Current = Arc<Mutex<Option<EventId>>>;

/// Requests are made for a call for as long as this lives.
pub(crate) struct Named<'a>(&'a Current);

impl<'a> Named<'a> {
    pub(crate) fn new(current: &'a Current, call: &EventId) -> Self {
        *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
        Self(current)
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The way to egress.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) client: UnixSocketHttpClient,
    pub(crate) current: Current,
}

impl Way {
    /// Has egress know for which call a request is made.
    fn named(&self, mut headers: Headers) -> Headers {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let value = current.as_ref().and_then(|call| HeaderValue::from_str(call.as_str()).ok());
        headers.extend(value.map(|value| (HeaderName::from_static(CALL), value)));
        headers
    }
}

impl StreamableHttpClient for Way {
    type Error = <UnixSocketHttpClient as StreamableHttpClient>::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        self.client.post_message(uri, message, session, token, self.named(headers)).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        self.client.post_message_with_max_sse_event_size(uri, message, session, token, self.named(headers), most).await
    }

    async fn delete_session(&self, uri: Arc<str>, session: Arc<str>, token: Option<String>, headers: Headers) -> Result<(), Failed> {
        self.client.delete_session(uri, session, token, headers).await
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        _: Option<Arc<str>>,
        _: Option<String>,
        _: Option<String>,
        _: Headers,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}
