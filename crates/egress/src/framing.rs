//! Finds requests that say their length twice. The HTTP library follows the specification and lets `Transfer-Encoding` win, so
//! what is sent on is sound; but nobody sends both except to confuse, and such a request is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether both were seen in one head since the last request.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    is_double: AtomicBool,
}

impl Framing {
    /// Whether both were seen; asked once for each request.
    pub(crate) fn take(&self) -> bool {
        self.is_double.swap(false, Ordering::Relaxed)
    }
}

const LENGTH: &[u8] = b"content-length";
const ENCODING: &[u8] = b"transfer-encoding";

/// Lines, as far as they begin like one of the two headers. A body may hold such lines, too; that refuses
/// the next request of its connection if that one is chunked, and nothing else.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
    has_length: bool,
    has_encoding: bool,
}

impl Lines {
    /// Whether a head that holds both ended its second one in these bytes.
    fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut is_double = false;
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let line = &bytes[..end.unwrap_or(bytes.len())];
            let room = (ENCODING.len() + 1).saturating_sub(self.begun.len());
            self.begun.extend(line.iter().take(room).map(u8::to_ascii_lowercase));
            let Some(end) = end else { break };
            if self.begun.is_empty() || self.begun == b"\r" {
                (self.has_length, self.has_encoding) = (false, false);
            }
            self.has_length |= self.begun.starts_with(LENGTH);
            self.has_encoding |= self.begun.starts_with(ENCODING);
            is_double |= self.has_length && self.has_encoding;
            self.begun.clear();
            bytes = &bytes[end + 1..];
        }
        is_double
    }
}

/// A connection whose lines are looked at as they are read.
#[derive(Debug)]
pub(crate) struct Framed<S> {
    stream: S,
    lines: Lines,
    framing: Arc<Framing>,
}

impl<S> Framed<S> {
    pub(crate) fn new(stream: S, framing: &Arc<Framing>) -> Self {
        Self { stream, lines: Lines::default(), framing: Arc::clone(framing) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && self.lines.read(&buf.filled()[before..]) {
            self.framing.is_double.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_headers_in_one_head_are_found_however_they_arrive() {
        let table = [
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nX: y\r\nCONTENT-LENGTH:3\r\n\r\n", true),
            ("POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ];
        for (text, expected) in table {
            assert_eq!(Lines::default().read(text.as_bytes()), expected, "{text}");
            let mut lines = Lines::default();
            let found = text.as_bytes().chunks(1).map(|byte| lines.read(byte)).fold(false, |found, is| found | is);
            assert_eq!(found, expected, "{text}");
        }
    }
}
