//! Connections of programs that know no proxy: the sandbox's names lead to addresses of its own, and whoever connects there
//! says by TLS or HTTP which host it wants. The address itself is never looked at.

use std::convert::Infallible;
use std::sync::Arc;

use http::header;
use http::uri::Authority;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::forward::Way;
use crate::framing::{Framed, Framing};
use crate::hello::{self, Begun, First, Hello};
use crate::intercept::{self, Wire};
use crate::judge::{self, Entry};
use crate::record::Line;
use crate::sandboxes::Sandbox;
use crate::service::Egress;
use crate::{limits, plain, proxy, upstream};
use ostler_core::egress::policy::{Code, Decision};

/// Serves one connection to an address of a name; the port is that of the listener.
pub(crate) async fn serve(egress: Arc<Egress>, sandbox: Arc<Sandbox>, mut stream: TcpStream, port: u16) {
    let ended = sandbox.ended.clone();
    let serving = async {
        match timeout(limits::HEAD_TIMEOUT, hello::read(&mut stream)).await {
            Ok(Ok(First::Tls(hello))) => tls(egress, sandbox, stream, *hello, port).await,
            Ok(Ok(First::Http(read))) => http(egress, sandbox, Begun::new(read, stream), None).await,
            Ok(Ok(First::Other)) => {
                let decision = Decision::deny(Code::NotUnderstood, "transparent");
                drop(Line::new(&egress.records, &sandbox.session, "", port, &decision));
            }
            Ok(Err(_)) | Err(_) => {}
        }
    };
    tokio::select! {
        () = serving => {}
        () = ended.cancelled() => {}
    }
}

async fn tls(egress: Arc<Egress>, sandbox: Arc<Sandbox>, inside: TcpStream, hello: Hello, port: u16) {
    let live = sandbox.live();
    let Some(host) = hello.name.clone() else {
        let decision = Decision::deny(Code::NamesDiffer, "TLS without a name");
        drop(Line::new(&egress.records, &sandbox.session, "", port, &decision));
        return;
    };
    let (decision, is_opened, is_later) = match judge::connection(&sandbox, &live, &host, port) {
        Entry::Refused(decision) => (decision, true, false),
        Entry::Allowed(decision) => (decision, live.opens(&host), false),
        Entry::Later { decision, is_opened } => (decision, is_opened, true),
    };
    let ended = if is_opened { live.grants_ended.clone() } else { live.policy_ended.clone() };
    let way = Way {
        egress: Arc::clone(&egress),
        sandbox: Arc::clone(&sandbox),
        live,
        host,
        port,
        decision,
        is_opened,
        place: None,
        framing: Arc::default(),
        ended,
    };
    let ended = way.ended.clone();
    let passing = async {
        if !way.decision.is_allowed {
            let code = way.decision.code;
            return intercept::refuse(way, hello, inside, code, String::new()).await;
        }
        let Some(_permit) = sandbox.exchange(&egress) else {
            return intercept::refuse(way, hello, inside, Code::TooMuch, String::new()).await;
        };
        if is_later {
            return intercept::later(way, hello, inside).await;
        }
        if way.is_opened {
            return intercept::open(way, hello, inside, None).await;
        }
        let addresses = match egress.resolver.find(&way.host, port).await {
            Ok(addresses) => addresses,
            Err(code) => return intercept::refuse(way, hello, inside, code, String::new()).await,
        };
        match upstream::dial(&addresses).await {
            Err(failure) => intercept::refuse(way, hello, inside, Code::Unreachable, failure.0).await,
            Ok(outside) => {
                let line = Line::new(&egress.records, &sandbox.session, &way.host, port, &way.decision);
                proxy::pass(line, &sandbox.traffic, hello.read, inside, outside).await;
            }
        }
    };
    tokio::select! {
        () = passing => {}
        () = ended.cancelled() => {}
    }
}

/// Serves HTTP without TLS. `wanted` is the host and port that were asked for, where somebody did.
pub(crate) async fn http(egress: Arc<Egress>, sandbox: Arc<Sandbox>, inside: impl Wire, wanted: Option<(String, u16)>) {
    let ended = sandbox.live().policy_ended.clone();
    let token = ended.clone();
    let framing = Arc::<Framing>::default();
    let inside = Framed::new(inside, &framing);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (egress, sandbox, framing) = (Arc::clone(&egress), Arc::clone(&sandbox), Arc::clone(&framing));
        let (wanted, ended) = (wanted.clone(), token.clone());
        async move {
            let said =
                request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
            let (host, port) = match (wanted, said) {
                (Some(wanted), _) => wanted,
                (None, Some(said)) => (said.host().to_owned(), said.port_u16().unwrap_or(80)),
                (None, None) => (String::new(), 80),
            };
            Ok::<_, Infallible>(plain::answer(egress, sandbox, &host, port, request, framing, ended).await)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS);
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(inside), service).with_upgrades() => {}
        () = ended.cancelled() => {}
    }
}
