//! What an environment says of the network of its sandboxes beyond the reference: rules and caps. An extension.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::hosts;
use super::patch;
use crate::egress::path;
use crate::error::{Refusal, check_chars, check_count};
use crate::limits;

/// The host that stands for all of them.
const ANY_HOST: &str = "*";

/// Rules and caps of the sandboxes of an environment. What is left out is as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressSettings {
    /// The first rule that matches decides; where none does, `config.networking` decides.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(nullable)]
    pub rules: Vec<EgressRule>,
    /// Where TLS is opened, so that egress sees requests.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(nullable)]
    pub inspect: Inspect,
    /// Connections of one sandbox at once; more wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub connections: Option<u64>,
    /// MiB that one sandbox may send and receive together in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub transfer_mib: Option<u64>,
    /// KiB a second that one sandbox may send and receive together; what is more waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16)]
    pub rate_kib: Option<u64>,
}

/// Null is as if it were left out: so an update clears a field.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Where TLS is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Inspect {
    /// Where a rule has methods or a path, and where a secret may have to be put in.
    #[default]
    Needed,
    /// Everywhere.
    All,
}

/// What happens to requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// A host name, an IPv4 address, `*.` and a name, or `*` for every host (not with `allow`).
    pub host: String,
    /// Ports; 80 and 443 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// Methods, in capitals; every one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// A path without query: `*` is one segment, `**` at the end any number of them; every path when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What happens.
    pub action: RuleAction,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// The request goes on.
    Allow,
    /// It does not.
    Deny,
    /// A person is asked.
    Ask,
}

impl RuleAction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Ask => "ask",
        }
    }
}

/// A rule as people read it: `deny DELETE,PUT api.example.com:443/repos/**`.
impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.as_str())?;
        if let Some(methods) = &self.methods {
            write!(f, " {}", methods.join(","))?;
        }
        write!(f, " {}", self.host)?;
        if let Some(ports) = &self.ports {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            write!(f, ":{}", ports.join(","))?;
        }
        f.write_str(self.path.as_deref().unwrap_or_default())
    }
}

impl EgressRule {
    /// The ports of a rule that names none.
    pub const USUAL_PORTS: [u16; 2] = [80, 443];

    /// Whether a request must be seen to know if the rule matches.
    pub fn looks_inside(&self) -> bool {
        self.methods.is_some() || self.path.is_some()
    }

    /// Whether it is about a host and port.
    pub fn is_about(&self, host: &str, port: u16) -> bool {
        let is_port = self.ports.as_ref().map_or(Self::USUAL_PORTS.contains(&port), |ports| ports.contains(&port));
        is_port && (self.host == ANY_HOST || hosts::matches(&self.host, host))
    }

    fn check(&self, inspect: Inspect) -> Result<(), String> {
        if self.host == ANY_HOST {
            if self.action == RuleAction::Allow {
                return Err("host: `*` cannot be allowed; `config.networking` of the type unrestricted allows every public host".into());
            }
            if self.looks_inside() && inspect != Inspect::All {
                return Err("host: with methods or a path `*` needs `inspect` \"all\", because TLS of every host is opened".into());
            }
        } else if let Some(why) = hosts::refused(&self.host) {
            return Err(format!("host: {:?} {why}", self.host));
        }
        if let Some(ports) = &self.ports
            && (ports.is_empty() || ports.len() > limits::RULE_PORTS || ports.contains(&0))
        {
            return Err(format!("ports: must be 1 to {} ports from 1 to 65535; leave them out for 80 and 443", limits::RULE_PORTS));
        }
        if let Some(methods) = &self.methods {
            if methods.is_empty() || methods.len() > limits::RULE_METHODS {
                return Err(format!("methods: must be 1 to {}; leave them out for every method", limits::RULE_METHODS));
            }
            for method in methods {
                if method == "CONNECT" {
                    return Err(
                        "methods: CONNECT opens a connection and is no request; a rule without methods and path is about connections"
                            .into(),
                    );
                }
                let fits = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
                if method.is_empty() || method.len() > limits::METHOD_CHARS || !method.bytes().all(fits) {
                    return Err(format!("methods: {method:?} is not a method in capitals, such as GET"));
                }
            }
        }
        if let Some(pattern) = &self.path {
            check_chars("path", pattern, limits::RULE_PATH_CHARS).map_err(|refusal| refusal.message)?;
            if let Some(why) = path::refused(pattern) {
                return Err(format!("path: {pattern:?} {why}"));
            }
        }
        Ok(())
    }
}

impl EgressSettings {
    /// The caps, with their names and the least that makes sense.
    pub fn numbers(&self) -> [(&'static str, Option<u64>, u64); 3] {
        [("connections", self.connections, 1), ("transfer_mib", self.transfer_mib, 1), ("rate_kib", self.rate_kib, 16)]
    }

    /// The same with the fields of a patch; null clears one.
    pub(super) fn patched(&self, patch: Map<String, Value>) -> Result<Self, Refusal> {
        patch::merged("egress", self, patch)
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        patch::check_numbers("egress", self.numbers())?;
        check_count("egress.rules", self.rules.len(), limits::EGRESS_RULES)?;
        for (at, rule) in self.rules.iter().enumerate() {
            rule.check(self.inspect).map_err(|why| Refusal::invalid(format!("egress.rules[{at}].{why}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: Value) -> Option<String> {
        match serde_json::from_value::<EgressSettings>(value) {
            Ok(settings) => settings.check().err().map(|refusal| refusal.message),
            Err(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn rules_are_read_and_shown() {
        let table = [
            (json!({"host": "api.test", "action": "allow"}), "allow api.test"),
            (json!({"host": "*.a.test", "ports": [8443, 443], "action": "ask"}), "ask *.a.test:8443,443"),
            (json!({"host": "a.test", "methods": ["GET", "HEAD"], "path": "/x/*/y/**", "action": "deny"}), "deny GET,HEAD a.test/x/*/y/**"),
            (json!({"host": "*", "action": "ask"}), "ask *"),
        ];
        for (rule, text) in table {
            assert_eq!(refused(json!({"rules": [rule]})), None, "{text}");
            assert_eq!(serde_json::from_value::<EgressRule>(rule).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rule = |change: Value| {
            let mut rule = json!({"host": "api.test", "action": "allow"});
            rule.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"rules": [rule]})
        };
        let table = [
            (rule(json!({"host": "*.co.uk"})), "public suffix"),
            (rule(json!({"host": "https://a.com"})), "bare host name"),
            (rule(json!({"host": "*"})), "cannot be allowed"),
            (rule(json!({"host": "*", "action": "deny", "methods": ["PUT"]})), "inspect"),
            (rule(json!({"ports": []})), "ports"),
            (rule(json!({"ports": [0]})), "ports"),
            (rule(json!({"ports": [65536]})), "65536"),
            (rule(json!({"methods": []})), "methods"),
            (rule(json!({"methods": ["get"]})), "capitals"),
            (rule(json!({"methods": ["CONNECT"]})), "CONNECT"),
            (rule(json!({"path": "x"})), "slash"),
            (rule(json!({"path": "/a/../b"})), "dot segments"),
            (rule(json!({"action": "maybe"})), "maybe"),
            (rule(json!({"hosts": []})), "unknown field"),
            (json!({"transfer_mib": 0}), "egress.transfer_mib: must be 1"),
            (json!({"rate_kib": 1}), "egress.rate_kib: must be 16"),
            (json!({"inspect": "none"}), "none"),
        ];
        for (settings, expected) in table {
            let why = refused(settings.clone()).unwrap_or_default();
            assert!(why.contains(expected), "{settings}: {why:?}");
        }
        let many: Vec<Value> = (0..=limits::EGRESS_RULES).map(|_| json!({"host": "a.test", "action": "deny"})).collect();
        assert!(refused(json!({"rules": many})).is_some());
        let mut all = rule(json!({"host": "*", "action": "deny", "methods": ["PUT"]}));
        all["inspect"] = json!("all");
        assert_eq!(refused(all), None);
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let of = |value: Value| serde_json::from_value::<EgressSettings>(value).unwrap();
        let before = of(json!({"rules": [{"host": "a.test", "action": "deny"}], "inspect": "all", "rate_kib": 64}));
        let patch = json!({"rate_kib": null, "transfer_mib": 5}).as_object().unwrap().clone();
        assert_eq!(before.patched(patch).unwrap(), EgressSettings { rate_kib: None, transfer_mib: Some(5), ..before });
    }
}
