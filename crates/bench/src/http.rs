//! The load client: one kept connection for requests, one for each stream. Every frame of a stream
//! is stamped as it arrives.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::clock;

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    /// The address as requests name it.
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
    key: Option<&'static str>,
}

impl Client {
    /// Connects, without delay of small packets.
    pub(crate) async fn connect(address: SocketAddr, key: Option<&'static str>) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        // A connection that breaks shows in the request that is sent on it.
        tokio::spawn(connection);
        Ok(Self { host: HeaderValue::from_str(&address.to_string())?, sender, key })
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.host.clone());
        if let Some(key) = self.key {
            request = request.header("x-api-key", key);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(self.sender.send_request(request.body(Full::new(body))?).await?)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let response = self.ask(method, path, body).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends something whose answer is not looked at, unless it is a refusal.
    pub(crate) async fn send_only(&mut self, path: &str, body: Bytes) -> anyhow::Result<()> {
        let (status, answer) = self.send(Method::POST, path, body).await?;
        if !status.is_success() {
            bail!("POST {path} was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    async fn value(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path} was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
        serde_json::from_slice(&answer).with_context(|| format!("the answer to {method} {path} is no JSON"))
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.value(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.value(Method::POST, path, Bytes::from(body.to_string())).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        self.value(Method::DELETE, path, Bytes::new()).await
    }

    /// Turns the connection into a stream of events; returns once the server has said that it is open.
    pub(crate) async fn follow(mut self, path: &str) -> anyhow::Result<Follower> {
        let response = self.ask(Method::GET, path, Bytes::new()).await?;
        if !response.status().is_success() {
            bail!("GET {path} was answered with {}", response.status());
        }
        let mut follower = Follower { body: response.into_body(), buffer: BytesMut::new(), arrived: 0, _client: self };
        follower.more().await?;
        Ok(follower)
    }
}

/// One event of a stream.
#[derive(Debug)]
pub(crate) struct Frame {
    /// When its last byte was here, on [`clock`].
    pub(crate) at: u64,
    /// Its name.
    pub(crate) kind: Bytes,
    /// Its data.
    pub(crate) data: Bytes,
}

/// A stream of events as its reader sees it.
#[derive(Debug)]
pub(crate) struct Follower {
    body: Incoming,
    buffer: BytesMut,
    arrived: u64,
    /// Dropping it would end the connection.
    _client: Client,
}

impl Follower {
    async fn more(&mut self) -> anyhow::Result<()> {
        loop {
            let frame = self.body.frame().await.context("a stream of events ended")??;
            if let Ok(data) = frame.into_data() {
                self.arrived = clock::now();
                self.buffer.extend_from_slice(&data);
                return Ok(());
            }
        }
    }

    /// The next named event; comments are passed over.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Frame> {
        loop {
            match self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                Some(end) => {
                    let text = self.buffer.split_to(end + 2).freeze();
                    if let Some(frame) = frame(&text, self.arrived) {
                        return Ok(frame);
                    }
                }
                None => self.more().await?,
            }
        }
    }

    /// Reads on to the event with this name. An event that says that the session failed ends the run.
    pub(crate) async fn until(&mut self, kind: &str) -> anyhow::Result<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind.as_bytes() {
                return Ok(frame);
            }
            if frame.kind == "session.error".as_bytes() {
                bail!("a session failed: {}", String::from_utf8_lossy(&frame.data));
            }
        }
    }
}

fn frame(text: &Bytes, at: u64) -> Option<Frame> {
    let (mut kind, mut data) = (None, Bytes::new());
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(name) = line.strip_prefix(b"event: ") {
            kind = Some(text.slice_ref(name));
        } else if let Some(value) = line.strip_prefix(b"data: ") {
            data = text.slice_ref(value);
        }
    }
    kind.map(|kind| Frame { at, kind, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_a_name_and_data_and_a_comment_is_none() {
        let found = frame(&Bytes::from_static(b"id: 7\nevent: session.status_idle\ndata: {\"a\":1}\n\n"), 3).unwrap();
        assert_eq!((found.at, found.kind.as_ref(), found.data.as_ref()), (3, b"session.status_idle".as_slice(), b"{\"a\":1}".as_slice()));
        assert!(frame(&Bytes::from_static(b": open\n\n"), 3).is_none());
    }
}
