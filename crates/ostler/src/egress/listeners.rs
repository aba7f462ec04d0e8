//! The sockets at which egress is reached. The keeper has them and lends them to each egress that it starts, so that whoever
//! connects between two of them waits, and is served by the next.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Context;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sockets in one message.
const COUNT: usize = 2;
/// Sockets travel beside a byte.
const BESIDE: [u8; 1] = *b"\n";

/// Both sockets.
pub(super) struct Listeners {
    /// For questions of the server.
    pub(super) control: OwnedFd,
    /// For its calls to the outside.
    pub(super) calls: OwnedFd,
}

impl Listeners {
    /// Makes them.
    pub(super) fn bind(control: &Path, calls: &Path) -> anyhow::Result<Self> {
        Ok(Self { control: listen(control)?, calls: listen(calls)? })
    }

    /// Lends them to the process at the other end.
    pub(super) fn lend(&self, to: impl AsFd) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors: [BorrowedFd<'_>; COUNT] = [self.control.as_fd(), self.calls.as_fd()];
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many descriptors for a message"));
        }
        sendmsg(to, &[IoSlice::new(&BESIDE)], &mut beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Takes what was lent; no byte behind it.
    pub(super) fn borrow(from: impl AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(COUNT))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let mut found = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                found.extend(rights);
            }
        }
        let found: [OwnedFd; COUNT] = found.try_into().map_err(|_| io::Error::other("the sockets did not come"))?;
        let [control, calls] = found;
        Ok(Self { control, calls })
    }
}

fn listen(path: &Path) -> anyhow::Result<OwnedFd> {
    // One that was killed left its socket.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_connects_between_two_owners_is_served_by_the_second() {
        let dir = tempfile::tempdir().unwrap();
        let (control, calls) = (dir.path().join("control"), dir.path().join("calls"));
        let kept = Listeners::bind(&control, &calls).unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        kept.lend(&here).unwrap();
        here.write_all(b"more").unwrap();
        drop(Listeners::borrow(&there).unwrap());
        let mut waiting = UnixStream::connect(&calls).unwrap();
        kept.lend(&here).unwrap();
        let mut more = [0; 4];
        (&there).read_exact(&mut more).unwrap();
        let second = Listeners::borrow(&there).unwrap();
        let (mut served, _) = UnixListener::from(second.calls).accept().unwrap();
        served.write_all(b"hello").unwrap();
        drop(served);
        let mut heard = String::new();
        waiting.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), &more), ("hello", b"more"));
    }
}
