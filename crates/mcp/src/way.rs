//! The transport of `rmcp` over the socket of egress, without streams that a server could keep open, or have opened again and again, with
//! nothing under way: nothing is offered to servers that they could ask for there. An answer whose stream breaks is not waited for again.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::UnixSocketHttpClient;
use rmcp::transport::streamable_http_client::{SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};
use sse_stream::Sse;

type Headers = HashMap<HeaderName, HeaderValue>;
type Failed = StreamableHttpError<<UnixSocketHttpClient as StreamableHttpClient>::Error>;

/// The way to egress.
#[derive(Debug, Clone)]
pub(crate) struct Way(pub(crate) UnixSocketHttpClient);

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
        self.0.post_message(uri, message, session, token, headers).await
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
        self.0.post_message_with_max_sse_event_size(uri, message, session, token, headers, most).await
    }

    async fn delete_session(&self, uri: Arc<str>, session: Arc<str>, token: Option<String>, headers: Headers) -> Result<(), Failed> {
        self.0.delete_session(uri, session, token, headers).await
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
