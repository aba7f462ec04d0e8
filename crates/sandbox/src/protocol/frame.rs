//! Frames: a little-endian `u32` length and that many bytes of JSON. Bounded before memory is
//! taken. Knows nothing of messages or sockets.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {length} bytes is longer than the {limit} allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Not the JSON that was expected.
    #[error("a frame is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

const HEADER: usize = 4;

/// A message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    wrap(&serde_json::to_vec(message)?)
}

/// Bytes of JSON as a frame.
pub fn wrap(body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let limit = crate::limits::MAX_FRAME;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= limit);
    let length = length.ok_or(FrameError::TooLong { length: body.len(), limit })?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// The length that a header announces, if it is within the limit.
pub fn length(header: [u8; 4], limit: usize) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > limit { Err(FrameError::TooLong { length, limit }) } else { Ok(length) }
}

/// Puts frames together from the pieces that arrive.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        self.buffer.len() > self.taken
    }

    /// The next whole message, if there is one. What is not understood stays, to be read as
    /// something else.
    pub fn next<T: DeserializeOwned>(&mut self, limit: usize) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some(header) = rest.first_chunk::<HEADER>() else { return Ok(None) };
        let length = length(*header, limit)?;
        let Some(body) = rest.get(HEADER..HEADER + length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.taken += HEADER + length;
        if self.taken == self.buffer.len() {
            self.buffer = Vec::new();
            self.taken = 0;
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn messages_survive_any_cut() {
        let mut bytes = encode(&json!({"a": 1})).unwrap();
        bytes.extend(encode(&json!("two")).unwrap());
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen: Vec<Value> = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(message) = decoder.next(100).unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [json!({"a": 1}), json!("two")]);
            assert!(!decoder.is_partial());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next::<Value>(100), Err(FrameError::TooLong { limit: 100, .. })));
    }

    #[test]
    fn half_a_frame_is_no_message_and_garbage_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[9, 0, 0, 0, b'{']);
        assert!(decoder.next::<Value>(100).unwrap().is_none());
        assert!(decoder.is_partial());
        decoder.push(b"\xff\xfe\0\0\0\0\0\0");
        assert!(matches!(decoder.next::<Value>(100), Err(FrameError::Json(_))));
    }

    #[test]
    fn what_is_not_understood_can_be_read_as_something_else() {
        let mut decoder = Decoder::default();
        decoder.push(&encode(&json!({"a": 1})).unwrap());
        assert!(matches!(decoder.next::<String>(100), Err(FrameError::Json(_))));
        assert_eq!(decoder.next::<Value>(100).unwrap(), Some(json!({"a": 1})));
        assert!(!decoder.is_partial());
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        assert!(matches!(wrap(&vec![b' '; crate::limits::MAX_FRAME + 1]), Err(FrameError::TooLong { .. })));
    }
}
