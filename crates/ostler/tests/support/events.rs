//! Streams of events as a client reads them: frame by frame, an unfinished one is none.

use reqwest::Response;
use serde_json::Value;

use super::limits;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// The public position, where it has one.
    pub(crate) id: Option<u64>,
    /// The name of the event.
    pub(crate) name: String,
    /// The JSON object.
    pub(crate) data: Value,
}

impl Frame {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start);
        let data = field("data")?;
        let name = field("event")?;
        let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("an event is no JSON, {error}: {data}"));
        let id = field("id").map(|id| id.parse().unwrap_or_else(|_| panic!("an event's id is no position: {id}")));
        (name != "ping").then(|| Self { id, name: name.to_owned(), data })
    }

    /// The field at this JSON pointer, as text.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The text of all content blocks.
    pub(crate) fn said(&self) -> String {
        self.data["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).collect()
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    response: Response,
    buffer: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next frame; `None` when the stream is over, cut or not.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let text = std::str::from_utf8(&frame).expect("a stream is UTF-8");
                if let Some(frame) = Frame::parse(text) {
                    return Some(frame);
                }
                continue;
            }
            let chunk = tokio::time::timeout(limits::NEXT, self.response.chunk()).await.expect("a stream says something, if only ping");
            self.buffer.extend_from_slice(&chunk.ok().flatten()?);
        }
    }

    /// All frames up to and with the first that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut seen = Vec::new();
        let reading = async {
            loop {
                let Some(frame) = self.next().await else { return false };
                seen.push(frame);
                if seen.last().is_some_and(&fits) {
                    return true;
                }
            }
        };
        let found = tokio::time::timeout(limits::NEXT, reading).await;
        assert!(matches!(found, Ok(true)), "the awaited event did not come ({found:?}): {}", names(&seen).join(" "));
        seen
    }

    /// All frames up to and with the first of this name.
    pub(crate) async fn until_name(&mut self, name: &str) -> Vec<Frame> {
        self.until(|frame| frame.name == name).await
    }

    /// All frames of a turn.
    pub(crate) async fn turn(&mut self) -> Vec<Frame> {
        self.until_name("session.status_idle").await
    }

    /// Reads to the end, which must come.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut seen = Vec::new();
        let reading = async {
            while let Some(frame) = self.next().await {
                seen.push(frame);
            }
        };
        tokio::time::timeout(limits::NEXT, reading).await.expect("the stream ends");
        seen
    }
}

/// The names of frames.
pub(crate) fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.name.as_str()).collect()
}

/// The first frame of this name.
pub(crate) fn first<'a>(frames: &'a [Frame], name: &str) -> &'a Frame {
    frames.iter().find(|frame| frame.name == name).unwrap_or_else(|| panic!("there is no {name} in {}", names(frames).join(" ")))
}

/// What the agent said in these frames.
pub(crate) fn said(frames: &[Frame]) -> String {
    frames.iter().filter(|frame| frame.name == "agent.message").map(Frame::said).collect::<Vec<_>>().join("\n")
}
