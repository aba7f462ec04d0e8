//! The address to listen on: free, held by our own server, or by somebody else. It is bound for a
//! moment and never listened on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use futures::StreamExt;
use serde_json::Value;
use tokio::net::TcpSocket;

use super::data_dir::Lock;
use super::report::{Finding, quote};
use super::{limits, read};
use crate::bootstrap;

const NAME: &str = "listen";

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) address: SocketAddr,
    pub(super) bound: Bound,
}

/// How binding went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    Free,
    /// Somebody has it.
    Taken {
        /// Whether it answers as a server of ours does.
        is_ostler: bool,
        /// The process that holds our data directory, if its server is the one that answers there.
        own: Option<u32>,
    },
    NotAllowed,
    NotHere,
    Failed(String),
}

pub(super) async fn look(address: SocketAddr, data_dir: &Path, lock: Lock) -> Listen {
    let bound = match bind(address) {
        Ok(()) => Bound::Free,
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => {
                let is_ostler = is_ostler(address).await;
                let own = match lock {
                    Lock::Process(pid) if is_ostler && port_of_server(data_dir) == Some(address.port()) => Some(pid),
                    _ => None,
                };
                Bound::Taken { is_ostler, own }
            }
            io::ErrorKind::PermissionDenied => Bound::NotAllowed,
            io::ErrorKind::AddrNotAvailable => Bound::NotHere,
            _ => Bound::Failed(error.to_string()),
        },
    };
    Listen { address, bound }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Whether a server of ours answers there.
async fn is_ostler(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let url = format!("http://{}/healthz", SocketAddr::new(ip, address.port()));
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().ok()?;
        let response = client.get(url).send().await.ok()?.error_for_status().ok()?;
        let mut pieces = response.bytes_stream();
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.ok()?);
            if text.len() > limits::HEALTH_BYTES {
                return None;
            }
        }
        let health: Value = serde_json::from_slice(&text).ok()?;
        Some(health.get("status")? == "ok")
    };
    tokio::time::timeout(limits::HEALTH, asked).await.ok().flatten().unwrap_or(false)
}

/// The port of the server that wrote down where it is.
fn port_of_server(data_dir: &Path) -> Option<u16> {
    let access: Value = serde_json::from_str(&read::text(bootstrap::access_file(data_dir))?).ok()?;
    reqwest::Url::parse(access.get("url")?.as_str()?).ok()?.port_or_known_default()
}

impl Listen {
    pub(super) fn judge(&self) -> Finding {
        let address = self.address;
        let other = "choose another address with --listen";
        match &self.bound {
            Bound::Free if address.port() == 0 => Finding::ok(NAME, format!("{} with any port that is free", address.ip())),
            Bound::Free => Finding::ok(NAME, format!("{address} is free")),
            Bound::Taken { own: Some(pid), .. } => Finding::ok(NAME, format!("{address} is held by our own server, process {pid}")),
            Bound::Taken { is_ostler: true, .. } => Finding::problem(
                NAME,
                format!("{address} is held by an Ostler server with another data directory"),
                format!("stop that server, or {other}"),
            ),
            Bound::Taken { .. } => Finding::problem(
                NAME,
                format!("{address} is held by another program"),
                format!("see which with: ss -ltnp 'sport = :{}'  and stop it, or {other}", address.port()),
            ),
            Bound::NotAllowed => Finding::problem(
                NAME,
                format!("{address} may not be used by this user"),
                format!("{other}, with a port from 1024 on, or: sysctl -w net.ipv4.ip_unprivileged_port_start={}", address.port()),
            ),
            Bound::NotHere => Finding::problem(
                NAME,
                format!("{} is no address of this machine", address.ip()),
                format!("{other}; see which there are with: ip -brief address"),
            ),
            Bound::Failed(error) => Finding::problem(NAME, format!("{address}: {}", quote(error)), other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    #[test]
    fn who_holds_the_address_decides() {
        let taken = |is_ostler, own| Bound::Taken { is_ostler, own };
        let table = [
            ("127.0.0.1:8787", Bound::Free, Status::Ok, "is free", ""),
            ("127.0.0.1:0", Bound::Free, Status::Ok, "any port", ""),
            ("127.0.0.1:8787", taken(true, Some(7)), Status::Ok, "our own server, process 7", ""),
            ("127.0.0.1:8787", taken(true, None), Status::Problem, "another data directory", "stop that server"),
            ("127.0.0.1:8787", taken(false, None), Status::Problem, "another program", "sport = :8787"),
            ("127.0.0.1:80", Bound::NotAllowed, Status::Problem, "may not", "ip_unprivileged_port_start=80"),
            ("192.0.2.1:1", Bound::NotHere, Status::Problem, "no address of this machine", "ip -brief"),
            ("127.0.0.1:1", Bound::Failed("no sockets".into()), Status::Problem, "no sockets", "--listen"),
        ];
        for (address, bound, status, found, remedy) in table {
            assert_finding(&[Listen { address: address.parse().unwrap(), bound }.judge()], NAME, status, found, remedy);
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_and_a_taken_one_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = look("192.0.2.1:1".parse().unwrap(), dir.path(), Lock::Nobody).await;
        assert_eq!(elsewhere.bound, Bound::NotHere);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hang_up = tokio::spawn(async move { listener.accept().await.map(drop) });
        assert_eq!(look(address, dir.path(), Lock::Nobody).await.bound, Bound::Taken { is_ostler: false, own: None });
        hang_up.await.unwrap().unwrap();
        assert_eq!(look(address, dir.path(), Lock::Nobody).await.bound, Bound::Free);
    }
}
