//! Bodies on their way: counted, replaced in, decoded.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, LengthLimitError, Limited, StreamBody};
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::record::Line;
use crate::replace::{Stream, Table};
use crate::sandboxes::Permit;
use crate::traffic::{Spent, Traffic};

/// Why a body ended too early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BodyError(String);

impl BodyError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }

    /// Whether the body had more bytes than it may; a decoder passes this on.
    pub(crate) fn is_limit(&self) -> bool {
        self.0 == TOO_LONG
    }
}

const TOO_LONG: &str = "it has more bytes than it may";

/// A body that is passed on.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body that is there as a whole.
pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body without anything.
pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

/// A body as it comes in.
pub(crate) fn incoming(body: hyper::body::Incoming) -> Body {
    body.map_err(BodyError::of).boxed_unsync()
}

/// A body with its bytes counted.
pub(crate) fn counted(body: Body, count: Arc<AtomicU64>) -> Body {
    Counted { body, count }.boxed_unsync()
}

struct Counted {
    body: Body,
    count: Arc<AtomicU64>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &next {
            self.count.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Ordering::Relaxed);
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A body at the rate that a sandbox may have, and no more of it than it may. Of an answer it is what the sandbox sees: behind this
/// nothing else may wait for time to pass, which a sandbox could make pass.
pub(crate) fn paced(body: Body, traffic: Arc<Traffic>) -> Body {
    Paced { body, traffic, waits: None }.boxed_unsync()
}

struct Paced {
    body: Body,
    traffic: Arc<Traffic>,
    /// Until when the next piece waits.
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(waits) = &mut this.waits {
            ready!(waits.as_mut().poll(cx));
            this.waits = None;
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            match this.traffic.moved(data.len()) {
                Ok(until) => this.waits = until.map(|until| Box::pin(tokio::time::sleep_until(until))),
                Err(Spent) => return Poll::Ready(Some(Err(BodyError("the sandbox has sent and received as much as it may".into())))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A body with everything in the table replaced, trailers too.
pub(crate) fn replaced(body: Body, table: Arc<Table>) -> Body {
    if table.is_empty() {
        return body;
    }
    Replaced { body, stream: Some(Stream::new(Arc::clone(&table))), table, trailers: None, waits: None }.boxed_unsync()
}

/// A body that keeps a line of the log open, and a place taken, until it ends, or until it must.
pub(crate) fn with_line(body: Body, line: Line, ended: CancellationToken, place: Option<Arc<Permit>>) -> Body {
    WithLine { body, _line: line, ended, _place: place }.boxed_unsync()
}

/// A body that breaks once it has more bytes than that.
pub(crate) fn limited(body: Body, most: usize) -> Body {
    let of = |error: Box<dyn std::error::Error + Send + Sync>| {
        if error.is::<LengthLimitError>() { BodyError(TOO_LONG.into()) } else { BodyError::of(error) }
    };
    Limited::new(body, most).map_err(of).boxed_unsync()
}

/// A body that breaks when it is longer than this.
pub(crate) fn at_most(body: Body, bytes: usize) -> Body {
    http_body_util::Limited::new(body, bytes).map_err(BodyError::of).boxed_unsync()
}

/// A body that keeps something until it ends.
pub(crate) fn keeping<T: Send + Unpin + 'static>(body: Body, kept: T) -> Body {
    Keeping { body, _kept: kept }.boxed_unsync()
}

struct Keeping<T> {
    body: Body,
    _kept: T,
}

impl<T: Unpin> http_body::Body for Keeping<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

struct Replaced {
    body: Body,
    /// Gone once the end has come.
    stream: Option<Stream>,
    table: Arc<Table>,
    trailers: Option<HeaderMap>,
    /// Until when what is held waits for more.
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl http_body::Body for Replaced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let this = &mut *self;
            let Some(stream) = &mut this.stream else {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            let next = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(next) => {
                    this.waits = None;
                    next
                }
                Poll::Pending if stream.holds() > 0 => {
                    // Whoever reads may wait for just this before anything more is said.
                    let waits = this.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience(stream))));
                    ready!(waits.as_mut().poll(cx));
                    this.waits = None;
                    return Poll::Ready(Some(Ok(Frame::data(stream.finish()))));
                }
                Poll::Pending => return Poll::Pending,
            };
            let rest = match next {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let out = stream.push(&data);
                        if out.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().unwrap_or_default();
                        in_headers(&this.table, &mut trailers);
                        this.trailers = Some(trailers);
                        stream.finish()
                    }
                },
                None => stream.finish(),
            };
            this.stream = None;
            if !rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(rest))));
            }
        }
    }
}

/// How long what is held waits for what makes it whole, or something else.
pub(crate) fn patience(held: &Stream) -> std::time::Duration {
    if held.holds() <= limits::HELD_SHORT { limits::HELD } else { limits::HELD_MOST }
}

struct WithLine {
    body: Body,
    _line: Line,
    ended: CancellationToken,
    _place: Option<Arc<Permit>>,
}

impl http_body::Body for WithLine {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended.is_cancelled() {
            return Poll::Ready(Some(Err(BodyError("what allowed it is gone".into()))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Replaces in the values of headers. What a replacement makes of a value is one as well: placeholders are plain text.
pub(crate) fn in_headers(table: &Table, headers: &mut HeaderMap) {
    let named: Vec<_> = headers.keys().filter(|name| table.is_in_name(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        if let Some(changed) = table.whole(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&changed).unwrap_or_else(|_| HeaderValue::from_static("[redacted]"));
        }
    }
}

/// A body without its content encoding; none where the encoding is not known.
pub(crate) fn decoded(body: Body, encoding: &[u8]) -> Option<Body> {
    use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder};

    let encoding = encoding.trim_ascii().to_ascii_lowercase();
    if encoding.is_empty() || encoding == b"identity" {
        return Some(body);
    }
    let frames = futures::TryStreamExt::map_err(BodyStream::new(body), std::io::Error::other);
    let reader = StreamReader::new(Box::pin(frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) })));
    let frames = |error: std::io::Error| BodyError::of(error);
    Some(match &encoding[..] {
        b"gzip" | b"x-gzip" => {
            StreamBody::new(ReaderStream::new(GzipDecoder::new(reader)).map_ok(Frame::data).map_err(frames)).boxed_unsync()
        }
        b"br" => StreamBody::new(ReaderStream::new(BrotliDecoder::new(reader)).map_ok(Frame::data).map_err(frames)).boxed_unsync(),
        b"deflate" => StreamBody::new(ReaderStream::new(ZlibDecoder::new(reader)).map_ok(Frame::data).map_err(frames)).boxed_unsync(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn body(pieces: &'static [&'static str], trailer: Option<&'static str>) -> Body {
        let mut frames: Vec<Result<Frame<Bytes>, BodyError>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        if let Some(trailer) = trailer {
            frames.push(Ok(Frame::trailers([(http::header::ETAG, HeaderValue::from_static(trailer))].into_iter().collect())));
        }
        StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn bodies_and_trailers_are_replaced_across_their_pieces() {
        let table = Arc::new(Table::new([(b"secret".to_vec(), b"S".to_vec())]));
        let whole = replaced(body(&["a se", "cr", "et b sec"], Some("is secret")), table).collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["etag"], "is S");
        assert_eq!(whole.to_bytes(), "a S b sec");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_the_beginning_of_a_secret_is_held_for_a_while_only() {
        let table = Arc::new(Table::new([(b"secret".to_vec(), b"S".to_vec())]));
        let first: Result<Frame<Bytes>, BodyError> = Ok(Frame::data(Bytes::from_static(b"yes")));
        let pieces = futures::stream::iter([first]).chain(futures::stream::pending());
        let mut body = replaced(StreamBody::new(pieces).boxed_unsync(), table);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "ye");
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "s");
    }

    #[tokio::test]
    async fn encodings_are_taken_off_or_not_known() {
        use tokio::io::AsyncWriteExt as _;
        let mut encoder = async_compression::tokio::write::GzipEncoder::new(Vec::new());
        encoder.write_all(b"hello secret").await.unwrap();
        encoder.shutdown().await.unwrap();
        let packed = full(Bytes::from(encoder.into_inner()));
        assert_eq!(decoded(packed, b"GZIP").unwrap().collect().await.unwrap().to_bytes(), "hello secret");
        assert!(decoded(empty(), b"zstd").is_none());
        assert_eq!(decoded(full("x".into()), b"identity").unwrap().collect().await.unwrap().to_bytes(), "x");
    }
}
