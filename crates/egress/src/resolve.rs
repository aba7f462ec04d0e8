//! From a name to the addresses that are dialled: asked once, every one checked, and no name is looked up again after that.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;

use crate::address::Addresses;
use crate::limits;
use crate::machine::Machine;
use ostler_core::egress::policy::Code;

/// What the operator says about names and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResolveConfig {
    /// Addresses of hosts that no name server is asked for: `host` or `host:port`.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// Addresses that may be dialled though they are not public.
    pub allow_private: Vec<SocketAddr>,
}

/// Hosts that no name server is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Fixed(Arc<HashMap<String, SocketAddr>>);

impl Fixed {
    pub(crate) fn new(config: &ResolveConfig) -> Self {
        Self(Arc::new(config.resolve.iter().map(|(host, address)| (host.to_ascii_lowercase(), *address)).collect()))
    }

    /// The address of a host. It is in lower case.
    pub(crate) fn find(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.0.get(&format!("{host}:{port}")).or_else(|| self.0.get(host)).copied()
    }
}

/// Finds addresses.
#[derive(Debug)]
pub(crate) struct Resolver {
    fixed: Fixed,
    addresses: Addresses,
    /// None where the machine names no server.
    servers: Option<TokioResolver>,
}

impl Resolver {
    pub(crate) fn new(config: &ResolveConfig, machine: &Machine) -> Self {
        Self { fixed: Fixed::new(config), addresses: Addresses::new(config.allow_private.iter().copied()), servers: machine.resolver() }
    }

    /// The addresses of a host that may be dialled, at least one. The host is in its normal form.
    pub(crate) async fn find(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Code> {
        if let Some(address) = self.fixed.find(host, port) {
            return Ok(vec![address]);
        }
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.ask(host).await?.into_iter().map(|address| SocketAddr::new(address, port)).collect(),
        };
        // One that is not public makes the whole answer suspect: it may be the second act of a rebinding.
        if found.iter().any(|address| !self.addresses.may_dial(*address)) {
            return Err(Code::AddressNotPublic);
        }
        if found.is_empty() { Err(Code::NoAddress) } else { Ok(found.into_iter().take(limits::ADDRESSES_TRIED).collect()) }
    }

    async fn ask(&self, host: &str) -> Result<Vec<IpAddr>, Code> {
        let servers = self.servers.as_ref().ok_or(Code::NoAddress)?;
        // With its dot at the end it is a whole name, to which nothing is added.
        let answer = tokio::time::timeout(limits::NAME_TIMEOUT * 2, servers.lookup_ip(format!("{host}.")));
        match answer.await {
            Ok(Ok(found)) => Ok(found.iter().collect()),
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "a name was not resolved");
                Err(Code::NoAddress)
            }
            Err(_) => Err(Code::Unreachable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_operator_says_counts_and_addresses_are_checked() {
        let address: SocketAddr = "127.0.0.1:8443".parse().unwrap();
        let config = ResolveConfig {
            resolve: BTreeMap::from([("API.test".to_owned(), address), ("b.test:80".to_owned(), address)]),
            allow_private: vec!["127.0.0.1:9".parse().unwrap()],
        };
        let resolver = Resolver::new(&config, &Machine::read(&Default::default()).unwrap());
        assert_eq!(resolver.find("api.test", 443).await, Ok(vec![address]));
        assert_eq!(resolver.find("b.test", 80).await, Ok(vec![address]));
        assert_eq!(resolver.find("127.0.0.1", 443).await, Err(Code::AddressNotPublic));
        assert_eq!(resolver.find("127.0.0.1", 9).await, Ok(vec!["127.0.0.1:9".parse().unwrap()]));
        assert_eq!(resolver.find("169.254.169.254", 80).await, Err(Code::AddressNotPublic));
        assert_eq!(resolver.find("::ffff:127.0.0.1", 80).await, Err(Code::AddressNotPublic));
        assert_eq!(resolver.find("1.1.1.1", 443).await, Ok(vec!["1.1.1.1:443".parse().unwrap()]));
    }
}
