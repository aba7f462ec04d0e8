//! What a sandbox may reach: one decision for a host and port, one for a request that can be seen.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::resources::egress::{EgressRule, RuleAction};
use crate::resources::hosts;

/// Where a sandbox may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What holds where no rule says anything.
    pub network: Network,
    /// Whether TLS is opened for every host, not only where something has to be seen.
    #[serde(default)]
    pub inspect_all: bool,
    /// Rules; the first that matches decides, before the network does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<EgressRule>,
}

/// The hosts that can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// Nothing.
    None,
    /// Every public one.
    Unrestricted,
    /// These.
    Limited {
        /// Hosts, each with the name of the rule that allows it.
        hosts: Vec<AllowedHost>,
    },
}

/// A host that can be reached, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedHost {
    /// A name, an IPv4 address, or `*.` and a name.
    pub host: String,
    /// The rule, as people know it: `allowed_hosts`, `allow_package_managers`, `allow_mcp_servers`.
    pub rule: String,
}

/// What was decided, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may go on.
    pub is_allowed: bool,
    /// The stable name of the reason.
    pub code: Code,
    /// The rule that decided.
    pub rule: String,
}

/// Why something was decided, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A rule allows it.
    Allowed,
    /// The environment has no network.
    NoNetwork,
    /// No rule allows the host.
    HostNotAllowed,
    /// The port is not one that may be used.
    PortNotAllowed,
    /// A rule denies the request.
    RuleDenies,
    /// A person must allow the request, and has not yet.
    ConfirmationNeeded,
    /// A person was asked, and denied it.
    ConfirmationDenied,
    /// The request can be read in two ways, and a rule looks at what it is about.
    Ambiguous,
    /// The host is no name and no address.
    BadHost,
    /// The host has no address.
    NoAddress,
    /// Its address is not on the public internet.
    AddressNotPublic,
    /// Names of the request, of TLS and of the connection differ.
    NamesDiffer,
    /// What was sent is neither TLS nor HTTP.
    NotUnderstood,
    /// The request is not one that can be passed on safely.
    BadRequest,
    /// The host does not answer, or not as it should.
    Unreachable,
    /// The sandbox uses as much as it may.
    TooMuch,
    /// The answer has more bytes than are read.
    TooLarge,
    /// The sandbox is not known any more.
    Revoked,
}

impl Code {
    /// What the agent, or a person, can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Allowed => "",
            Self::NoNetwork => "the environment has no network; a person can change its `config.networking`",
            Self::HostNotAllowed => {
                "use an allowed host, or ask a person to add this one to `config.networking.allowed_hosts` of the environment"
            }
            Self::PortNotAllowed => "use port 443 or 80, or ask a person to add a rule with this port to `egress.rules` of the environment",
            Self::RuleDenies => "do without this request, or ask a person to change `egress.rules` of the environment",
            Self::ConfirmationNeeded => "a person is asked about this request; send the same request again after it was allowed",
            Self::ConfirmationDenied => "do without this request; a person was asked and denied it",
            Self::Ambiguous => {
                "send the request in its plain form: a path without dot segments above the root, encoded slashes, backslashes, semicolons and \
                 double encoding, and no headers that name another method or path"
            }
            Self::BadHost => "use a host name, such as api.example.com",
            Self::NoAddress => "check the spelling of the host name",
            Self::AddressNotPublic => {
                "only hosts on the public internet can be reached; the server's operator can make exceptions (`allow_private` in `[egress]` of the settings)"
            }
            Self::NamesDiffer => "connect to the host that the request is for",
            Self::NotUnderstood => "use HTTPS or HTTP; other protocols cannot leave the sandbox",
            Self::BadRequest => "send a well-formed HTTP request",
            Self::Unreachable => "try again later",
            Self::TooMuch => "use less at once, and try again later",
            Self::TooLarge => "ask for something smaller",
            Self::Revoked => "try again",
        }
    }
}

/// The rule that says how much a sandbox may send and receive together.
pub const TRANSFER_RULE: &str = "egress.transfer_mib";

impl Decision {
    /// What the agent, or a person, can do about it.
    pub fn remedy(&self) -> &'static str {
        match self.code {
            Code::TooMuch if self.rule == TRANSFER_RULE => {
                "the sandbox has sent and received as much as it may; ask a person to raise `egress.transfer_mib` of the environment"
            }
            code => code.remedy(),
        }
    }

    /// It may go on, by this rule.
    pub fn allow(rule: impl Into<String>) -> Self {
        Self { is_allowed: true, code: Code::Allowed, rule: rule.into() }
    }

    /// It may not.
    pub fn deny(code: Code, rule: impl Into<String>) -> Self {
        Self { is_allowed: false, code, rule: rule.into() }
    }
}

/// The ports that can be reached.
const PORTS: [u16; 2] = [80, 443];

impl Policy {
    /// A policy that allows nothing.
    pub fn none() -> Self {
        Self { network: Network::None, inspect_all: false, rules: Vec::new() }
    }

    /// Whether it may allow a host of a credential, without one any, whatever the port and the request.
    pub fn reaches(&self, hosts: Option<&[String]>) -> bool {
        let reaches = |known: &str| known == "*" || hosts.is_none_or(|hosts| hosts.iter().any(|host| hosts::overlap(known, host)));
        // One that denies may leave something.
        if self.rules.iter().any(|rule| rule.action != RuleAction::Deny && reaches(&rule.host)) {
            return true;
        }
        match &self.network {
            Network::None => false,
            Network::Unrestricted => true,
            Network::Limited { hosts } => hosts.iter().any(|allowed| reaches(&allowed.host)),
        }
    }

    /// Decides about a host and port that no rule is about. The host is in its normal form ([`normal`]).
    pub fn decide(&self, host: &str, port: u16) -> Decision {
        let allowed = match &self.network {
            Network::None => return Decision::deny(Code::NoNetwork, "networking"),
            Network::Unrestricted => Decision::allow("unrestricted"),
            Network::Limited { hosts } => match hosts.iter().find(|allowed| hosts::matches(&allowed.host, host)) {
                Some(allowed) => Decision::allow(format!("{}: {}", allowed.rule, allowed.host)),
                None => return Decision::deny(Code::HostNotAllowed, "networking: limited"),
            },
        };
        if PORTS.contains(&port) { allowed } else { Decision::deny(Code::PortNotAllowed, "ports 80 and 443") }
    }
}

/// A host as it is compared everywhere: lower case, without a dot at the end; an address in its only notation. None where it is
/// neither a name of the public DNS nor an address: `127.1`, `0x7f000001` and the like are no hosts.
pub fn normal(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(address) = bare.map_or_else(|| host.parse::<IpAddr>().ok(), |bare| bare.parse().ok().filter(IpAddr::is_ipv6)) {
        return Some(address.to_string());
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A last label of digits, or of hexadecimal digits after 0x, is some program's notation of an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (name.len() <= 253 && name.split('.').all(is_label) && !is_number).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_host_has_one_normal_form(host in r"([a-zA-Z0-9x.\[\]:_%@/ -]|\PC){0,40}|(0x)?[0-9a-f]{1,10}(\.(0x)?[0-9]{1,4}){0,4}\.?") {
            if let Some(found) = normal(&host) {
                prop_assert_eq!(normal(&found), Some(found.clone()));
                prop_assert!(found.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:".contains(&byte)));
                // What programs take for an address is one, in the notation that everything here knows.
                if found.bytes().all(|byte| byte.is_ascii_hexdigit() || b"x.:".contains(&byte)) && !found.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                    prop_assert_eq!(found.parse::<IpAddr>().map(|address| address.to_string()), Ok(found));
                }
            }
        }
    }

    fn limited(hosts: &[&str]) -> Policy {
        let hosts = hosts.iter().map(|host| AllowedHost { host: (*host).into(), rule: "allowed_hosts".into() }).collect();
        Policy { network: Network::Limited { hosts }, inspect_all: false, rules: Vec::new() }
    }

    #[test]
    fn a_host_has_one_form_or_none() {
        let table = [
            ("API.Example.com", Some("api.example.com")),
            ("api.example.com.", Some("api.example.com")),
            ("1.2.3.4", Some("1.2.3.4")),
            ("[2606:4700::1111]", Some("2606:4700::1111")),
            ("2606:4700::1111", Some("2606:4700::1111")),
            ("_dmarc.example.com", Some("_dmarc.example.com")),
            ("localhost", Some("localhost")),
        ];
        for (host, expected) in table {
            assert_eq!(normal(host).as_deref(), expected, "{host}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a.com",
            "a-.com",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "1.2.3.4.",
            "1.2.3.256",
            "[1.2.3.4]",
            "[::1",
            "a b",
            "a\0b",
            "a/b",
            "a:b",
            "a@b",
            "é.com",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "a.0x",
            &"a".repeat(64),
            &"a.".repeat(127).repeat(2),
        ] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_policy_reaches_a_host_of_a_credential_or_none() {
        let open = Policy { network: Network::Unrestricted, inspect_all: false, rules: Vec::new() };
        let ruled = |host: &str, action: &str| {
            let rules = serde_json::from_value(serde_json::json!([{"host": host, "action": action}])).unwrap();
            Policy { rules, ..limited(&["b.com"]) }
        };
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let table = [
            (Policy::none(), Some(hosts(&["a.com"])), false),
            (Policy::none(), None, false),
            (open.clone(), Some(hosts(&["a.com"])), true),
            (open, None, true),
            (limited(&[]), None, false),
            (limited(&["b.com"]), None, true),
            (limited(&["b.com"]), Some(hosts(&["a.com"])), false),
            (limited(&["b.com", "*.a.com"]), Some(hosts(&["c.com", "x.a.com"])), true),
            (ruled("a.com", "allow"), Some(hosts(&["a.com"])), true),
            (ruled("*.a.com", "ask"), Some(hosts(&["x.a.com"])), true),
            (ruled("*", "ask"), Some(hosts(&["a.com"])), true),
            (ruled("a.com", "deny"), Some(hosts(&["a.com"])), false),
            (ruled("c.com", "allow"), Some(hosts(&["a.com"])), false),
        ];
        for (policy, hosts, expected) in table {
            assert_eq!(policy.reaches(hosts.as_deref()), expected, "{policy:?} {hosts:?}");
        }
    }

    #[test]
    fn hosts_and_ports_are_decided_by_the_policy() {
        let policy = limited(&["a.com", "*.b.com"]);
        let code = |policy: &Policy, host: &str, port: u16| policy.decide(host, port).code;
        assert_eq!(policy.decide("x.b.com", 443).rule, "allowed_hosts: *.b.com");
        let table = [
            ("a.com", 443, Code::Allowed),
            ("a.com", 80, Code::Allowed),
            ("a.com", 22, Code::PortNotAllowed),
            ("b.com", 443, Code::HostNotAllowed),
        ];
        for (host, port, expected) in table {
            assert_eq!(code(&policy, host, port), expected, "{host}:{port}");
        }
        assert_eq!(code(&Policy::none(), "a.com", 443), Code::NoNetwork);
        let open = Policy { network: Network::Unrestricted, inspect_all: false, rules: Vec::new() };
        assert_eq!((code(&open, "any.org", 443), code(&open, "any.org", 8443)), (Code::Allowed, Code::PortNotAllowed));
    }
}
