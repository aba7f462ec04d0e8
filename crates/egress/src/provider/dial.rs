//! Connections to providers. The operator named their hosts, so they may be on networks of the operator's own, and are found as
//! other programs of this machine find them.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::ProviderError;
use crate::limits;
use crate::machine::Machine;
use crate::resolve::{Fixed, ResolveConfig};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DialError(pub(super) ProviderError);

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    fixed: Fixed,
    hosts: Arc<Hosts>,
    /// None where the machine names no server.
    servers: Option<TokioResolver>,
}

impl Dialer {
    pub(crate) fn new(resolve: &ResolveConfig, machine: &Machine) -> Self {
        Self { fixed: Fixed::new(resolve), hosts: machine.hosts(), servers: machine.resolver_of_programs() }
    }

    /// The addresses of a host that the operator named, wherever it is; why there are none, for a person.
    pub(crate) async fn find(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let host = host.trim_matches(['[', ']']);
        if let Some(address) = self.fixed.find(host, port) {
            return Ok(vec![address]);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut found = in_file(&self.hosts, host);
        if found.is_empty() {
            let servers = self.servers.as_ref().ok_or("this machine names no name server")?;
            let answer = servers.lookup_ip(host).await.map_err(|error| format!("its host has no address: {error}"))?;
            found = answer.iter().collect();
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).take(limits::ADDRESSES_TRIED).collect())
    }

    async fn connect(self, to: Uri) -> Result<TcpStream, ProviderError> {
        let no_name = |why: String| ProviderError::NoName(why);
        let host = to.host().ok_or_else(|| no_name("its address has no host".into()))?;
        let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = self.find(host, port).await.map_err(no_name)?;
        let mut last = "its host has no address".to_owned();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(ProviderError::NoConnection(last))
    }
}

/// The addresses of a host in the machine's own file.
fn in_file(hosts: &Hosts, host: &str) -> Vec<IpAddr> {
    let Ok(name) = host.parse::<Name>() else { return Vec::new() };
    let of_kind = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_kind);
    found.flat_map(|lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()).collect()
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.connect(to).await.map(TokioIo::new).map_err(DialError) })
    }
}

/// Makes connections, with TLS where the address says so, in time.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<Dialer>);

impl Connector {
    pub(super) fn new(tls: ClientConfig, dialer: Dialer) -> Self {
        Self(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(dialer))
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = timeout(limits::PROVIDER_CONNECT, self.0.call(to));
        Box::pin(async move {
            let late = || DialError(ProviderError::NoConnection("it does not take connections in time".into()));
            connecting.await.unwrap_or_else(|_| Err(late().into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_hosts_counts_whole_names() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"127.0.0.1 localhost\n::1 localhost\n10.0.0.7 llm llm.internal # a machine\n"[..]).unwrap();
        let table = [("localhost", "127.0.0.1 ::1"), ("llm", "10.0.0.7"), ("llm.internal", "10.0.0.7"), ("internal", ""), ("a..b", "")];
        for (host, expected) in table {
            let found: Vec<_> = in_file(&hosts, host).iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{host}");
        }
    }
}
