//! A small client of the HTTP API, as the command line needs it.

use std::path::Path;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How to reach a server and as whom; kept in the data directory with 0600.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    /// `http://host:port`.
    pub(crate) url: String,
    /// The API key.
    pub(crate) key: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).field("key", &"***").finish()
    }
}

/// The API of one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    access: Access,
    http: reqwest::Client,
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub(crate) struct StreamEvent {
    /// Where to go on from; previews have none.
    pub(crate) id: Option<String>,
    /// The JSON object.
    pub(crate) data: Value,
    /// Its text, as it came.
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn new(access: Access) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
        Ok(Self { access, http })
    }

    /// `GET` of a path with its query.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.http.get(self.url(path)), path).await
    }

    /// `POST` of a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(self.url(path)).json(body), path).await
    }

    /// Follows a stream of events, from behind the one with this id or from now on; pings are left
    /// out. Open when this returns.
    pub(crate) async fn stream(&self, path: &str, after: Option<&str>) -> anyhow::Result<BoxStream<'static, anyhow::Result<StreamEvent>>> {
        let mut request = self.authorized(self.http.get(self.url(path)));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.with_context(|| format!("connecting to {}", self.access.url))?;
        let response = accepted(response, path).await?;
        let frames = sse_stream::SseByteStream::new(response.bytes_stream());
        let events = frames.filter_map(|frame| async move {
            match frame {
                Ok(frame) if frame.event.as_deref() == Some("ping") => None,
                Ok(frame) => {
                    let id = frame.id;
                    frame.data.map(|text| Ok(StreamEvent { id, data: serde_json::from_str(&text).context("an event is no JSON")?, text }))
                }
                Err(error) => Some(Err(anyhow::Error::new(error).context("the stream of events broke"))),
            }
        });
        Ok(events.boxed())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.access.url)
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(&self.access.key).header("anthropic-beta", "managed-agents-2026-04-01")
    }

    async fn send(&self, request: reqwest::RequestBuilder, path: &str) -> anyhow::Result<Value> {
        let response = self.authorized(request).send().await.with_context(|| format!("connecting to {}", self.access.url))?;
        accepted(response, path).await?.json().await.with_context(|| format!("reading the answer of {path}"))
    }
}

/// The response, or the server's own words on why there is none.
async fn accepted(response: reqwest::Response, path: &str) -> anyhow::Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Value = response.json().await.unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or("no explanation");
    if status == reqwest::StatusCode::UNAUTHORIZED {
        bail!("the server refuses the stored API key ({message}); its data directory may have been replaced");
    }
    bail!("{path}: {message} ({status})")
}

/// Reads how to reach the server that holds this data directory.
pub(crate) fn read_access(file: &Path) -> anyhow::Result<Access> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
}
