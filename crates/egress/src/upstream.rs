//! The way to a host: dialled at checked addresses, TLS with the name that was asked for, and requests over it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::authority::Protocols;
use crate::body::Body;
use crate::limits;
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
                    return Ok(stream);
                }
                Err(error) => last = Failure(format!("it cannot be reached: {error}")),
            }
        }
        Err(last)
    };
    timeout(limits::CONNECT_TIMEOUT, each).await.unwrap_or_else(|_| Err(Failure("it does not take connections in time".into())))
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
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
}

impl Upstream {
    /// A host that is reached without TLS, once there is a request.
    pub(crate) async fn plain(egress: &Arc<Egress>, host: &str, port: u16) -> Result<Self, Code> {
        let upstream = Self::later(egress, host, port, None);
        upstream.find().await?;
        Ok(upstream)
    }

    /// A host whose addresses are found, and that is connected to, once there is a request that may go.
    pub(crate) fn later(egress: &Arc<Egress>, host: &str, port: u16, tls: Option<Protocols>) -> Self {
        let (egress, host) = (Arc::clone(egress), host.to_owned());
        Self { egress, host, port, addresses: OnceCell::new(), tls, sender: Mutex::new(None) }
    }

    /// The same without TLS, at these addresses.
    pub(crate) fn plain_at(egress: &Arc<Egress>, host: &str, port: u16, addresses: Vec<SocketAddr>) -> Self {
        Self { addresses: OnceCell::new_with(Some(addresses)), ..Self::later(egress, host, port, None) }
    }

    /// Finds its addresses, unless they are known.
    pub(crate) async fn find(&self) -> Result<(), Code> {
        self.addresses.get_or_try_init(|| self.egress.resolver.find(&self.host, self.port)).await.map(|_| ())
    }

    /// A host over TLS, which says what is spoken.
    pub(crate) async fn secure(
        egress: &Arc<Egress>,
        host: &str,
        port: u16,
        addresses: Vec<SocketAddr>,
        stream: TcpStream,
        offers: Offers,
    ) -> Result<(Self, Protocols), Failure> {
        let mut upstream = Self { addresses: OnceCell::new_with(Some(addresses)), ..Self::later(egress, host, port, None) };
        let (sender, protocols) = upstream.handshake(stream, offers).await?;
        upstream.tls = Some(protocols);
        upstream.sender = Mutex::new(Some(sender));
        Ok((upstream, protocols))
    }

    /// What is spoken.
    pub(crate) fn is_http2(&self) -> bool {
        self.tls == Some(Protocols::Http2)
    }

    async fn handshake(&self, stream: TcpStream, offers: Offers) -> Result<(Sender, Protocols), Failure> {
        let name = ServerName::try_from(self.host.clone()).map_err(|_| Failure("its name cannot be used for TLS".into()))?;
        let connecting = TlsConnector::from(self.egress.tls(offers)).connect(name, stream);
        let stream = timeout(limits::CONNECT_TIMEOUT, connecting).await.map_err(|_| Failure("its TLS takes too long".into()))?;
        let stream = stream.map_err(|error| Failure(format!("TLS with it failed: {error}")))?;
        let protocols =
            if stream.get_ref().1.alpn_protocol() == Some(Protocols::Http2.name()) { Protocols::Http2 } else { Protocols::Http1 };
        let broken = |error: hyper::Error| Failure(format!("HTTP with it failed: {error}"));
        let sender = match protocols {
            Protocols::Http1 => http1_over(stream).await.map_err(broken)?,
            Protocols::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX));
                let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
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

    /// Sends a request, over a new connection if the last one is gone. A request that was sent is never repeated.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let answer = async {
            let mut held = self.sender.lock().await;
            let is_usable = match &mut *held {
                None => false,
                Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
                Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            };
            if !is_usable {
                *held = Some(self.connected().await?);
            }
            let sent = match &mut *held {
                Some(Sender::Http1(sender)) => sender.send_request(request).await,
                Some(Sender::Http2(sender)) => {
                    let mut sender = sender.clone();
                    drop(held);
                    sender.send_request(request).await
                }
                None => return Err(Failure("it cannot be reached".into())),
            };
            sent.map_err(|error| Failure(format!("it did not answer as HTTP says: {error}")))
        };
        timeout(limits::ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(Failure("it did not answer in time".into())))
    }
}

async fn http1_over(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Sender> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::HEAD_BYTES).max_headers(limits::HEADERS);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}
