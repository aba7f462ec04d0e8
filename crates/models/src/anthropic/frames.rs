//! Bytes of an event stream into the data of its events, whatever the chunks; bounded. The names
//! of events are dropped: the data repeats them.

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
pub(super) struct FrameDecoder {
    chunks: Chunks,
    events: SseByteStream<Chunks>,
    /// Bytes since the last complete event: what the decoder may be holding.
    held: usize,
}

impl FrameDecoder {
    pub(super) fn new() -> Self {
        let chunks = Chunks::default();
        Self { events: SseByteStream::new(chunks.clone()), chunks, held: 0 }
    }

    /// The data of the events that this chunk completes.
    pub(super) fn push(&mut self, chunk: Bytes) -> Result<Vec<String>, ModelError> {
        let length = chunk.len();
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
