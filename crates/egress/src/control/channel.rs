//! Messages with descriptors over a unix socket: the length in four bytes, then JSON.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use crate::limits;

const LENGTH: usize = 4;

/// Sends a message; descriptors go with its first byte.
pub(super) async fn send<T: Serialize>(stream: &mut UnixStream, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut bytes = vec![0; LENGTH];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - LENGTH;
    if length > limits::FRAME_BYTES {
        return Err(io::Error::other(format!("a message of {length} bytes is longer than {} bytes", limits::FRAME_BYTES)));
    }
    bytes[..LENGTH].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
    let mut sent = 0;
    while sent == 0 && !descriptors.is_empty() {
        stream.writable().await?;
        let attempt = stream.try_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::FRAME_DESCRIPTORS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("too many descriptors for a message"));
            }
            Ok(sendmsg(&*stream, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL)?)
        });
        match attempt {
            Ok(count) => sent = count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    stream.write_all(&bytes[sent..]).await
}

/// Receives a message, and what came beside it.
pub(super) async fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; limits::COPY_BYTES];
    loop {
        if let Some(length) = bytes.first_chunk::<LENGTH>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
            if length > limits::FRAME_BYTES {
                return Err(io::Error::other(format!("a message of {length} bytes is longer than {} bytes", limits::FRAME_BYTES)));
            }
            if bytes.len() >= LENGTH + length {
                return Ok((serde_json::from_slice(&bytes[LENGTH..LENGTH + length])?, descriptors));
            }
        }
        stream.readable().await?;
        let read = stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::FRAME_DESCRIPTORS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(stream, &mut [IoSliceMut::new(&mut chunk)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            Ok(received.bytes)
        });
        match read {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
