//! HTTP without TLS: what the proxy is asked with a whole address, and what comes in on port 80.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::forward::{self, Way};
use crate::framing::Framing;
use crate::record::Line;
use crate::sandboxes::Sandbox;
use crate::service::Egress;
use crate::upstream::Upstream;
use crate::{judge, refusal};
use ostler_core::egress::policy::{self, Code, Decision};

/// Answers one request for a host.
pub(crate) async fn answer(
    egress: Arc<Egress>,
    sandbox: Arc<Sandbox>,
    host: &str,
    port: u16,
    mut request: Request<Incoming>,
    framing: Arc<Framing>,
    ended: CancellationToken,
) -> Response<Body> {
    let Some(normal) = policy::normal(host) else {
        return refused(&egress, &sandbox, host, port, &Decision::deny(Code::BadHost, "host names"), &request);
    };
    let live = sandbox.live();
    let decision = judge::request(&sandbox, &live, &normal, port, &mut request).await;
    if !decision.is_allowed {
        return refused(&egress, &sandbox, &normal, port, &decision, &request);
    }
    let Some(place) = sandbox.exchange(&egress) else {
        return refused(&egress, &sandbox, &normal, port, &Decision::deny(Code::TooMuch, "connections at once"), &request);
    };
    match Upstream::plain(&egress, &normal, port).await {
        Ok(upstream) => {
            let way =
                Way { egress, sandbox, live, host: normal, port, decision, is_opened: false, place: Some(Arc::new(place)), framing, ended };
            forward::forward(way, Arc::new(upstream), request).await
        }
        Err(code) => refused(&egress, &sandbox, &normal, port, &Decision { is_allowed: false, code, rule: decision.rule }, &request),
    }
}

/// Refuses a request, and records it.
pub(crate) fn refused<B>(
    egress: &Egress,
    sandbox: &Sandbox,
    host: &str,
    port: u16,
    decision: &Decision,
    request: &Request<B>,
) -> Response<Body> {
    let response = refusal::answer(host, decision, "");
    let line = Line::new(&egress.records, &sandbox.session, host, port, decision);
    line.request(request.method().as_str(), request.uri().path()).answered(response.status().as_u16());
    response
}
