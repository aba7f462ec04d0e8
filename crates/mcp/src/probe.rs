//! Trying a credential: one request, and what was answered to it.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ostler_core::egress::calls::{MCP_HOST, REFUSED};
use ostler_core::resources::validation::HttpAnswer;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::target::Target;
use crate::{Failure, limits};

/// What an MCP server answered to its first question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It speaks to us.
    Welcome,
    /// It answered otherwise.
    Answered(HttpAnswer),
    /// Egress did not reach it.
    Unreachable(String),
}

/// The method that is tried.
pub const METHOD: &str = "initialize";

/// Asks an MCP server whether it takes the credential, by the method `initialize`, which every revision answers or refuses after it has looked at
/// the credential.
///
/// # Errors
/// When egress cannot be asked.
pub async fn probe(target: &Target) -> Result<Probe, Failure> {
    let asked = async {
        let broken = |error: &dyn std::fmt::Display| Failure::connection(format!("egress does not answer: {error}"));
        let stream = UnixStream::connect(&target.socket).await.map_err(|error| broken(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "ostler", "version": env!("CARGO_PKG_VERSION")}}});
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header(header::HOST, MCP_HOST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        for (name, value) in target.headers()? {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(question.to_string()))).map_err(|error| broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (parts, mut content) = response.into_parts();
        if parts.status.is_success() {
            return Ok(Probe::Welcome);
        }
        let mut start = Vec::new();
        while let Some(Ok(frame)) = content.frame().await {
            start.extend(frame.into_data().into_iter().flatten());
            if start.len() > limits::SHOWN_BYTES {
                break;
            }
        }
        let body_truncated = start.len() > limits::SHOWN_BYTES;
        start.truncate(limits::SHOWN_BYTES);
        let body = String::from_utf8_lossy(&start).into_owned();
        if parts.headers.contains_key(REFUSED) {
            return Ok(Probe::Unreachable(body));
        }
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Ok(Probe::Answered(HttpAnswer { body, body_truncated, content_type, status_code: parts.status.as_u16() }))
    };
    timeout(limits::CONNECT_TIME, asked).await.unwrap_or_else(|_| Ok(Probe::Unreachable("it did not answer in time".into())))
}
