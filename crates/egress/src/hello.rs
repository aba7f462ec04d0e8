//! The first bytes of a connection: TLS with the name that it is for, HTTP, or neither.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::limits;
use ostler_core::egress::policy;

/// What a connection begins with.
pub(crate) enum First {
    /// The first message of TLS.
    Tls(Box<Hello>),
    /// Something that may be HTTP.
    Http(Bytes),
    /// Neither.
    Other,
}

/// The first message of TLS.
pub(crate) struct Hello {
    /// As it was read.
    pub(crate) read: Bytes,
    /// For a handshake on our side.
    pub(crate) accepted: Accepted,
    /// The name that it is for, in its normal form.
    pub(crate) name: Option<String>,
    /// Whether it offers HTTP/2, and HTTP/1.1. Without any offer it is HTTP/1.1.
    pub(crate) http2: bool,
    pub(crate) http1: bool,
}

/// Reads the beginning of a connection.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<First> {
    const HANDSHAKE: u8 = 0x16;
    let mut read = Vec::with_capacity(2_048);
    let mut acceptor = Acceptor::default();
    loop {
        let before = read.len();
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(First::Other);
        }
        match read.first() {
            Some(&HANDSHAKE) => {}
            Some(byte) if byte.is_ascii_uppercase() => return Ok(First::Http(read.into())),
            _ => return Ok(First::Other),
        }
        if read.len() > limits::HELLO_BYTES {
            return Ok(First::Other);
        }
        let mut new = &read[before..];
        while !new.is_empty() {
            if acceptor.read_tls(&mut new)? == 0 {
                return Ok(First::Other);
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let name = hello.server_name().and_then(policy::normal);
                let offers: Option<Vec<&[u8]>> = hello.alpn().map(Iterator::collect);
                let (http2, http1) = match offers {
                    Some(offers) => (offers.contains(&&b"h2"[..]), offers.contains(&&b"http/1.1"[..])),
                    None => (false, true),
                };
                return Ok(First::Tls(Box::new(Hello { read: read.into(), name, http2, http1, accepted })));
            }
            Ok(None) => {}
            Err(_) => return Ok(First::Other),
        }
    }
}

/// A connection of which the beginning has been read.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    first: Bytes,
    stream: S,
}

impl<S> Begun<S> {
    pub(crate) fn new(first: Bytes, stream: S) -> Self {
        Self { first, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
