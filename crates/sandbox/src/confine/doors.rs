//! The network of a sandbox: a loopback that reaches nobody, and on it the listeners that lead out, if there are any. They belong to
//! this network for as long as init holds them; whoever runs inside can connect to them and cannot take their place.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use crate::layout::{DNS_PORT, PROXY_PORT};
use crate::spec::SandboxSpec;
use crate::sys;

/// The addresses that names have inside, which no network routes (RFC 2544): all of them are this machine.
const NAMES: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(255, 254, 0, 0));

/// The listeners, in the order in which they are handed out: proxy, port 80 and 443 of every name, the name server over UDP and TCP.
#[derive(Debug)]
pub(crate) struct Doors(Vec<OwnedFd>);

impl Doors {
    fn open() -> io::Result<Self> {
        sys::add_loopback_address(NAMES.0, NAMES.1)?;
        let (own, any) = (Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED);
        Ok(Self(vec![
            TcpListener::bind((own, PROXY_PORT))?.into(),
            TcpListener::bind((any, 80))?.into(),
            TcpListener::bind((any, 443))?.into(),
            UdpSocket::bind((own, DNS_PORT))?.into(),
            TcpListener::bind((own, DNS_PORT))?.into(),
        ]))
    }

    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.0.iter().map(OwnedFd::as_raw_fd).collect()
    }
}

/// Sets the network up. The doors, if it is to have some.
pub(super) fn network(spec: &SandboxSpec) -> io::Result<Option<Doors>> {
    nix::unistd::sethostname("sandbox")?;
    if spec.lacks("net namespace") {
        return Ok(None);
    }
    sys::loopback_up()?;
    spec.doors.then(Doors::open).transpose()
}
