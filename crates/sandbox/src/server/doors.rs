//! Asking an init for the listeners of its network, over a connection of its own: descriptors come beside the bytes.

use std::io::{self, IoSliceMut, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{MsgFlags, recvmsg};
use serde::de::DeserializeOwned;

use super::link::Address;
use super::wire;
use crate::error::SandboxError;
use crate::protocol::VERSION;
use crate::protocol::frame::{self, Decoder};
use crate::protocol::init::{FromInit, ToInit};
use crate::{layout, limits, sys};

pub(super) async fn ask(address: Address) -> Result<Option<Vec<OwnedFd>>, SandboxError> {
    let talk = |source| SandboxError::Talk { peer: "init of a sandbox", source };
    let stream = wire::connect(&address.dir, layout::INIT_SOCKET).await.map_err(talk)?;
    let asked = tokio::task::spawn_blocking(move || asked(stream.into_std()?, &address));
    // Each read has its own time, and a hostile init could drip.
    let asked = tokio::time::timeout(limits::INIT_ANSWER * 2, asked).await.map_err(|_| talk(io::ErrorKind::TimedOut.into()))?;
    asked.map_err(io::Error::other).and_then(|done| done).map_err(talk)
}

/// The messages of a connection, and what came beside them.
struct Incoming {
    stream: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

fn asked(stream: UnixStream, address: &Address) -> io::Result<Option<Vec<OwnedFd>>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(limits::INIT_ANSWER))?;
    stream.set_write_timeout(Some(limits::INIT_ANSWER))?;
    let secret = std::fs::read_to_string(address.dir.join(layout::SECRET))?;
    let mut incoming = Incoming { stream, decoder: Decoder::default(), descriptors: Vec::new() };
    incoming.say(&ToInit::Hello { version: VERSION, secret, epoch: address.epoch })?;
    match incoming.next()? {
        FromInit::Welcome { incarnation, .. } if incarnation == address.incarnation => {}
        other => return Err(io::Error::other(format!("it answered {other:?}"))),
    }
    incoming.say(&ToInit::Doors)?;
    match incoming.next()? {
        FromInit::Doors { count } if count == incoming.descriptors.len() => Ok(Some(incoming.descriptors)),
        // One without, or of a release that had none.
        FromInit::Refused { .. } => Ok(None),
        other => Err(io::Error::other(format!("it answered {other:?}"))),
    }
}

impl Incoming {
    fn say(&mut self, message: &ToInit) -> io::Result<()> {
        self.stream.write_all(&frame::encode(message).map_err(io::Error::other)?)
    }

    fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(message) = self.decoder.next(limits::MAX_FRAME).map_err(io::Error::other)? {
                return Ok(message);
            }
            let mut chunk = [0; limits::DOORS_CHUNK];
            let mut beside = nix::cmsg_space!([std::os::fd::RawFd; limits::DOORS_MOST]);
            let mut pieces = [IoSliceMut::new(&mut chunk)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<()>(self.stream.as_raw_fd(), &mut pieces, Some(&mut beside), flags)?;
            for message in received.cmsgs()? {
                self.descriptors.extend(sys::descriptors_in(message));
            }
            let count = received.bytes;
            if count == 0 || self.descriptors.len() > limits::DOORS_MOST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.decoder.push(&chunk[..count]);
        }
    }
}
