//! Rules of an environment about single requests, and in which order they and its networking decide.

use super::path;
use super::policy::{Code, Decision, Policy};
use crate::resources::egress::{EgressRule, RuleAction};

/// What a policy makes of a connection or a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is decided.
    Decided(Decision),
    /// A person decides.
    Ask {
        /// The rule that asks, with its place.
        rule: String,
        /// The same as people wrote it. It stays the same when others come before it.
        text: String,
    },
    /// Only a request can tell: a rule has methods or a path.
    Look {
        /// The first such rule.
        rule: String,
    },
}

/// What a policy makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedRequest {
    /// What.
    pub judged: Judged,
    /// The path that was judged, where a rule looked at it. It is the one to be sent.
    pub path: Option<String>,
}

fn name(at: usize, rule: &EgressRule) -> String {
    format!("egress.rules[{at}]: {rule}")
}

fn outcome(at: usize, rule: &EgressRule) -> Judged {
    let name = name(at, rule);
    match rule.action {
        RuleAction::Allow => Judged::Decided(Decision::allow(name)),
        RuleAction::Deny => Judged::Decided(Decision::deny(Code::RuleDenies, name)),
        RuleAction::Ask => Judged::Ask { rule: name, text: rule.to_string() },
    }
}

impl Policy {
    /// Decides about a connection, before anything of it is seen. The host is in its normal form.
    pub fn connection(&self, host: &str, port: u16) -> Judged {
        let first = self.rules.iter().enumerate().find(|(_, rule)| rule.is_about(host, port));
        match first {
            None => Judged::Decided(self.decide(host, port)),
            Some((at, rule)) if rule.looks_inside() => Judged::Look { rule: name(at, rule) },
            Some((at, rule)) => outcome(at, rule),
        }
    }

    /// Whether some rule looks at requests for this host.
    pub fn looks_inside(&self, host: &str, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.looks_inside() && rule.is_about(host, port))
    }

    /// Decides about a request. A path that could be read in two ways goes to no rule that looks at paths.
    pub fn request(&self, host: &str, port: u16, method: &str, path: &str) -> JudgedRequest {
        let mut judged_path = None;
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.is_about(host, port)) {
            if rule.methods.as_ref().is_some_and(|methods| !methods.iter().any(|known| known == method)) {
                continue;
            }
            if let Some(pattern) = &rule.path {
                let normal = match path::normal(path) {
                    Ok(normal) => normal,
                    Err(why) => {
                        let decision = Decision::deny(Code::Ambiguous, format!("{}; {why}", name(at, rule)));
                        return JudgedRequest { judged: Judged::Decided(decision), path: None };
                    }
                };
                let is_it = path::matches(pattern, &normal);
                judged_path = Some(normal);
                if !is_it {
                    continue;
                }
            }
            return JudgedRequest { judged: outcome(at, rule), path: judged_path };
        }
        JudgedRequest { judged: Judged::Decided(self.decide(host, port)), path: judged_path }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::egress::policy::{AllowedHost, Network};

    fn policy(network: Network, rules: Value) -> Policy {
        Policy { network, inspect_all: false, rules: serde_json::from_value(rules).unwrap() }
    }

    fn limited() -> Network {
        Network::Limited { hosts: vec![AllowedHost { host: "net.test".into(), rule: "allowed_hosts".into() }] }
    }

    fn short(judged: &Judged) -> String {
        match judged {
            Judged::Decided(Decision { code, rule, .. }) => {
                let at = rule.split_once(']').map_or_else(String::new, |(at, _)| at.replace("egress.rules[", " "));
                format!("{}{at}", serde_json::to_value(code).unwrap().as_str().unwrap())
            }
            Judged::Ask { rule, .. } => format!("ask {}", &rule["egress.rules[".len()..][..1]),
            Judged::Look { rule } => format!("look {}", &rule["egress.rules[".len()..][..1]),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_after_them_the_networking() {
        let policy = policy(
            limited(),
            json!([
                {"host": "api.test", "methods": ["GET"], "path": "/public/**", "action": "allow"},
                {"host": "api.test", "methods": ["DELETE"], "action": "deny"},
                {"host": "api.test", "path": "/secret/*", "action": "deny"},
                {"host": "api.test", "action": "ask"},
                {"host": "*.wild.test", "ports": [8443], "action": "allow"},
                {"host": "net.test", "methods": ["POST"], "action": "deny"},
                {"host": "closed.test", "action": "deny"},
            ]),
        );
        let requests = [
            ("api.test", 443, "GET", "/public/x", "allowed 0"),
            ("api.test", 443, "GET", "/x/../public/", "allowed 0"),
            ("api.test", 443, "GET", "/public/../x", "ask 3"),
            ("api.test", 443, "GET", "/public%2f..%2fx", "ambiguous 0"),
            ("api.test", 443, "DELETE", "/public/x", "rule_denies 1"),
            ("api.test", 443, "DELETE", "/a%2fb", "rule_denies 1"),
            ("api.test", 443, "PUT", "/secret/x", "rule_denies 2"),
            ("api.test", 443, "PUT", "/secret/x;y", "ambiguous 2"),
            ("api.test", 80, "PUT", "/secret/x/y", "ask 3"),
            ("api.test", 443, "get", "/public/x", "ask 3"),
            ("api.test", 8443, "GET", "/public/x", "host_not_allowed"),
            ("a.wild.test", 8443, "GET", "/", "allowed 4"),
            ("a.wild.test", 443, "GET", "/", "host_not_allowed"),
            ("wild.test", 8443, "GET", "/", "host_not_allowed"),
            ("net.test", 443, "POST", "/", "rule_denies 5"),
            ("net.test", 443, "GET", "/a%2fb", "allowed"),
            ("net.test", 22, "GET", "/", "port_not_allowed"),
            ("closed.test", 443, "GET", "/", "rule_denies 6"),
        ];
        for (host, port, method, path, expected) in requests {
            assert_eq!(short(&policy.request(host, port, method, path).judged), expected, "{method} {host}:{port}{path}");
        }
        let connections = [
            ("api.test", 443, "look 0"),
            ("a.wild.test", 8443, "allowed 4"),
            ("net.test", 443, "look 5"),
            ("closed.test", 443, "rule_denies 6"),
            ("other.test", 443, "host_not_allowed"),
        ];
        for (host, port, expected) in connections {
            assert_eq!(short(&policy.connection(host, port)), expected, "{host}:{port}");
        }
        assert!(policy.looks_inside("api.test", 443) && !policy.looks_inside("api.test", 8443) && !policy.looks_inside("closed.test", 443));
    }

    #[test]
    fn the_path_that_was_judged_is_the_one_to_be_sent() {
        let policy = policy(Network::Unrestricted, json!([{"host": "a.test", "path": "/x/**", "action": "deny"}]));
        let path = |host: &str, path: &str| policy.request(host, 443, "GET", path).path;
        assert_eq!(path("a.test", "//y/./%7Ez").as_deref(), Some("/y/~z"));
        assert_eq!(path("b.test", "//y/./z"), None);
    }

    #[test]
    fn a_rule_for_every_host_asks_about_what_the_networking_would_refuse() {
        let policy = policy(Network::None, json!([{"host": "*", "action": "ask"}]));
        assert_eq!(short(&policy.connection("any.test", 443)), "ask 0");
        assert_eq!(short(&policy.connection("any.test", 22)), "no_network");
    }
}
