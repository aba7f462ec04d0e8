//! The scripted model: quick, and with a log of when each request was there and when its answer left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, header};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::script::{self, Part};
use super::{Body, whole};
use crate::clock;

/// One request to the model, on [`clock`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    /// When all of the request was there.
    pub(crate) received: u64,
    /// When the last piece of the answer was given to the connection; 0 while it was not.
    pub(crate) ended: u64,
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    held: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    log: Rc<RefCell<Log>>,
    /// Counts how often those that wait were let go.
    releases: Rc<watch::Sender<u64>>,
}

impl Model {
    pub(super) async fn answer(self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        match request.uri().path() {
            "/_log" => {
                let calls = std::mem::take(&mut self.log.borrow_mut().calls);
                return Ok(Response::new(whole(serde_json::to_vec(&calls)?)));
            }
            "/_held" => {
                let held = self.log.borrow().held;
                return Ok(Response::new(whole(held.to_string())));
            }
            "/_release" => {
                self.releases.send_modify(|count| *count += 1);
                return Ok(Response::new(whole("true")));
            }
            _ => {}
        }
        let body = request.into_body().collect().await?.to_bytes();
        let received = clock::now();
        let parts: VecDeque<Part> = script::answer(&body).into();
        let index = {
            let mut log = self.log.borrow_mut();
            log.calls.push(Call { received, ended: 0 });
            log.calls.len() - 1
        };
        let playing = Playing { model: self, parts, index, received };
        // The pieces are made by a task of this thread, the body by the connection; between them a channel that
        // takes no more than one piece would cost a switch for each, so all of an answer fits.
        let (sink, pieces) = tokio::sync::mpsc::channel::<Bytes>(playing.parts.len().max(1));
        tokio::task::spawn_local(playing.play(sink));
        let stream = futures::stream::unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((Ok::<_, anyhow::Error>(Frame::data(piece)), pieces))
        });
        let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
        Ok(response)
    }
}

struct Playing {
    model: Model,
    parts: VecDeque<Part>,
    index: usize,
    received: u64,
}

impl Playing {
    async fn play(mut self, sink: tokio::sync::mpsc::Sender<Bytes>) {
        while let Some(part) = self.parts.pop_front() {
            let piece = match part {
                Part::Send(text) => text,
                Part::Stamped => script::stamped(clock::now()),
                Part::Pause(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Part::Hold => {
                    self.hold(&sink).await;
                    continue;
                }
            };
            if self.parts.is_empty() {
                self.end();
            }
            if sink.send(piece.into()).await.is_err() {
                return;
            }
        }
    }

    async fn hold(&mut self, sink: &tokio::sync::mpsc::Sender<Bytes>) {
        let mut releases = self.model.releases.subscribe();
        self.model.log.borrow_mut().held += 1;
        tokio::select! {
            _ = releases.changed() => {}
            // The one who asked is gone.
            () = sink.closed() => {}
        }
        self.model.log.borrow_mut().held -= 1;
    }

    /// Writes down that the answer left, unless the log was taken meanwhile.
    fn end(&self) {
        let mut log = self.model.log.borrow_mut();
        if let Some(call) = log.calls.get_mut(self.index).filter(|call| call.received == self.received) {
            call.ended = clock::now();
        }
    }
}
