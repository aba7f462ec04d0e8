//! The way to a host: dialled at checked addresses, TLS with the name that was asked for, and requests over it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::authority::Protocols;
use crate::body::Body;
use crate::limits;
use crate::pool::Place;
use crate::service::{Egress, Offers};
use ostler_core::egress::policy::Code;

/// Why a host does not answer, for a person.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// Connects to the first address that takes it.
pub(crate) async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let each = async {
        let mut last = Failure("there is no address".into());
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    // Where the kernel does not know it, what nobody reads is let go of later.
                    let _ = setsockopt(&stream, sockopt::TcpUserTimeout, &limits::UNREAD_MS);
                    return Ok(stream);
                }
                Err(error) => last = Failure(format!("it cannot be reached: {error}")),
            }
        }
        Err(last)
    };
    timeout(limits::CONNECT_TIMEOUT, each).await.unwrap_or_else(|_| Err(Failure("it does not take connections in time".into())))
}

#[derive(Debug)]
enum Requests {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// The work on a connection. It ends by itself with the last request, but a host that does not read could hold that up for ever: some
/// time after nobody needs it any more, it is ended.
#[derive(Debug)]
pub(crate) struct Work(AbortHandle);

impl Drop for Work {
    fn drop(&mut self) {
        if self.0.is_finished() {
            return;
        }
        let work = self.0.clone();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(limits::CLOSED_WITHIN).await;
                work.abort();
            })),
            Err(_) => work.abort(),
        }
    }
}

#[derive(Debug)]
struct Sender {
    requests: Requests,
    work: Arc<Work>,
}

impl Sender {
    fn new(requests: Requests, connection: impl Future<Output: Send> + Send + 'static) -> Self {
        Self { requests, work: Arc::new(Work(tokio::spawn(connection).abort_handle())) }
    }

    /// Waits until a request may be sent; whether one may.
    async fn ready(&mut self) -> bool {
        match &mut self.requests {
            Requests::Http1(sender) => sender.ready().await.is_ok(),
            Requests::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    fn is_ready(&self) -> bool {
        match &self.requests {
            Requests::Http1(sender) => sender.is_ready(),
            Requests::Http2(sender) => sender.is_ready(),
        }
    }
}

/// A connection over TLS that nobody uses for the moment.
#[derive(Debug)]
pub(crate) struct Left {
    sender: Sender,
    protocols: Protocols,
    addresses: Vec<SocketAddr>,
}

impl Left {
    fn is_of_use(&self, offers: Offers) -> bool {
        let is_offered = match self.protocols {
            Protocols::Http1 => offers.http1,
            Protocols::Http2 => offers.http2,
        };
        is_offered && self.sender.is_ready()
    }
}

/// A host that requests are sent to.
pub(crate) struct Upstream {
    egress: Arc<Egress>,
    host: String,
    port: u16,
    /// Found once.
    addresses: OnceCell<Vec<SocketAddr>>,
    /// What is spoken, over TLS; none: HTTP/1.1 without.
    tls: Option<Protocols>,
    sender: Mutex<Option<Sender>>,
    /// Where the connection is left for who comes next.
    place: Option<Place>,
    /// Whether the host may see the requests of the connection otherwise than they were sent.
    is_spoilt: AtomicBool,
}

impl Upstream {
    fn new(egress: &Arc<Egress>, host: &str, port: u16, addresses: Option<Vec<SocketAddr>>, tls: Option<Protocols>) -> Self {
        Self {
            egress: Arc::clone(egress),
            host: host.to_owned(),
            port,
            addresses: OnceCell::new_with(addresses),
            tls,
            sender: Mutex::new(None),
            place: None,
            is_spoilt: AtomicBool::new(false),
        }
    }

    /// A host that is reached without TLS, once there is a request.
    pub(crate) async fn plain(egress: &Arc<Egress>, host: &str, port: u16) -> Result<Self, Code> {
        let upstream = Self::later(egress, host, port, None);
        upstream.find().await?;
        Ok(upstream)
    }

    /// A host whose addresses are found, and that is connected to, once there is a request that may go.
    pub(crate) fn later(egress: &Arc<Egress>, host: &str, port: u16, tls: Option<Protocols>) -> Self {
        Self::new(egress, host, port, None, tls)
    }

    /// The same without TLS, at these addresses.
    pub(crate) fn plain_at(egress: &Arc<Egress>, host: &str, port: u16, addresses: Vec<SocketAddr>) -> Self {
        Self::new(egress, host, port, Some(addresses), None)
    }

    /// Finds its addresses, unless they are known.
    pub(crate) async fn find(&self) -> Result<(), Code> {
        self.addresses.get_or_try_init(|| self.egress.resolver.find(&self.host, self.port)).await.map(|_| ())
    }

    /// A connection that was left at a place, and what is spoken over it.
    pub(crate) fn kept(egress: &Arc<Egress>, place: &Place, offers: Offers) -> Option<(Self, Protocols)> {
        let Left { sender, protocols, addresses } = egress.pool.take(place, |left| left.is_of_use(offers))?;
        let mut upstream = Self::new(egress, &place.host, place.port, Some(addresses), Some(protocols));
        (upstream.sender, upstream.place) = (Mutex::new(Some(sender)), Some(place.clone()));
        Some((upstream, protocols))
    }

    /// A host over TLS, which says what is spoken. The connection is left at its place, where it has one.
    pub(crate) async fn secure(
        egress: &Arc<Egress>,
        (host, port): (&str, u16),
        place: Option<Place>,
        addresses: Vec<SocketAddr>,
        stream: TcpStream,
        offers: Offers,
    ) -> Result<(Self, Protocols), Failure> {
        let mut upstream = Self::new(egress, host, port, Some(addresses), None);
        let (sender, protocols) = upstream.handshake(stream, offers).await?;
        (upstream.tls, upstream.sender, upstream.place) = (Some(protocols), Mutex::new(Some(sender)), place);
        Ok((upstream, protocols))
    }

    /// What is spoken.
    pub(crate) fn is_http2(&self) -> bool {
        self.tls == Some(Protocols::Http2)
    }

    /// Has nobody else use the connection afterwards.
    pub(crate) fn spoil(&self) {
        self.is_spoilt.store(true, Ordering::Relaxed);
    }

    async fn handshake(&self, stream: TcpStream, offers: Offers) -> Result<(Sender, Protocols), Failure> {
        let name = ServerName::try_from(self.host.clone()).map_err(|_| Failure("its name cannot be used for TLS".into()))?;
        let connecting = TlsConnector::from(self.egress.tls(offers)).connect(name, stream);
        let stream = timeout(limits::CONNECT_TIMEOUT, connecting).await.map_err(|_| Failure("its TLS takes too long".into()))?;
        let stream = stream.map_err(|error| Failure(format!("TLS with it failed: {error}{}", advice(&error))))?;
        let protocols =
            if stream.get_ref().1.alpn_protocol() == Some(Protocols::Http2.name()) { Protocols::Http2 } else { Protocols::Http1 };
        let broken = |error: hyper::Error| Failure(format!("HTTP with it failed: {error}"));
        let sender = match protocols {
            Protocols::Http1 => http1_over(stream).await.map_err(broken)?,
            Protocols::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX));
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
                Sender::new(Requests::Http2(sender), connection)
            }
        };
        Ok((sender, protocols))
    }

    async fn connected(&self) -> Result<Sender, Failure> {
        let stream = dial(self.addresses.get().map(Vec::as_slice).unwrap_or_default()).await?;
        match self.tls {
            None => http1_over(stream).await.map_err(|error| Failure(format!("HTTP with it failed: {error}"))),
            Some(protocols) => {
                let offers = if protocols == Protocols::Http1 { Offers::HTTP1 } else { Offers::HTTP2 };
                match self.handshake(stream, offers).await? {
                    (sender, spoken) if spoken == protocols => Ok(sender),
                    _ => Err(Failure("it does not speak the version of HTTP that the request came in".into())),
                }
            }
        }
    }

    /// Sends a request, over a new connection if the last one is gone. A request of which something was sent is never repeated. With the
    /// answer comes what is to be kept until its end.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, Arc<Work>), Failure> {
        let answer = async {
            let unsent = match self.tried(request).await? {
                Ok(response) => return Ok(response),
                Err(unsent) => unsent,
            };
            // The host ended the connection just then.
            *self.sender.lock().await = None;
            self.tried(unsent).await?.map_err(|_| Failure("it ends its connections".into()))
        };
        let answered = timeout(limits::ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(Failure("it did not answer in time".into())));
        // Who finds a request bad may have read another one than was sent.
        if answered.as_ref().map_or(true, |(response, _)| response.status() == StatusCode::BAD_REQUEST) {
            self.spoil();
        }
        answered
    }

    /// Sends a request, or gives it back as it was.
    async fn tried(&self, request: Request<Body>) -> Result<Result<(Response<Incoming>, Arc<Work>), Request<Body>>, Failure> {
        let mut held = self.sender.lock().await;
        let is_usable = match &mut *held {
            None => false,
            Some(sender) => sender.ready().await,
        };
        if !is_usable {
            *held = Some(self.connected().await?);
        }
        let Some(sender) = &mut *held else { return Err(Failure("it cannot be reached".into())) };
        let work = Arc::clone(&sender.work);
        let sent = match &mut sender.requests {
            Requests::Http1(sender) => sender.try_send_request(request).await,
            Requests::Http2(sender) => {
                let mut sender = sender.clone();
                drop(held);
                sender.try_send_request(request).await
            }
        };
        match sent {
            Ok(response) => Ok(Ok((response, work))),
            Err(error) => unsent(error).map(Err),
        }
    }
}

/// What helps against a failure of TLS, where something does.
fn advice(error: &std::io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "; its authority is not known: the server's operator can add it (`extra_ca` in `[egress]` of the settings)"
        }
        _ => "",
    }
}

fn unsent(mut error: TrySendError<Request<Body>>) -> Result<Request<Body>, Failure> {
    let message = error.take_message();
    message.ok_or_else(|| Failure(format!("it did not answer as HTTP says: {}", error.into_error())))
}

impl Drop for Upstream {
    /// Leaves the connection to who comes next, if it is sound.
    fn drop(&mut self) {
        let is_sound = !self.is_spoilt.load(Ordering::Relaxed);
        let (place, sender) = (self.place.take(), self.sender.get_mut().take());
        let (Some(place), Some(mut sender), Some(protocols), true) = (place, sender, self.tls, is_sound) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (egress, addresses) = (Arc::clone(&self.egress), self.addresses.take().unwrap_or_default());
        runtime.spawn(async move {
            // Who left in the middle of an answer leaves nothing.
            if !matches!(timeout(limits::KEPT_SETTLES, sender.ready()).await, Ok(true)) {
                return;
            }
            let workspace = place.workspace.clone();
            let Some(number) = egress.pool.leave(place, Left { sender, protocols, addresses }) else { return };
            tokio::time::sleep(limits::KEPT_FOR).await;
            egress.pool.forget(&workspace, number);
        });
    }
}

async fn http1_over(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Sender> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::HEAD_BYTES).max_headers(limits::HEADERS);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    Ok(Sender::new(Requests::Http1(sender), connection.with_upgrades()))
}
