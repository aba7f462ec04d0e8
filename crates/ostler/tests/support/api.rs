//! A client of the HTTP API with one key. Unexpected statuses fail the test with the server's words.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::events::Stream;
use super::limits;

/// One server as one caller sees it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) key: String,
    http: reqwest::Client,
}

impl Api {
    pub(crate) fn new(url: impl Into<String>, key: impl Into<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("an HTTP client");
        Self { url: url.into(), key: key.into(), http }
    }

    /// The same server, another caller.
    pub(crate) fn with_key(&self, key: impl Into<String>) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// The same caller, another way to the server.
    pub(crate) fn through(&self, address: std::net::SocketAddr) -> Self {
        Self { url: format!("http://{address}"), ..self.clone() }
    }

    /// A request with the usual headers, to be refined.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        request.header("anthropic-version", "2023-06-01").header("anthropic-beta", "managed-agents-2026-04-01")
    }

    /// Sends, and gives status and JSON body; an error where nobody answered.
    pub(crate) async fn ask(request: RequestBuilder) -> reqwest::Result<(StatusCode, Value)> {
        let response = request.timeout(limits::NEXT).send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    async fn accepted(request: RequestBuilder, path: &str) -> Value {
        let (status, body) = Self::ask(request).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        Self::accepted(self.request(Method::GET, path), path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        Self::accepted(self.request(Method::POST, path).json(body), path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Value {
        Self::accepted(self.request(Method::DELETE, path), path).await
    }

    /// The status with which a `GET` is answered.
    pub(crate) async fn status_of(&self, path: &str) -> StatusCode {
        Self::ask(self.request(Method::GET, path)).await.expect("the server answers").0
    }

    /// Opens a stream of events; `None` where it broke before it was open.
    pub(crate) async fn try_stream(&self, path: &str, last_event_id: Option<u64>) -> Option<Stream> {
        let mut request = self.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = tokio::time::timeout(limits::NEXT, request.send()).await.expect("the server answers").ok()?;
        assert!(response.status().is_success(), "{path}: {}", response.status());
        Some(Stream::new(response))
    }

    /// Opens a stream of events.
    pub(crate) async fn stream(&self, path: &str) -> Stream {
        self.try_stream(path, None).await.expect("the stream opens")
    }
}
