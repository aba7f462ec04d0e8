//! One connection of a poll loop: frames in, frames out, without blocking. Bounded on both ways.
//! Knows nothing of what the frames mean.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::PollFlags;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits;
use crate::protocol::frame::{self, Decoder, FrameError};

#[derive(Debug)]
pub(crate) struct Peer {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    written: usize,
    /// When it connected.
    pub(crate) since: Instant,
    /// Whether its hello was accepted.
    pub(crate) greeted: bool,
    /// Whether it is closed once everything is written.
    pub(crate) leaving: bool,
}

impl Peer {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            written: 0,
            since: Instant::now(),
            greeted: false,
            leaving: false,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The user that connected.
    pub(crate) fn user(&self) -> io::Result<u32> {
        Ok(nix::sys::socket::getsockopt(&self.stream, nix::sys::socket::sockopt::PeerCredentials)?.uid())
    }

    fn waiting(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Whether everything said so far is written.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting() == 0
    }

    /// What to wait for. A peer that does not read is not listened to.
    pub(crate) fn interest(&self) -> PollFlags {
        let read = if self.waiting() < limits::MAX_OUTGOING && !self.leaving { PollFlags::POLLIN } else { PollFlags::empty() };
        if self.is_idle() { read } else { read | PollFlags::POLLOUT }
    }

    /// Takes in what arrived. False when the peer is gone.
    pub(crate) fn receive(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; limits::READ_CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.decoder.push(&chunk[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The next whole message.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        self.decoder.next(if self.greeted { limits::MAX_FRAME } else { limits::MAX_HELLO_FRAME })
    }

    /// Says something, now or as soon as the peer reads.
    pub(crate) fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.send_frame(&frame::encode(message).map_err(io::Error::other)?)
    }

    /// Sends a frame that is made already.
    pub(crate) fn send_frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outgoing.extend_from_slice(bytes);
        self.flush()
    }

    /// Says something together with descriptors, at once or not at all.
    pub(crate) fn send_with<T: Serialize>(&mut self, message: &T, descriptors: &[RawFd]) -> io::Result<()> {
        let bytes = frame::encode(message).map_err(io::Error::other)?;
        if !self.is_idle() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let rights = [ControlMessage::ScmRights(descriptors)];
        let sent = sendmsg::<()>(self.stream.as_raw_fd(), &[IoSlice::new(&bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Writes what can be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.waiting() > 0 {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing = Vec::new();
        self.written = 0;
        Ok(())
    }
}
