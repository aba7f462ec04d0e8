//! Which addresses are the public internet. Everything special is refused: the registries of special-purpose
//! addresses of IANA for [IPv4] and [IPv6], and the machine's own addresses.
//!
//! [IPv4]: https://www.iana.org/assignments/iana-ipv4-special-registry
//! [IPv6]: https://www.iana.org/assignments/iana-ipv6-special-registry

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits;

/// Ranges of IPv4 that are not the public internet: address, length of the prefix.
const SPECIAL_V4: [([u8; 4], u8); 18] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([168, 63, 129, 16], 32),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

/// Ranges inside the global part of IPv6 that are not the public internet.
const SPECIAL_V6: [([u16; 3], u8); 5] =
    [([0x2001, 0, 0], 23), ([0x2001, 0xdb8, 0], 32), ([0x2002, 0, 0], 16), ([0x2620, 0x4f, 0x8000], 48), ([0x3fff, 0, 0], 20)];

/// Whether an address is on the public internet. IPv4 addresses in IPv6 form are not: nobody needs to write them so.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            !SPECIAL_V4.iter().any(|(start, length)| (bits ^ u32::from(Ipv4Addr::from(*start))) >> (32 - u32::from(*length)) == 0)
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            // 2000::/3 is all that is given out.
            let is_global = bits >> 125 == 1;
            let is_special = |start: [u16; 3], length: u8| {
                let start = u128::from(Ipv6Addr::new(start[0], start[1], start[2], 0, 0, 0, 0, 0));
                (bits ^ start) >> (128 - u32::from(length)) == 0
            };
            is_global && !SPECIAL_V6.iter().any(|(start, length)| is_special(*start, *length))
        }
    }
}

/// The addresses that may be dialled: public ones but the machine's own, and those that the operator allows.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    allowed: HashSet<SocketAddr>,
    own: Mutex<Option<(Instant, HashSet<IpAddr>)>>,
}

impl Addresses {
    /// With these, which the operator allows though they are not public.
    pub(crate) fn new(allowed: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { allowed: allowed.into_iter().collect(), own: Mutex::default() }
    }

    /// Whether this one may be dialled.
    pub(crate) fn may_dial(&self, address: SocketAddr) -> bool {
        self.allowed.contains(&address) || (is_public(address.ip()) && !self.is_own(address.ip()))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = own.as_ref().is_some_and(|(at, _)| at.elapsed() < limits::OWN_ADDRESSES_KEPT);
        if !is_fresh {
            *own = own_addresses().map(|found| (Instant::now(), found)).or(own.take());
        }
        // What cannot be known is not dialled.
        own.as_ref().is_none_or(|(_, own)| own.contains(&address))
    }
}

fn own_addresses() -> Option<HashSet<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().ok()?;
    let address = |address: nix::sys::socket::SockaddrStorage| {
        address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip())).or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Some(interfaces.filter_map(|interface| interface.address.and_then(address)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:808:808::1",
            "2620:4f:8000::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_allowed_address_is_one_with_its_port() {
        let addresses = Addresses::new(["127.0.0.1:8443".parse().unwrap()]);
        assert!(addresses.may_dial("127.0.0.1:8443".parse().unwrap()));
        assert!(!addresses.may_dial("127.0.0.1:8444".parse().unwrap()));
        assert!(addresses.may_dial("8.8.8.8:443".parse().unwrap()));
    }

    #[test]
    fn the_machines_own_addresses_are_refused_even_if_public() {
        let addresses = Addresses::default();
        let own = HashSet::from(["8.8.8.8".parse().unwrap()]);
        *addresses.own.lock().unwrap() = Some((Instant::now(), own));
        assert!(!addresses.may_dial("8.8.8.8:443".parse().unwrap()));
        assert!(own_addresses().unwrap().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
