//! Server-sent events: frames as bytes, and the life of one stream. What is on it is decided by the
//! follower of the runtime.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use ostler_runtime::subscribe::{Follower, Frame};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::api::Api;
use crate::auth::{self, Caller};
use crate::slots::StreamSlot;

/// Sent at once, so that the client knows that nothing it does from now on is missed.
const OPENED: &[u8] = b": open\n\n";
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One client on one stream.
#[derive(Debug)]
struct EventStream {
    api: Api,
    caller: Caller,
    follower: Follower,
    ping: Interval,
    recheck: Interval,
    opened: bool,
    /// Given back when the stream ends.
    _slot: StreamSlot,
}

/// The answer that streams what a follower sees until the session is deleted, the key is revoked,
/// the client leaves or the server stops.
pub(crate) fn response(api: Api, caller: Caller, follower: Follower, slot: StreamSlot) -> Response {
    let (ping, recheck) = (every(api.state.config.ping_interval), every(api.state.config.recheck_key_interval));
    let stream = EventStream { api, caller, follower, ping, recheck, opened: false, _slot: slot };
    let chunks = futures::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), stream))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn every(period: std::time::Duration) -> Interval {
    let period = period.max(std::time::Duration::from_millis(1));
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl EventStream {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.opened {
            self.opened = true;
            return Some(Bytes::from_static(OPENED));
        }
        loop {
            tokio::select! {
                biased;
                () = self.api.stopping.cancelled() => return None,
                _ = self.recheck.tick() => {
                    if !auth::is_live(&self.api, &self.caller.key).await {
                        return None;
                    }
                }
                frame = self.follower.next() => {
                    self.ping.reset();
                    return frame.map(|frame| bytes(&frame));
                }
                _ = self.ping.tick() => return Some(Bytes::from_static(PING)),
            }
        }
    }
}

fn bytes(frame: &Frame) -> Bytes {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = match frame {
        Frame::Event { position: Some(position), kind, .. } => writeln!(text, "id: {position}\nevent: {kind}"),
        Frame::Event { position: None, kind, .. } => writeln!(text, "event: {kind}"),
        Frame::Preview { kind, .. } => writeln!(text, "event: {kind}"),
    };
    let (Frame::Event { body, .. } | Frame::Preview { body, .. }) = frame;
    // A line end within JSON is only space between values; a client joins the lines again.
    for line in body.lines() {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_as_the_protocol_wants() {
        let event = Frame::Event { position: Some(7), kind: "agent.message".into(), body: r#"{"type":"agent.message"}"#.into() };
        assert_eq!(bytes(&event), "id: 7\nevent: agent.message\ndata: {\"type\":\"agent.message\"}\n\n");
        let deleted = Frame::Event { position: None, kind: "session.deleted".into(), body: "{}".into() };
        assert_eq!(bytes(&deleted), "event: session.deleted\ndata: {}\n\n");
        let preview = Frame::Preview { kind: "event_delta", body: "{}".into() };
        assert_eq!(bytes(&preview), "event: event_delta\ndata: {}\n\n");
    }

    #[test]
    fn a_body_of_several_lines_cannot_forge_a_frame() {
        let event = Frame::Event { position: Some(1), kind: "x".into(), body: "{\n\nevent: forged\n}".into() };
        assert_eq!(bytes(&event), "id: 1\nevent: x\ndata: {\ndata: \ndata: event: forged\ndata: }\n\n");
    }
}
