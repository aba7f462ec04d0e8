//! Keys of model providers that look wrong, before anybody is asked. What is kept of a key is what
//! looks wrong about it.

use std::net::IpAddr;

use reqwest::Url;

use super::limits;
use super::report::{Finding, quote};
use crate::config::Provider;

/// What was seen of a provider's key and address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) provider: String,
    pub(super) has_key: bool,
    pub(super) oddity: Option<Oddity>,
    /// Whether the key would go over a network without TLS.
    pub(super) is_readable: bool,
    /// Why requests cannot even be made.
    pub(super) unusable: Option<String>,
}

/// What looks wrong about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    Missing,
    Blanks,
    Quotes,
    Variable,
    Placeholder,
    Short,
    /// The keys of the asked provider begin otherwise.
    Beginning(&'static str),
}

/// Providers whose keys are known by their beginning: host, beginning, other beginnings that are others' keys.
const BEGINNINGS: [(&str, &str, &[&str]); 3] =
    [("api.anthropic.com", "sk-ant-", &[]), ("api.openai.com", "sk-", &["sk-ant-", "sk-or-"]), ("openrouter.ai", "sk-or-", &[])];

const PLACEHOLDERS: [&str; 6] = ["your", "changeme", "example", "placeholder", "xxxx", "..."];

pub(super) fn look(provider: &Provider, unusable: Option<String>) -> Key {
    let key = provider.key.expose();
    let url = Url::parse(&provider.base_url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    Key {
        provider: provider.name.clone(),
        has_key: !key.is_empty(),
        oddity: oddity(key, host),
        is_readable: !key.is_empty() && url.as_ref().is_some_and(|url| url.scheme() == "http") && !is_here(host),
        unusable,
    }
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|address| address.is_loopback())
}

fn oddity(key: &str, host: &str) -> Option<Oddity> {
    let known = BEGINNINGS.iter().find(|(known, ..)| *known == host);
    if key.is_empty() {
        return known.map(|_| Oddity::Missing);
    }
    let lower = key.to_ascii_lowercase();
    if key.contains(char::is_whitespace) {
        Some(Oddity::Blanks)
    } else if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
        Some(Oddity::Quotes)
    } else if key.starts_with(['$', '{', '<']) {
        Some(Oddity::Variable)
    } else if PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder)) {
        Some(Oddity::Placeholder)
    } else {
        let (_, beginning, others) = known?;
        if !key.starts_with(beginning) || others.iter().any(|other| key.starts_with(other)) {
            Some(Oddity::Beginning(beginning))
        } else {
            (key.chars().count() < limits::SHORT_KEY_CHARS).then_some(Oddity::Short)
        }
    }
}

impl Key {
    pub(super) fn judge(&self) -> Finding {
        let name = format!("key.{}", self.provider);
        if let Some(error) = &self.unusable {
            let (found, remedy) =
                error.split_once("; ").unwrap_or((error, "correct the provider's section of ostler.toml, or its variables"));
            return Finding::problem(&name, quote(found), quote(remedy));
        }
        let again = "set it again, whole and without anything around it";
        match self.oddity {
            Some(Oddity::Missing) => Finding::problem(
                &name,
                "none is set, and this provider answers nobody without",
                "set the provider's api_key, or the variable of its own SDK",
            ),
            Some(Oddity::Blanks) => Finding::note(&name, "it has blanks or line breaks in it", again),
            Some(Oddity::Quotes) => Finding::note(&name, "it has quotes around it", again),
            Some(Oddity::Variable) => Finding::note(
                &name,
                "it looks like the name of a variable",
                "settings are taken as they are: name the variable with api_key_env",
            ),
            Some(Oddity::Placeholder) => Finding::note(&name, "it looks like an example", "set the key that the provider gave you"),
            Some(Oddity::Short) => Finding::note(&name, "it is shorter than this provider's keys", again),
            Some(Oddity::Beginning(beginning)) => Finding::note(
                &name,
                format!("this provider's keys begin with {beginning:?}, and this one does not"),
                "make sure that it is not another provider's key",
            ),
            None if self.is_readable => Finding::note(
                &name,
                "it goes over the network readable, because the address begins with http:",
                "use an https address, or a provider on this machine",
            ),
            None if self.has_key => Finding::ok(&name, "looks like one"),
            None => Finding::ok(&name, "none, and this provider may need none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> Key {
        Key { provider: "p".into(), has_key: true, oddity: None, is_readable: false, unusable: None }
    }

    #[test]
    fn keys_that_look_wrong_are_known() {
        let long = "0123456789abcdef";
        let table = [
            ("", "api.openai.com", Some(Oddity::Missing)),
            ("", "127.0.0.1", None),
            ("sk-a b", "x", Some(Oddity::Blanks)),
            ("sk-a\n", "x", Some(Oddity::Blanks)),
            ("\"sk-a\"", "x", Some(Oddity::Quotes)),
            ("${KEY}", "x", Some(Oddity::Variable)),
            ("<key>", "x", Some(Oddity::Variable)),
            ("YOUR_API_KEY", "x", Some(Oddity::Placeholder)),
            ("sk-...", "x", Some(Oddity::Placeholder)),
            (&format!("sk-{long}"), "api.anthropic.com", Some(Oddity::Beginning("sk-ant-"))),
            (&format!("sk-ant-{long}"), "api.anthropic.com", None),
            (&format!("sk-ant-{long}"), "api.openai.com", Some(Oddity::Beginning("sk-"))),
            (&format!("sk-proj-{long}"), "api.openai.com", None),
            (&format!("sk-or-{long}"), "openrouter.ai", None),
            ("sk-ant-1", "api.anthropic.com", Some(Oddity::Short)),
            ("x", "gateway.internal", None),
        ];
        for (key, host, wanted) in table {
            assert_eq!(oddity(key, host), wanted, "{key} {host}");
        }
    }

    #[test]
    fn every_oddity_is_told_with_what_to_do() {
        let table = [
            (Oddity::Missing, Status::Problem, "answers nobody", "api_key"),
            (Oddity::Blanks, Status::Note, "blanks", "again"),
            (Oddity::Quotes, Status::Note, "quotes", "again"),
            (Oddity::Variable, Status::Note, "variable", "api_key_env"),
            (Oddity::Placeholder, Status::Note, "example", "gave you"),
            (Oddity::Short, Status::Note, "shorter", "again"),
            (Oddity::Beginning("sk-"), Status::Note, "\"sk-\"", "another provider's"),
        ];
        for (oddity, status, found, remedy) in table {
            assert_finding(&[Key { oddity: Some(oddity), ..good() }.judge()], "key.p", status, found, remedy);
        }
        assert_finding(&[good().judge()], "key.p", Status::Ok, "looks like one", "");
        assert_finding(&[Key { has_key: false, ..good() }.judge()], "key.p", Status::Ok, "may need none", "");
        assert_finding(&[Key { is_readable: true, ..good() }.judge()], "key.p", Status::Note, "readable", "https");
        let unusable = Key { unusable: Some("the base_url is not usable; give another".into()), ..good() };
        assert_finding(&[unusable.judge()], "key.p", Status::Problem, "not usable", "give another");
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        assert!(["localhost", "a.localhost", "127.0.0.2", "[::1]"].into_iter().all(is_here));
        assert!(!["", "10.0.0.1", "localhost.example.com", "[2001:db8::1]"].into_iter().any(is_here));
    }
}
