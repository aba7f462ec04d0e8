//! Provider requests over HTTPS from this process. It follows no redirects (they would carry the
//! key elsewhere) and uses no proxy, whatever the environment variables say.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderValue;
use reqwest::Url;
use tokio::time::{Instant, timeout_at};

use crate::limits::{CONNECT_TIMEOUT, ERROR_BODY_BYTES, ERROR_BODY_TIMEOUT, POOL_IDLE_PER_HOST, POOL_IDLE_TIMEOUT};
use crate::secret::Secret;
use crate::transport::{ModelTransport, ProviderRequest, ProviderResponse, TransportError};

/// The dialect of a provider, and with it the header its key travels in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Anthropic Messages: the key is sent as `x-api-key`.
    Anthropic,
    /// OpenAI Chat Completions: the key is sent as `Authorization: Bearer`.
    OpenAi,
}

/// A configured provider.
#[derive(Debug, Clone)]
pub struct ProviderEndpoint {
    /// What requests call it.
    pub name: String,
    /// `http` or `https`, without credentials; a trailing `/` or `/v1` is dropped. Requests go to
    /// paths below `/v1`, except for Chat Completions below a path with a version of its own
    /// (`/api/v4`, `/v1beta/openai`), which takes its place.
    pub base_url: String,
    /// Its key; an empty one is not sent.
    pub key: Secret,
    /// Its dialect.
    pub kind: ProviderKind,
}

/// How to build an [`HttpTransport`].
#[derive(Debug, Clone)]
pub struct HttpTransportConfig {
    /// Every provider, by unique name.
    pub providers: Vec<ProviderEndpoint>,
    /// Time to open a connection, TLS included.
    pub connect_timeout: Duration,
}

impl HttpTransportConfig {
    /// These providers with the default limits.
    pub fn new(providers: Vec<ProviderEndpoint>) -> Self {
        Self { providers, connect_timeout: CONNECT_TIMEOUT }
    }
}

/// A provider configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportSetupError {
    /// A URL is unusable.
    #[error("the base_url of model provider {name:?} is not usable: {reason}; give an http(s) URL without credentials, query or fragment")]
    BaseUrl {
        /// The provider.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is unusable.
    #[error("the key of model provider {name:?} has characters that no HTTP header can carry; check it for line breaks")]
    Key {
        /// The provider.
        name: String,
    },
    /// Two providers have one name.
    #[error("model provider {name:?} is configured twice; give each its own name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The TLS client could not be set up.
    #[error("could not set up the HTTPS client: {0}")]
    Client(String),
}

#[derive(Debug)]
struct Endpoint {
    base: String,
    /// Whether the base names the version, so that paths do not.
    is_versioned: bool,
    key: Secret,
    header: Option<(&'static str, HeaderValue)>,
}

/// Sends requests with reqwest and rustls.
#[derive(Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    endpoints: HashMap<String, Endpoint>,
}

impl HttpTransport {
    /// Checks the configuration and builds the client; opens no connection.
    ///
    /// # Errors
    /// When an endpoint is unusable or TLS cannot be set up.
    pub fn new(config: HttpTransportConfig) -> Result<Self, TransportSetupError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_PER_HOST)
            .build()
            .map_err(|error| TransportSetupError::Client(causes(error)))?;
        let mut endpoints = HashMap::new();
        for provider in config.providers {
            let name = provider.name.clone();
            if endpoints.insert(name.clone(), endpoint(provider)?).is_some() {
                return Err(TransportSetupError::Duplicate { name });
            }
        }
        Ok(Self { client, endpoints })
    }
}

fn endpoint(provider: ProviderEndpoint) -> Result<Endpoint, TransportSetupError> {
    let bad_url = |reason: &str| TransportSetupError::BaseUrl { name: provider.name.clone(), reason: reason.to_owned() };
    let url = Url::parse(&provider.base_url).map_err(|error| bad_url(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad_url("its scheme is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad_url("it carries credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad_url("it has a query or a fragment"));
    }
    let base = url.as_str().trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base).to_owned();
    let is_versioned = provider.kind == ProviderKind::OpenAi
        && !url.path().trim_end_matches('/').ends_with("/v1")
        && url.path_segments().is_some_and(|mut segments| segments.any(is_version));
    let header = if provider.key.expose().is_empty() {
        None
    } else {
        let text = match provider.kind {
            ProviderKind::Anthropic => provider.key.expose().to_owned(),
            ProviderKind::OpenAi => format!("Bearer {}", provider.key.expose()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| TransportSetupError::Key { name: provider.name.clone() })?;
        value.set_sensitive(true);
        match provider.kind {
            ProviderKind::Anthropic => Some(("x-api-key", value)),
            ProviderKind::OpenAi => Some(("authorization", value)),
        }
    };
    Ok(Endpoint { base, is_versioned, key: provider.key, header })
}

/// `v1`, `v4`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[async_trait]
impl ModelTransport for HttpTransport {
    async fn send(&self, provider: &str, request: ProviderRequest) -> Result<ProviderResponse, TransportError> {
        let endpoint = self.endpoints.get(provider).ok_or_else(|| TransportError::UnknownProvider { name: provider.to_owned() })?;
        let mut headers = request.headers;
        if let Some((name, value)) = &endpoint.header {
            headers.insert(*name, value.clone());
        }
        let path = if endpoint.is_versioned { request.path.strip_prefix("/v1").unwrap_or(request.path) } else { request.path };
        let url = format!("{}{path}", endpoint.base);
        let asked = match request.body {
            Some(body) => self.client.post(url).body(body),
            None => self.client.get(url),
        };
        let sent = asked.headers(headers).send().await;
        let response = sent.map_err(|error| transport_error(provider, error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let name = provider.to_owned();
        let body = response.bytes_stream().map(move |chunk| chunk.map_err(|error| transport_error(&name, error)));
        let body = if status.is_success() { body.boxed() } else { scrubbed(body.boxed(), &endpoint.key).await };
        Ok(ProviderResponse { status: status.as_u16(), headers, body })
    }
}

/// The bounded start of an error's body without our key, should the provider have echoed it.
async fn scrubbed(
    mut body: futures::stream::BoxStream<'static, Result<Bytes, TransportError>>,
    key: &Secret,
) -> futures::stream::BoxStream<'static, Result<Bytes, TransportError>> {
    let mut start = Vec::new();
    let deadline = Instant::now() + ERROR_BODY_TIMEOUT;
    // The status says enough; what is missing of the body changes nothing.
    while let Ok(Some(Ok(chunk))) = timeout_at(deadline, body.next()).await {
        let room = ERROR_BODY_BYTES - start.len();
        start.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if start.len() >= ERROR_BODY_BYTES {
            break;
        }
    }
    let text = key.scrub(&String::from_utf8_lossy(&start));
    futures::stream::once(async move { Ok(Bytes::from(text)) }).boxed()
}

fn transport_error(provider: &str, error: reqwest::Error) -> TransportError {
    let provider = provider.to_owned();
    if error.is_connect() {
        TransportError::Connect { provider, reason: causes(error) }
    } else {
        TransportError::Broken { provider, reason: causes(error) }
    }
}

/// The innermost cause; reqwest's outer texts only say that something failed, and where to.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(base_url: &str, key: &str) -> ProviderEndpoint {
        ProviderEndpoint { name: "main".to_owned(), base_url: base_url.to_owned(), key: Secret::new(key), kind: ProviderKind::Anthropic }
    }

    fn request() -> ProviderRequest {
        ProviderRequest { path: "/v1/messages", headers: http::HeaderMap::new(), body: Some(Bytes::from_static(b"{}")) }
    }

    #[test]
    fn unusable_endpoints_are_refused_without_showing_the_key() {
        for url in ["ftp://host", "not a url", "http://user:pw@host", "http://host/?q=1", "http://host/#f"] {
            let error = HttpTransport::new(HttpTransportConfig::new(vec![provider(url, "sk-1")])).unwrap_err();
            assert!(matches!(error, TransportSetupError::BaseUrl { .. }), "{url}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let error = HttpTransport::new(HttpTransportConfig::new(vec![provider("http://host", "sk\nhidden")])).unwrap_err();
        assert!(!error.to_string().contains("hidden"));
        let twice = vec![provider("http://host", "a"), provider("http://host", "b")];
        let error = HttpTransport::new(HttpTransportConfig::new(twice)).unwrap_err();
        assert!(matches!(error, TransportSetupError::Duplicate { .. }));
    }

    #[test]
    fn a_base_url_may_end_in_a_slash_or_the_version() {
        for url in ["http://host", "http://host/", "http://host/v1", "http://host/v1/"] {
            assert_eq!(endpoint(provider(url, "")).unwrap().base, "http://host");
        }
    }

    #[test]
    fn chat_completions_are_found_below_any_version() {
        let table = [
            ("http://host", "http://host", false),
            ("http://host/v1/", "http://host", false),
            ("https://openrouter.ai/api/v1", "https://openrouter.ai/api", false),
            ("https://host/api", "https://host/api", false),
            ("https://host/api/paas/v4/", "https://host/api/paas/v4", true),
            ("https://host/v1beta/openai", "https://host/v1beta/openai", true),
            ("https://host/v1/openai", "https://host/v1/openai", true),
            ("https://host/vllm", "https://host/vllm", false),
        ];
        for (url, base, is_versioned) in table {
            let found = endpoint(ProviderEndpoint { kind: ProviderKind::OpenAi, ..provider(url, "sk-1") }).unwrap();
            assert_eq!((found.base.as_str(), found.is_versioned), (base, is_versioned), "{url}");
            assert_eq!(found.header.unwrap(), ("authorization", HeaderValue::from_static("Bearer sk-1")));
        }
        assert!(!endpoint(provider("http://host/v2", "")).unwrap().is_versioned);
    }

    #[tokio::test]
    async fn an_unknown_name_and_a_refused_connection_say_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let transport = HttpTransport::new(HttpTransportConfig::new(vec![provider(&url, "sk-hidden")])).unwrap();
        let error = transport.send("other", request()).await.unwrap_err();
        assert!(matches!(error, TransportError::UnknownProvider { .. }));
        let error = transport.send("main", request()).await.unwrap_err();
        assert!(matches!(&error, TransportError::Connect { .. }), "{error:?}");
        assert!(!format!("{error} {error:?} {transport:?}").contains("hidden"));
    }

    #[tokio::test]
    async fn redirects_are_not_followed_and_an_echoed_key_is_scrubbed() {
        let url = one_answer("HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 13\r\n\r\nkey sk-hidden").await;
        let transport = HttpTransport::new(HttpTransportConfig::new(vec![provider(&url, "sk-hidden")])).unwrap();
        let response = transport.send("main", request()).await.unwrap();
        assert_eq!(response.status, 307);
        let body: Vec<_> = response.body.collect().await;
        assert_eq!(body, [Ok(Bytes::from_static(b"key [redacted]"))]);
    }

    /// A server that answers one request with these bytes.
    async fn one_answer(answer: &'static str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"{}") {
                let mut buffer = [0; 4096];
                let n = socket.read(&mut buffer).await.unwrap();
                seen.extend_from_slice(&buffer[..n]);
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
        });
        url
    }
}
