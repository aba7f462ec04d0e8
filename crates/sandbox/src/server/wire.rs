//! Sockets of the server's side: connecting by directory and name, and whole messages.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::limits;
use crate::protocol::frame::{self, Decoder};

/// Connects to a socket in a directory whose path may be longer than a socket's address. Who
/// listens must be this user or root.
pub(super) async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let opened = std::fs::File::open(directory)?;
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd())).await?;
    let listener = stream.peer_cred()?.uid();
    if listener == nix::unistd::geteuid().as_raw() || listener == 0 {
        Ok(stream)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {listener} listens on {name}")))
    }
}

/// Whether an error means that nobody listens any more.
pub(super) fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

pub(super) async fn send<T: Serialize>(writer: &mut (impl AsyncWriteExt + Unpin), message: &T) -> io::Result<()> {
    writer.write_all(&frame::encode(message).map_err(io::Error::other)?).await
}

/// Messages as they arrive. Nothing is lost when waiting for one is given up.
#[derive(Debug)]
pub(super) struct Incoming<R> {
    reader: R,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl<R: AsyncReadExt + Unpin> Incoming<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, decoder: Decoder::default(), chunk: vec![0; limits::READ_CHUNK] }
    }

    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(message) = self.decoder.next(limits::MAX_FRAME).map_err(io::Error::other)? {
                return Ok(message);
            }
            match self.reader.read(&mut self.chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.decoder.push(&self.chunk[..count]),
            }
        }
    }
}
