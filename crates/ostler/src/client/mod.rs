//! A client of the HTTP API, as the command line needs it.

mod error;
mod follow;
mod pages;
mod request;
mod target;

use std::io;

use anyhow::Context;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use reqwest::Url;
use serde_json::Value;

pub(crate) use error::{ClientError, Usage, is_missing};
pub(crate) use follow::{Followed, Follower, Start, Watch};
pub(crate) use pages::{Listing, Paging};
pub(crate) use request::{Kind, Request};
pub(crate) use target::{Access, Target};

use crate::limits;

/// The API of one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    target: Target,
    server: Url,
    http: reqwest::Client,
}

/// One event of a stream or of a list.
#[derive(Debug, Clone)]
pub(crate) struct StreamEvent {
    /// Where to go on from; previews and events from lists have none.
    pub(crate) id: Option<String>,
    /// The JSON object.
    pub(crate) data: Value,
    /// Its text, as it came.
    pub(crate) text: String,
}

impl StreamEvent {
    /// The event's own id, the same in lists and streams.
    pub(crate) fn event_id(&self) -> Option<&str> {
        self.data["id"].as_str()
    }
}

/// Events as they arrive; pings are left out.
pub(crate) type Events = BoxStream<'static, anyhow::Result<StreamEvent>>;

impl Client {
    /// A client of this server; nothing is sent yet.
    pub(crate) fn new(target: Target) -> anyhow::Result<Self> {
        let server = target.server()?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(limits::CONNECT)
            .tcp_keepalive(limits::KEEPALIVE)
            // A redirect would take the key to where nobody named.
            .redirect(reqwest::redirect::Policy::none());
        if target::is_loopback(&server) {
            http = http.no_proxy();
        }
        Ok(Self { target, server, http: http.build().context("making an HTTP client")? })
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.target.access.url
    }

    /// The same caller at the place where the server is now: one that is found over its data
    /// directory may listen elsewhere after a restart.
    fn refreshed(&self) -> Self {
        self.target.again().and_then(|target| Self::new(target).ok()).unwrap_or_else(|| self.clone())
    }

    /// `GET`, as a value.
    pub(crate) async fn get(&self, request: Request) -> anyhow::Result<Value> {
        self.parsed(self.get_text(request).await?)
    }

    /// `GET`, as the text that came.
    pub(crate) async fn get_text(&self, request: Request) -> anyhow::Result<String> {
        self.plain(self.http.get(request.url(&self.server)), &request).await
    }

    /// `POST` of a JSON body, as a value.
    pub(crate) async fn post(&self, request: Request, body: &Value) -> anyhow::Result<Value> {
        self.parsed(self.post_text(request, body).await?)
    }

    /// `POST` of a JSON body, as the text that came.
    pub(crate) async fn post_text(&self, request: Request, body: &Value) -> anyhow::Result<String> {
        self.plain(self.http.post(request.url(&self.server)).json(body), &request).await
    }

    /// `DELETE`, as the text that came.
    pub(crate) async fn delete_text(&self, request: Request) -> anyhow::Result<String> {
        self.plain(self.http.delete(request.url(&self.server)), &request).await
    }

    /// `GET` of bytes, which go to a file as they come. How many there were.
    pub(crate) async fn download(&self, request: Request, to: &mut (impl std::io::Write + Send)) -> anyhow::Result<u64> {
        let sending = self.authorized(self.http.get(request.url(&self.server)));
        let mut response = self.accepted(sending.send().await, &request).await?;
        let mut bytes = 0;
        while let Some(piece) = response.chunk().await? {
            to.write_all(&piece)?;
            bytes += piece.len() as u64;
        }
        Ok(bytes)
    }

    /// Follows a stream of events, from behind the position or from now on. Open when this returns.
    pub(crate) async fn stream(&self, request: Request, after: Option<&str>) -> anyhow::Result<Events> {
        let mut sending = self.authorized(self.http.get(request.url(&self.server)));
        if let Some(after) = after {
            sending = sending.header("last-event-id", after);
        }
        // The headers come at once; only what follows them may take its time.
        let response = tokio::time::timeout(limits::REQUEST, sending.send()).await;
        let response = response.map_err(|_| ClientError::TimedOut { url: self.url().to_owned() })?;
        let response = self.accepted(response, &request).await?;
        let frames = sse_stream::SseByteStream::new(bounded(response.bytes_stream()));
        let events = frames.filter_map(|frame| async move {
            match frame {
                Ok(frame) => match frame.event.as_deref() {
                    Some("ping") => None,
                    Some("error") => Some(Err(anyhow::anyhow!("the server ended the stream"))),
                    _ => {
                        let id = frame.id;
                        frame
                            .data
                            .map(|text| Ok(StreamEvent { id, data: serde_json::from_str(&text).context("an event is no JSON")?, text }))
                    }
                },
                Err(error) => Some(Err(anyhow::Error::new(error).context("the stream of events broke"))),
            }
        });
        Ok(events.boxed())
    }

    fn parsed(&self, text: String) -> anyhow::Result<Value> {
        let strange = |error: serde_json::Error| ClientError::Strange { url: self.url().to_owned(), what: error.to_string() };
        Ok(serde_json::from_str(&text).map_err(strange)?)
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(&self.target.access.key).header("anthropic-beta", "managed-agents-2026-04-01")
    }

    async fn plain(&self, sending: reqwest::RequestBuilder, request: &Request) -> anyhow::Result<String> {
        let response = self.authorized(sending).timeout(limits::REQUEST).send().await;
        let response = self.accepted(response, request).await?;
        Ok(self.body(response).await?)
    }

    /// The response, or why there is none.
    async fn accepted(&self, response: reqwest::Result<reqwest::Response>, request: &Request) -> Result<reqwest::Response, ClientError> {
        let response = response.map_err(|error| ClientError::of_request(self.url(), &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let id = response.headers().get("request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = self.body(response).await.unwrap_or_default();
        Err(ClientError::of_response(self.url(), &self.target.key_from, status, &body, id.as_deref(), request.object()))
    }

    /// The whole body, which must not be endless.
    async fn body(&self, mut response: reqwest::Response) -> Result<String, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::of_request(self.url(), &error))? {
            if bytes.len() + chunk.len() > limits::ANSWER_BYTES {
                let what = format!("more than {} MiB at once", limits::ANSWER_BYTES >> 20);
                return Err(ClientError::Strange { url: self.url().to_owned(), what });
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| ClientError::Strange { url: self.url().to_owned(), what: "no UTF-8".to_owned() })
    }
}

/// The stream, which ends in an error where no event ends for too long.
fn bounded(bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let mut since_end = 0;
    bytes.map(move |chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        since_end = match chunk.windows(2).rposition(|pair| pair == b"\n\n") {
            Some(end) => chunk.len() - end,
            None => since_end + chunk.len(),
        };
        if since_end > limits::ANSWER_BYTES {
            return Err(io::Error::other(format!("an event has more than {} MiB", limits::ANSWER_BYTES >> 20)));
        }
        Ok(chunk)
    })
}

/// A field that the API promises, as text.
pub(crate) fn text(object: &Value, field: &str) -> anyhow::Result<String> {
    object[field].as_str().map(str::to_owned).with_context(|| format!("the server's answer has no {field}"))
}
