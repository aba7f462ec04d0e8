//! One request that can be seen: checked, changed, sent, and its answer scrubbed.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::body::{self, Body};
use crate::framing::Framing;
use crate::inject::{self, Unfit};
use crate::record::Line;
use crate::sandboxes::{Live, Permit, Sandbox};
use crate::service::Egress;
use crate::upstream::Upstream;
use crate::{refusal, scrub, websocket};
use ostler_core::egress::policy::{self, Code, Decision};

/// Where a request goes, and what holds on the way.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) egress: Arc<Egress>,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) live: Arc<Live>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) decision: Decision,
    /// Whether TLS was opened, so that secrets may be put in and must be taken out.
    pub(crate) is_opened: bool,
    /// The place that it has among what is passed on at once, unless its connection has it.
    pub(crate) place: Option<Arc<Permit>>,
    /// How the requests of the connection are framed.
    pub(crate) framing: Arc<Framing>,
    /// Ends what goes on by itself after an answer, such as a WebSocket.
    pub(crate) ended: CancellationToken,
}

/// Headers that are between two machines and not between both ends.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    // Whoever sent it was told to go on from here.
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const OLD_HOP_BY_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];

/// Passes a request on, and the answer back.
pub(crate) async fn forward(way: Way, upstream: Arc<Upstream>, request: Request<Incoming>) -> Response<Body> {
    let line = Line::new(&way.egress.records, &way.sandbox.session, &way.host, way.port, &way.decision);
    let mut line = line.request(request.method().as_str(), request.uri().path());
    match passed(&way, &upstream, request, &mut line).await {
        Ok(response) => {
            line.answered(response.status().as_u16());
            response.map(|content| body::with_line(content, line, way.ended.clone(), way.place.clone()))
        }
        Err((code, detail)) => {
            let decision = if way.sandbox.traffic.is_spent() {
                Decision::deny(Code::TooMuch, policy::TRANSFER_RULE)
            } else {
                Decision { is_allowed: false, code, ..way.decision.clone() }
            };
            line.failed(decision.code);
            let response = refusal::answer(&way.host, &decision, &detail);
            line.answered(response.status().as_u16());
            response
        }
    }
}

async fn passed(way: &Way, upstream: &Upstream, mut request: Request<Incoming>, line: &mut Line) -> Result<Response<Body>, (Code, String)> {
    let bad = |Unfit(why): Unfit| (Code::BadRequest, why.to_owned());
    // Who sends such requests means to be misunderstood by somebody.
    check(way, &request).inspect_err(|_| upstream.spoil())?;
    let heads = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    // What is spent here is found spent by what comes next.
    let _ = way.sandbox.traffic.pace(heads + request.uri().path_and_query().map_or(0, |target| target.as_str().len())).await;
    let is_head = request.method() == Method::HEAD;
    let is_websocket = websocket::is_asked(&request);
    let upgrade = is_websocket.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, content) = request.into_parts();
    let content = body::paced(body::counted(body::incoming(content), line.sent()), Arc::clone(&way.sandbox.traffic));
    let trailers = parts.headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    without_hops(&mut parts.headers);
    let content = if way.is_opened {
        let (content, used) =
            inject::into_request(&way.live.grants, &way.host, &mut parts, content, (&way.egress.bodies, &way.live.terms.workspace))
                .await
                .map_err(bad)?;
        line.used(used);
        content
    } else {
        content
    };
    let scrubs = way.live.grants.scrubs();
    if !scrubs.is_empty() {
        for name in [header::RANGE, header::IF_RANGE] {
            parts.headers.remove(name);
        }
        let identity = HeaderValue::from_static("identity");
        parts.headers.insert(header::ACCEPT_ENCODING, identity.clone());
        let of_messages = HeaderName::from_static("grpc-accept-encoding");
        if parts.headers.contains_key(&of_messages) {
            parts.headers.insert(of_messages, identity);
        }
    }
    if is_websocket {
        websocket::ask(&mut parts.headers);
    }
    if trailers && upstream.is_http2() {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    target(way, upstream.is_http2(), &mut parts).map_err(bad)?;
    // What one host takes for a body another takes for the next request, whose answer would be somebody else's.
    if (!upstream.is_http2() && !content.is_end_stream()) || is_of_connections(&parts.headers, &header::AUTHORIZATION) {
        upstream.spoil();
    }
    let answered = upstream.send(Request::from_parts(parts, content)).await;
    let (mut response, work) = answered.map_err(|failure| (Code::Unreachable, failure.0))?;
    if is_of_connections(response.headers(), &header::WWW_AUTHENTICATE) {
        upstream.spoil();
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(inside) = upgrade else { return Err((Code::Unreachable, "it changed the protocol without being asked".into())) };
        let outside = hyper::upgrade::on(&mut response);
        let (counts, ended) = ((line.sent(), line.received()), way.ended.clone());
        let traffic = Arc::clone(&way.sandbox.traffic);
        let (kept, places) = (Arc::clone(&scrubs), (way.place.clone(), way.sandbox.exchange(&way.egress)));
        if places.0.is_none() && places.1.is_none() {
            return Err((Code::TooMuch, "too many WebSockets".into()));
        }
        tokio::spawn(async move {
            let _places = places;
            let both = async {
                let (inside, outside) = tokio::try_join!(inside, outside)?;
                let _ = crate::relay::relay(TokioIo::new(inside), TokioIo::new(outside), counts, &traffic, Some(&kept)).await;
                Ok::<_, hyper::Error>(())
            };
            tokio::select! {
                _ = both => {}
                () = ended.cancelled() => {}
            }
        });
        let (mut parts, _) = response.into_parts();
        body::in_headers(&scrubs, &mut parts.headers);
        parts.extensions.clear();
        return Ok(Response::from_parts(parts, body::empty()));
    }
    let (mut parts, content) = response.into_parts();
    let content = body::counted(body::keeping(body::incoming(content), work), line.received());
    without_hops(&mut parts.headers);
    let content = scrub::answer(&scrubs, &mut parts, content, is_head).map_err(|Unfit(why)| (Code::Unreachable, why.to_owned()))?;
    Ok(Response::from_parts(parts, body::paced(content, Arc::clone(&way.sandbox.traffic))))
}

/// Whether a scheme of authentication is spoken of that holds for a whole connection.
fn is_of_connections(headers: &HeaderMap, name: &HeaderName) -> bool {
    let is_it = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        ["ntlm", "negotiate"].iter().any(|scheme| text.contains(scheme))
    };
    headers.get_all(name).iter().any(is_it)
}

/// Whether a request says one thing only about where it goes and how long it is.
fn check(way: &Way, request: &Request<Incoming>) -> Result<(), (Code, String)> {
    let bad = |why: &str| Err((Code::BadRequest, why.to_owned()));
    let headers = request.headers();
    if request.method() == Method::CONNECT {
        return bad("CONNECT is for the proxy, not for a host");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return bad("it has more than one Host header");
    }
    let is_double = way.framing.take() || headers.contains_key(header::CONTENT_LENGTH);
    if is_double && headers.contains_key(header::TRANSFER_ENCODING) {
        return bad("it has both Content-Length and Transfer-Encoding");
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return bad("it has more than one Content-Length");
    }
    let named = |text: &str| text.parse::<Authority>().ok();
    let in_header = match host {
        Some(host) => match host.to_str().ok().and_then(named) {
            Some(authority) => Some(authority),
            None => return bad("its Host header cannot be read"),
        },
        None => None,
    };
    let in_target = request.uri().authority().cloned();
    if in_header.is_none() && in_target.is_none() {
        return bad("it does not say for which host it is");
    }
    for authority in in_header.into_iter().chain(in_target) {
        let is_it = policy::normal(authority.host()).is_some_and(|host| host == way.host);
        let port = authority.port_u16().unwrap_or(if way.is_opened { 443 } else { 80 });
        if !is_it || port != way.port || authority.as_str().contains('@') {
            return Err((Code::NamesDiffer, format!("the request is for {authority}")));
        }
    }
    Ok(())
}

pub(crate) fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // A sender must not have these taken away by naming them.
    for name in named.into_iter().filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION].contains(name)) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    for name in OLD_HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Writes where the request goes as its protocol wants it, from what was checked.
fn target(way: &Way, is_http2: bool, parts: &mut http::request::Parts) -> Result<(), Unfit> {
    const UNFIT: Unfit = Unfit("its target cannot be written");
    let usual = if way.is_opened { 443 } else { 80 };
    let bracketed = if way.host.contains(':') { format!("[{}]", way.host) } else { way.host.clone() };
    let authority = if way.port == usual { bracketed } else { format!("{bracketed}:{}", way.port) };
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(match parts.uri.path_and_query() {
        Some(target) => target.clone(),
        None => http::uri::PathAndQuery::from_static("/"),
    });
    if is_http2 {
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(authority.parse().map_err(|_| UNFIT)?);
        parts.headers.remove(header::HOST);
        parts.version = Version::HTTP_2;
    } else {
        parts.headers.insert(header::HOST, authority.parse().map_err(|_| UNFIT)?);
        parts.version = Version::HTTP_11;
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| UNFIT)?;
    Ok(())
}
