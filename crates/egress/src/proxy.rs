//! The proxy that programs in a sandbox are told of: HTTP/1.1 and HTTP/2, `CONNECT` and whole addresses.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, uri::Scheme};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::body::{self, Body};
use crate::forward::Way;
use crate::framing::{Framed, Framing};
use crate::hello::{self, First};
use crate::intercept::{self, Wire};
use crate::judge::{self, Entry};
use crate::record::Line;
use crate::sandboxes::{Permit, Sandbox};
use crate::service::Egress;
use crate::traffic::Traffic;
use crate::{limits, plain, refusal, relay, transparent, upstream};
use ostler_core::egress::policy::{self, Code, Decision};

/// Serves one connection to the proxy.
pub(crate) async fn serve(egress: Arc<Egress>, sandbox: Arc<Sandbox>, stream: TcpStream) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits::STREAMS)
        .max_send_buf_size(limits::STREAM_WAITS);
    let ended = sandbox.ended.clone();
    let framing = Arc::<Framing>::default();
    let stream = Framed::new(stream, &framing);
    let service = service_fn(move |request| {
        let (egress, sandbox, framing) = (Arc::clone(&egress), Arc::clone(&sandbox), Arc::clone(&framing));
        async move { Ok::<_, Infallible>(answer(egress, sandbox, framing, request).await) }
    });
    tokio::select! {
        _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service) => {}
        () = ended.cancelled() => {}
    }
}

async fn answer(egress: Arc<Egress>, sandbox: Arc<Sandbox>, framing: Arc<Framing>, request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::CONNECT {
        return connect(egress, sandbox, request).await;
    }
    let ended = sandbox.live().policy_ended.clone();
    match (request.uri().scheme(), request.uri().host().map(str::to_owned)) {
        (Some(scheme), Some(host)) if *scheme == Scheme::HTTP => {
            let port = request.uri().port_u16().unwrap_or(80);
            plain::answer(egress, sandbox, &host, port, request, framing, ended).await
        }
        _ => {
            let decision = Decision::deny(Code::BadRequest, "proxy");
            let detail = "this is a proxy: use CONNECT host:443 for https, and the whole address for http";
            refusal::answer("the host", &decision, detail)
        }
    }
}

/// `CONNECT`: what can be decided is, and the host is dialled before the sandbox hears that it may go on. Where only a request or a
/// person can tell, nothing is dialled yet.
async fn connect(egress: Arc<Egress>, sandbox: Arc<Sandbox>, mut request: Request<Incoming>) -> Response<Body> {
    let (asked, port) = match request.uri().authority() {
        Some(authority) if !authority.as_str().contains('@') => (authority.host().to_owned(), authority.port_u16()),
        _ => (String::new(), None),
    };
    let refused = |decision: &Decision, detail: &str| {
        let response = refusal::answer(&asked, decision, detail);
        Line::new(&egress.records, &sandbox.session, &asked, port.unwrap_or_default(), decision).answered(response.status().as_u16());
        response
    };
    let Some(port) = port else { return refused(&Decision::deny(Code::BadRequest, "proxy"), "CONNECT names a host and a port") };
    let Some(host) = policy::normal(&asked) else { return refused(&Decision::deny(Code::BadHost, "host names"), "") };
    let live = sandbox.live();
    let (decision, is_opened, is_later) = match judge::connection(&sandbox, &live, &host, port) {
        Entry::Refused(decision) => return refused(&decision, ""),
        Entry::Allowed(decision) => (decision, live.opens(&host), false),
        Entry::Later { decision, is_opened } => (decision, is_opened, true),
    };
    let Some(permit) = sandbox.exchange(&egress) else { return refused(&Decision::deny(Code::TooMuch, "connections at once"), "") };
    let outside = if is_later {
        Outside::Later
    } else if is_opened && egress.pool.has(&live.place(&host, port)) {
        Outside::Kept
    } else {
        let addresses = match egress.resolver.find(&host, port).await {
            Ok(addresses) => addresses,
            Err(code) => return refused(&Decision::deny(code, decision.rule), ""),
        };
        match upstream::dial(&addresses).await {
            Ok(outside) => Outside::Dialled(outside, addresses),
            Err(failure) => return refused(&Decision::deny(Code::Unreachable, decision.rule), &failure.0),
        }
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
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let ended = way.ended.clone();
        let passing = async {
            if let Ok(inside) = upgrade.await {
                begun(way, TokioIo::new(inside), outside, permit).await;
            }
        };
        tokio::select! {
            () = passing => {}
            () = ended.cancelled() => {}
        }
    });
    Response::new(body::empty())
}

/// The other end of what was asked for by `CONNECT`.
enum Outside {
    /// Nobody was asked yet.
    Later,
    /// A connection was there.
    Kept,
    Dialled(TcpStream, Vec<SocketAddr>),
}

/// What comes over a connection that was asked for by `CONNECT`.
async fn begun(way: Way, mut inside: impl Wire, outside: Outside, _permit: Permit) {
    let line = || Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision);
    let is_address = way.host.parse::<std::net::IpAddr>().is_ok();
    match timeout(limits::HEAD_TIMEOUT, hello::read(&mut inside)).await {
        Ok(Ok(First::Tls(hello))) => {
            let is_it = match &hello.name {
                Some(name) => *name == way.host,
                None => is_address,
            };
            if !is_it {
                let said = hello.name.clone().unwrap_or_else(|| "nobody".into());
                return intercept::refuse(way, *hello, inside, Code::NamesDiffer, format!("TLS is for {said}")).await;
            }
            match outside {
                Outside::Later => intercept::later(way, *hello, inside).await,
                Outside::Kept => intercept::open(way, *hello, inside, None).await,
                Outside::Dialled(outside, addresses) if way.is_opened => {
                    intercept::open(way, *hello, inside, Some((outside, addresses))).await;
                }
                Outside::Dialled(outside, _) => pass(line(), &way.sandbox.traffic, hello.read, inside, outside).await,
            }
        }
        Ok(Ok(First::Http(read))) => {
            transparent::http(way.egress, way.sandbox, hello::Begun::new(read, inside), Some((way.host, way.port))).await
        }
        Ok(Ok(First::Other)) | Ok(Err(_)) | Err(_) => line().failed(Code::NotUnderstood),
    }
}

/// Passes a closed connection on, with what was read of it first.
pub(crate) async fn pass(line: Line, traffic: &Arc<Traffic>, first: bytes::Bytes, inside: impl Wire, mut outside: TcpStream) {
    use tokio::io::AsyncWriteExt as _;
    line.sent().fetch_add(first.len() as u64, std::sync::atomic::Ordering::Relaxed);
    if traffic.pace(first.len()).await.is_ok() && outside.write_all(&first).await.is_ok() {
        let _ = relay::relay(inside, outside, (line.sent(), line.received()), traffic, None).await;
    }
}
