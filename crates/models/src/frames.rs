//! Bytes of an event stream into the data of its events, whatever the chunks; bounded. The names
//! of events are dropped: the data repeats them. Older llama.cpp servers write a failure as a line
//! `error: {...}`, a field that event streams do not have; it is read as data.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use ostler_core::model::{ModelError, ModelErrorKind};
use sse_stream::SseByteStream;

use crate::failure::failure;
use crate::limits::FRAME_BYTES;

/// Chunks that wait to be decoded; empty means "not yet", never "ended".
#[derive(Debug, Clone, Default)]
struct Chunks(Arc<Mutex<VecDeque<Bytes>>>);

impl Stream for Chunks {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            None => Poll::Pending,
        }
    }
}

/// Decodes a stream chunk by chunk, without waiting itself: the caller owns the clock.
pub(crate) struct FrameDecoder {
    chunks: Chunks,
    lines: LineStarts,
    events: SseByteStream<Chunks>,
    /// Bytes since the last complete event: what the decoder may be holding.
    held: usize,
}

impl FrameDecoder {
    pub(crate) fn new() -> Self {
        let chunks = Chunks::default();
        Self { events: SseByteStream::new(chunks.clone()), chunks, lines: LineStarts::default(), held: 0 }
    }

    /// The data of the events that this chunk completes.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Vec<String>, ModelError> {
        let length = chunk.len();
        let chunk = self.lines.rewrite(chunk);
        self.chunks.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(chunk);
        let mut complete = Vec::new();
        self.held = self.held.saturating_add(length);
        while let Some(next) = self.events.next().now_or_never() {
            match next {
                Some(Ok(event)) => {
                    self.held = length;
                    complete.extend(event.data);
                }
                Some(Err(_)) | None => {
                    return Err(failure(ModelErrorKind::Protocol, "the model's answer is no valid event stream"));
                }
            }
        }
        if self.held > FRAME_BYTES {
            return Err(failure(ModelErrorKind::Protocol, "one event of the model's answer is larger than this server reads"));
        }
        Ok(complete)
    }
}

/// Turns the field name `error` at the start of a line into `data`.
#[derive(Debug, Default)]
struct LineStarts {
    /// How much of the name the current line has so far; `None` once it is something else.
    matched: Option<usize>,
    /// Whether a line has begun yet.
    begun: bool,
}

impl LineStarts {
    const FIELD: &'static [u8] = b"error:";

    /// What of the stream is known after this chunk; the beginning of a name is held back until it
    /// is whole or something else.
    fn rewrite(&mut self, chunk: Bytes) -> Bytes {
        if !self.begun {
            self.begun = true;
            self.matched = Some(0);
        }
        // Nearly every chunk is passed on as it is.
        let held = self.matched.unwrap_or(0);
        if held == 0 && !chunk.contains(&b'e') {
            self.matched = match chunk.last() {
                Some(b'\n' | b'\r') => Some(0),
                Some(_) => None,
                None => self.matched,
            };
            return chunk;
        }
        let mut out = Vec::with_capacity(chunk.len() + Self::FIELD.len());
        for byte in chunk {
            if let Some(matched) = self.matched {
                if Self::FIELD.get(matched) == Some(&byte) {
                    self.matched = Some(matched + 1);
                    if matched + 1 == Self::FIELD.len() {
                        out.extend_from_slice(b"data:");
                        self.matched = None;
                    }
                    continue;
                }
                out.extend_from_slice(Self::FIELD.get(..matched).unwrap_or_default());
            }
            self.matched = matches!(byte, b'\n' | b'\r').then_some(0);
            out.push(byte);
        }
        Bytes::from(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_whatever_the_chunks() {
        let text = "event: a\ndata: {\"x\":\"é\"}\n\n: comment\n\ndata: 2\r\n\r\ndata: cut";
        for size in 1..text.len() {
            let mut decoder = FrameDecoder::new();
            let mut seen = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                seen.extend(decoder.push(Bytes::copy_from_slice(chunk)).unwrap());
            }
            assert_eq!(seen, ["{\"x\":\"é\"}", "2"], "chunks of {size}");
        }
    }

    #[test]
    fn the_error_lines_of_llama_cpp_are_read_as_data() {
        let text = "data: 1\r\n\r\nerror: {\"code\":500}\n\nevent: e\ndata: error: 2\nerr: 3\nerrors: 4\n\nerror:5\n\n";
        for size in 1..text.len() {
            let mut decoder = FrameDecoder::new();
            let mut seen = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                seen.extend(decoder.push(Bytes::copy_from_slice(chunk)).unwrap());
            }
            assert_eq!(seen, ["1", "{\"code\":500}", "error: 2", "5"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut decoder = FrameDecoder::new();
        let mut fed = decoder.push(Bytes::from_static(b"data: "));
        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
        let mut pushes = 0;
        while fed.is_ok() && pushes < 100 {
            fed = decoder.push(chunk.clone());
            pushes += 1;
        }
        assert_eq!(fed.unwrap_err().kind, ModelErrorKind::Protocol);
        assert_eq!(pushes, FRAME_BYTES >> 20);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let fed = FrameDecoder::new().push(Bytes::from_static(b"data: \xff\xfe\n\n"));
        assert_eq!(fed.unwrap_err().kind, ModelErrorKind::Protocol);
    }
}
