//! What the server itself asks of the outside, over a unix socket: HTTP whose `Host` says what a request is for. What each may do
//! follows from that and from what the operator configured; whatever a tenant named is public, as for sandboxes.

mod mcp;
mod outbound;
mod provider;
mod web;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use nix::unistd::Uid;
use ostler_core::egress::calls::{MCP_HOST, PROVIDER_HOSTS, WEB_HOST};
use ostler_core::egress::policy::{Code, Decision};
use tokio::net::{UnixListener, UnixStream};

pub(crate) use outbound::{Behalf, Destination, Whose, send};

use crate::body::Body;
use crate::service::Egress;
use crate::{control, limits, refusal};

/// Why a call is not made, or not answered.
#[derive(Debug)]
pub(crate) struct Failed {
    /// The host that it was for.
    pub(crate) host: String,
    pub(crate) code: Code,
    /// For a person.
    pub(crate) detail: String,
}

impl Failed {
    pub(crate) fn new(host: &str, code: Code, detail: impl Into<String>) -> Self {
        Self { host: host.to_owned(), code, detail: detail.into() }
    }
}

/// Answers the server, which is this user, for ever.
pub async fn serve(egress: Arc<Egress>, listener: UnixListener, server: Uid) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if control::is_of(&stream, server) => {
                tokio::spawn(attend(Arc::clone(&egress), stream));
            }
            Ok(_) => tracing::warn!("another user called, and was not heard"),
            Err(error) => {
                tracing::warn!(%error, "no call can be taken");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn attend(egress: Arc<Egress>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let egress = Arc::clone(&egress);
        async move { Ok::<_, Infallible>(answer(&egress, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(limits::CALL_HEAD_BYTES);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error, "a call broke");
    }
}

async fn answer(egress: &Arc<Egress>, request: Request<Incoming>) -> Response<Body> {
    let kind = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    if let Some(provider) = kind.strip_suffix(PROVIDER_HOSTS) {
        return provider::call(egress, provider, request).await;
    }
    let answered = match kind.as_str() {
        MCP_HOST => mcp::call(egress, request).await,
        WEB_HOST => web::call(egress, request).await,
        _ => Err(Failed::new(&kind, Code::BadHost, "nothing is called so")),
    };
    answered.unwrap_or_else(|Failed { host, code, detail }| refusal::answer(&host, &Decision::deny(code, "calls of the server"), &detail))
}

/// Takes one of our own headers.
fn take(headers: &mut HeaderMap, name: &'static str) -> Option<String> {
    headers.remove(HeaderName::from_static(name)).and_then(|value| value.to_str().ok().map(str::to_owned))
}
