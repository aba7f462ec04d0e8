//! One question to egress: HTTP over its socket, answered as a whole.

use std::path::Path;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ostler_core::egress::calls::{REFUSED, WEB_HOST};
use ostler_core::egress::policy::Code;
use serde::Deserialize;
use tokio::net::UnixStream;

use crate::limits;

/// Why there is no answer of the outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Egress did not ask, or got none.
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people.
        message: String,
    },
    /// Egress cannot be asked.
    Unavailable,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    code: Code,
    message: String,
}

/// Asks; the request names neither its host nor a body.
pub(super) async fn ask(socket: Option<&Path>, request: http::request::Builder) -> Result<Response<Bytes>, Unanswered> {
    let asked = tokio::time::timeout(limits::WEB_ANSWER, exchange(socket, request)).await;
    let response = match asked {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => {
            tracing::warn!(%why, "egress was asked about the web and did not answer");
            return Err(Unanswered::Unavailable);
        }
        Err(_) => {
            tracing::warn!("egress was asked about the web and did not answer in time");
            return Err(Unanswered::Unavailable);
        }
    };
    if !response.headers().contains_key(REFUSED) {
        return Ok(response);
    }
    let refusal: Refusal = serde_json::from_slice(response.body()).map_err(|_| Unanswered::Unavailable)?;
    Err(Unanswered::Refused { code: refusal.error.code, message: refusal.error.message })
}

async fn exchange(socket: Option<&Path>, request: http::request::Builder) -> Result<Response<Bytes>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let stream = UnixStream::connect(socket.ok_or("it takes no calls")?).await.map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let connection = tokio::spawn(connection);
    let request: Request<Empty<Bytes>> = request.header(header::HOST, WEB_HOST).body(Empty::new()).map_err(|error| said(&error))?;
    let answered = async {
        let (parts, content) = sender.send_request(request).await.map_err(|error| said(&error))?.into_parts();
        let content = Limited::new(content, limits::WEB_BYTES).collect().await.map_err(|error| said(&error))?;
        Ok(Response::from_parts(parts, content.to_bytes()))
    };
    let answered = answered.await;
    connection.abort();
    answered
}
