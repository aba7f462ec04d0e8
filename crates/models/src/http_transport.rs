//! Provider requests by way of egress, which has the keys and knows where providers are: HTTP over a unix socket.

use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::StreamExt;
use http::HeaderValue;
use http::header::HOST;
use ostler_core::egress::calls::{FAILURE, FAILURE_CONNECT, FAILURE_UNKNOWN, PROVIDER_HOSTS};

use crate::limits::{CONNECT_TIMEOUT, POOL_IDLE, POOL_IDLE_TIMEOUT, REASON_CHARS};
use crate::transport::{ModelTransport, ProviderRequest, ProviderResponse, TransportError};

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("could not set up the way to egress: {0}")]
pub struct TransportSetupError(String);

/// Sends requests to egress.
#[derive(Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// To the egress that takes calls at this socket; opens no connection.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(calls: PathBuf) -> Result<Self, TransportSetupError> {
        let client = reqwest::Client::builder()
            .unix_socket(calls)
            // There is no TLS on this way, so nobody has to be trusted.
            .tls_certs_only([])
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE)
            .build();
        Ok(Self { client: client.map_err(|error| TransportSetupError(causes(error)))? })
    }
}

#[async_trait]
impl ModelTransport for HttpTransport {
    async fn send(&self, provider: &str, request: ProviderRequest) -> Result<ProviderResponse, TransportError> {
        // The header alone says who is asked: in an address a name would lose its capitals, and connections are good for all.
        let url = format!("http://any{PROVIDER_HOSTS}{}", request.path);
        let host = HeaderValue::try_from(format!("{provider}{PROVIDER_HOSTS}"));
        let host = host.map_err(|_| TransportError::UnknownProvider { name: provider.to_owned() })?;
        let asked = match request.body {
            Some(body) => self.client.post(url).body(body),
            None => self.client.get(url),
        };
        let sent = asked.headers(request.headers).header(HOST, host).send().await;
        let response = sent.map_err(|error| transport_error(provider, error))?;
        if let Some(word) = response.headers().get(FAILURE).map(HeaderValue::as_bytes).map(<[u8]>::to_vec) {
            return Err(failure(provider, &word, response).await);
        }
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let name = provider.to_owned();
        let body = response.bytes_stream().map(move |chunk| chunk.map_err(|error| transport_error(&name, error)));
        Ok(ProviderResponse { status, headers, body: body.boxed() })
    }
}

/// Why egress has no answer of the provider.
async fn failure(provider: &str, word: &[u8], response: reqwest::Response) -> TransportError {
    let reason: String = response.text().await.unwrap_or_default().chars().take(REASON_CHARS).collect();
    let provider = provider.to_owned();
    if word == FAILURE_UNKNOWN.as_bytes() {
        TransportError::UnknownProvider { name: provider }
    } else if word == FAILURE_CONNECT.as_bytes() {
        TransportError::Connect { provider, reason }
    } else {
        TransportError::Broken { provider, reason }
    }
}

fn transport_error(provider: &str, error: reqwest::Error) -> TransportError {
    let provider = provider.to_owned();
    if error.is_connect() {
        TransportError::Connect { provider, reason: format!("egress does not take calls: {}", causes(error)) }
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
    use bytes::Bytes;
    use tokio::net::UnixListener;

    use super::*;
    use crate::ProviderKind;
    use crate::test_egress::{TestEgress, provider};

    fn request() -> ProviderRequest {
        ProviderRequest { path: "/v1/messages", headers: http::HeaderMap::new(), body: Some(Bytes::from_static(b"{}")) }
    }

    #[tokio::test]
    async fn an_unknown_name_and_a_refused_connection_say_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let transport = TestEgress::start(vec![provider("Main", &url, ProviderKind::Anthropic)]);
        for unknown in ["other", "main", "Ma in\n"] {
            let error = transport.send(unknown, request()).await.unwrap_err();
            assert!(matches!(error, TransportError::UnknownProvider { .. }), "{error:?}");
        }
        let error = transport.send("Main", request()).await.unwrap_err();
        let said = "could not connect to model provider \"Main\": Connection refused (os error 111)";
        assert!(matches!(&error, TransportError::Connect { .. }) && error.to_string() == said, "{error:?}");
    }

    #[tokio::test]
    async fn egress_that_is_not_there_and_one_that_dies_are_failures_of_the_moment() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("calls");
        let transport = HttpTransport::new(socket.clone()).unwrap();
        let error = transport.send("main", request()).await.unwrap_err();
        assert!(matches!(&error, TransportError::Connect { .. }), "{error:?}");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move { drop(listener.accept().await) });
        let error = transport.send("main", request()).await.unwrap_err();
        assert!(matches!(&error, TransportError::Broken { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_provider_cannot_speak_for_egress() {
        let url = one_answer("HTTP/1.1 200 x\r\nostler-failure: unknown\r\ncontent-length: 2\r\n\r\nok").await;
        let transport = TestEgress::start(vec![provider("main", &url, ProviderKind::Anthropic)]);
        let response = transport.send("main", request()).await.unwrap();
        assert_eq!((response.status, response.headers.get(FAILURE)), (200, None));
    }

    #[tokio::test]
    async fn redirects_are_not_followed_and_an_echoed_key_is_scrubbed() {
        let url =
            one_answer("HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\nx-echo: sk-test\r\ncontent-length: 11\r\n\r\nkey sk-test").await;
        let transport = TestEgress::start(vec![provider("main", &url, ProviderKind::Anthropic)]);
        let response = transport.send("main", request()).await.unwrap();
        assert_eq!((response.status, response.headers["x-echo"].as_bytes()), (307, &b"[redacted]"[..]));
        let body: Vec<_> = response.body.collect().await;
        assert_eq!(body, [Ok(Bytes::from_static(b"key [redacted]"))]);
    }

    #[tokio::test]
    async fn connections_are_kept_on_both_sides() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let transport =
            TestEgress::start(vec![provider("main", &format!("http://{}", listener.local_addr().unwrap()), ProviderKind::Anthropic)]);
        let transport = std::sync::Arc::new(transport);
        let asking = std::sync::Arc::clone(&transport);
        let asked = tokio::spawn(async move {
            for _ in 0..3 {
                let request = ProviderRequest { path: "/v1/models", headers: http::HeaderMap::new(), body: None };
                let response = asking.send("main", request).await.unwrap();
                assert!(response.body.all(|piece| async move { piece.is_ok() }).await);
            }
        });
        // All three come over the only connection that is ever taken.
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(seen).unwrap();
            assert!(head.starts_with("GET /v1/models HTTP/1.1\r\n") && head.contains("x-api-key: sk-test\r\n"), "{head}");
            socket.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
        asked.await.unwrap();
        assert_eq!(transport.connections(), 1);
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
