//! A connection whose TLS is opened: egress is the host towards the sandbox, and a client towards the host.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::StartHandshake;

use crate::authority::{AuthorityError, Protocols};
use crate::body::Body;
use crate::forward::{self, Way};
use crate::framing::Framed;
use crate::hello::Hello;
use crate::record::Line;
use crate::service::Offers;
use crate::upstream::{self, Upstream};
use crate::{judge, limits, proxy, refusal};
use ostler_core::egress::policy::{Code, Decision};

/// A stream of bytes.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Wire for T {}

/// Opens a connection to a host, over the one that was dialled for it, one that was kept, or a new one.
pub(crate) async fn open(way: Way, hello: Hello, inside: impl Wire, dialled: Option<(TcpStream, Vec<SocketAddr>)>) {
    match reached(&way, &hello, dialled).await {
        Ok((upstream, protocols)) => serve(way, hello, inside, protocols, Ok(Arc::new(upstream))).await,
        Err((code, detail)) => refuse(way, hello, inside, code, detail).await,
    }
}

async fn reached(way: &Way, hello: &Hello, dialled: Option<(TcpStream, Vec<SocketAddr>)>) -> Result<(Upstream, Protocols), (Code, String)> {
    let offers = Offers { http2: hello.http2, http1: hello.http1 };
    let place = way.live.place(&way.host, way.port);
    let unreachable = |failure: upstream::Failure| (Code::Unreachable, failure.0);
    let (stream, addresses) = match dialled {
        Some(dialled) => dialled,
        None => {
            if let Some(kept) = Upstream::kept(&way.egress, &place, offers) {
                return Ok(kept);
            }
            let addresses = way.egress.resolver.find(&way.host, way.port).await.map_err(|code| (code, String::new()))?;
            (upstream::dial(&addresses).await.map_err(unreachable)?, addresses)
        }
    };
    Upstream::secure(&way.egress, (&way.host, way.port), Some(place), addresses, stream, offers).await.map_err(unreachable)
}

/// A connection about which only its requests, or a person, can tell. Before that no address is asked for, because a name can say
/// something to whoever is asked.
pub(crate) async fn later(mut way: Way, hello: Hello, inside: impl Wire) {
    if way.is_opened {
        // What is spoken is settled before the host is heard: what every host speaks.
        let protocols = if hello.http1 { Protocols::Http1 } else { Protocols::Http2 };
        let upstream = Upstream::later(&way.egress, &way.host, way.port, Some(protocols));
        return serve(way, hello, inside, protocols, Ok(Arc::new(upstream))).await;
    }
    way.decision = judge::closed(&way.sandbox, &way.live, &way.host, way.port).await;
    if !way.decision.is_allowed {
        let code = way.decision.code;
        return refuse(way, hello, inside, code, String::new()).await;
    }
    let addresses = match way.egress.resolver.find(&way.host, way.port).await {
        Ok(addresses) => addresses,
        Err(code) => return refuse(way, hello, inside, code, String::new()).await,
    };
    match upstream::dial(&addresses).await {
        Ok(outside) => {
            let line = Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision);
            proxy::pass(line, &way.sandbox.traffic, hello.read, inside, outside).await;
        }
        Err(failure) => refuse(way, hello, inside, Code::Unreachable, failure.0).await,
    }
}

/// Tells whoever is at the other end of a connection why its requests are not passed on.
pub(crate) async fn refuse(way: Way, hello: Hello, inside: impl Wire, code: Code, detail: String) {
    let protocols = if hello.http1 { Protocols::Http1 } else { Protocols::Http2 };
    serve(way, hello, inside, protocols, Err((code, detail))).await;
}

async fn serve(way: Way, hello: Hello, inside: impl Wire, protocols: Protocols, upstream: Result<Arc<Upstream>, (Code, String)>) {
    let config = match certificate(&way, protocols, upstream.is_ok()) {
        Ok(Some(config)) => config,
        Ok(None) => return Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision).failed(Code::TooMuch),
        Err(error) => return tracing::error!(host = way.host, %error, "no certificate could be issued"),
    };
    let accepting = StartHandshake::from_parts(hello.accepted, inside).into_stream(config);
    let stream = match timeout(limits::HEAD_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => stream,
        // A program that does not trust the certificate of this installation says so by leaving.
        Ok(Err(_)) | Err(_) => {
            Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision).failed(Code::NotUnderstood);
            return;
        }
    };
    let (ended, framing) = (way.ended.clone(), Arc::clone(&way.framing));
    let service = service_fn(move |request: Request<Incoming>| {
        let (way, upstream) = (way.clone(), upstream.clone());
        async move {
            Ok::<_, std::convert::Infallible>(match upstream {
                Ok(upstream) => judged(way, upstream, request).await,
                Err((code, detail)) => {
                    let decision = Decision { is_allowed: false, code, ..way.decision };
                    let response = refusal::answer(&way.host, &decision, &detail);
                    let line = Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &decision);
                    line.request(request.method().as_str(), request.uri().path()).answered(response.status().as_u16());
                    response
                }
            })
        }
    });
    let io = TokioIo::new(Framed::new(stream, &framing));
    let serving = async {
        match protocols {
            Protocols::Http1 => {
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits::SILENCE)
                    .max_buf_size(limits::HEAD_BYTES)
                    .max_headers(limits::HEADERS);
                builder.serve_connection(io, service).with_upgrades().await
            }
            Protocols::Http2 => {
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX));
                builder.max_concurrent_streams(limits::STREAMS).max_send_buf_size(limits::STREAM_WAITS);
                builder.serve_connection(io, service).await
            }
        }
    };
    tokio::select! {
        _ = serving => {}
        () = ended.cancelled() => {}
    }
}

/// How to be this host towards a sandbox. None where a sandbox has had too many made of hosts that it does not reach.
fn certificate(way: &Way, protocols: Protocols, is_passed_on: bool) -> Result<Option<Arc<ServerConfig>>, AuthorityError> {
    if is_passed_on {
        return way.egress.authority.server(&way.host, protocols).map(Some);
    }
    way.egress.authority.refusing(&way.host, protocols, || way.sandbox.may_refuse())
}

/// Decides about a request by itself, and passes it on.
async fn judged(mut way: Way, upstream: Arc<Upstream>, mut request: Request<Incoming>) -> Response<Body> {
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    way.decision = judge::request(&way.sandbox, &way.live, &way.host, way.port, &mut request).await;
    if way.decision.is_allowed
        && let Err(code) = upstream.find().await
    {
        way.decision = Decision { is_allowed: false, code, ..way.decision };
    }
    if way.decision.is_allowed {
        return forward::forward(way, upstream, request).await;
    }
    let response = refusal::answer(&way.host, &way.decision, "");
    let line = Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision);
    line.request(&method, &path).answered(response.status().as_u16());
    response
}
