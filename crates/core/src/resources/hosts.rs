//! Names of hosts as people write them into policies: a name, an IPv4 address, or `*.` and a name for all below it.

use std::net::Ipv4Addr;

use super::tools::is_public_hostname;

/// Why something is no host of a policy, if it is none.
pub(crate) fn refused(host: &str) -> Option<&'static str> {
    if let Some(name) = host.strip_prefix("*.") {
        if !is_public_hostname(name) {
            return Some("must be the name of a domain behind `*.`, as in `*.example.com`");
        }
        let lower = name.to_ascii_lowercase();
        // Whoever registers a name below it would be allowed.
        return psl::suffix(lower.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == lower.as_bytes()).then_some(
            "stands for all names that anybody can register below a public suffix; name the domain as well, as in `*.example.com`",
        );
    }
    let is_host = is_public_hostname(host) || host.parse::<Ipv4Addr>().is_ok();
    (!is_host).then_some("is not a bare host name; leave out scheme, port and path")
}

/// Whether a host of a policy means this one. Names are compared without regard to case and a dot at the end.
pub fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(name) => {
            let Some(at) = host.len().checked_sub(name.len() + 1).filter(|at| *at > 0) else { return false };
            host.is_char_boundary(at)
                && host.as_bytes().get(at) == Some(&b'.')
                && host.get(at + 1..).is_some_and(|end| end.eq_ignore_ascii_case(name))
        }
    }
}

/// Whether some host is meant by both of two hosts of policies.
pub fn overlap(one: &str, other: &str) -> bool {
    let below = |pattern: &str, name: &str| pattern == name || matches(&format!("*.{pattern}"), name);
    match (one.strip_prefix("*."), other.strip_prefix("*.")) {
        (None, _) => matches(other, one),
        (_, None) => matches(one, other),
        (Some(one), Some(other)) => {
            let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
            below(&one, &other) || below(&other, &one)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pattern_means_what_it_says(
            pattern in r"(\*\.)?[abA]{1,2}(\.[ab]{1,2}){0,2}",
            other in r"(\*\.)?[abA]{1,2}(\.[ab]{1,2}){0,2}",
            host in r"[abB]{1,2}(\.[ab]{1,2}){0,3}\.?",
        ) {
            let plain = host.trim_end_matches('.').to_ascii_lowercase();
            let expected = match pattern.to_ascii_lowercase().strip_prefix("*.") {
                Some(name) => plain.split_once('.').is_some() && (1..plain.len()).any(|at| plain[at..] == format!(".{name}")),
                None => plain == pattern.to_ascii_lowercase(),
            };
            prop_assert_eq!(matches(&pattern, &host), expected);
            prop_assert_eq!(overlap(&pattern, &other), overlap(&other, &pattern));
            if matches(&pattern, &host) && matches(&other, &host) {
                prop_assert!(overlap(&pattern, &other));
            }
        }

        #[test]
        fn any_text_can_be_asked_about(pattern in any::<String>(), host in any::<String>()) {
            let _ = (matches(&pattern, &host), overlap(&pattern, &host));
        }
    }

    #[test]
    fn hosts_of_policies() {
        for good in ["a.com", "*.a.com", "*.example.co.uk", "1.2.3.4", "A.Example", "*.github.io.example.com"] {
            assert_eq!(refused(good), None, "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "*.com",
            "*.co.uk",
            "*.GitHub.io",
            "*.1.2.3.4:5",
            "a.com:443",
            "https://a.com",
            "a.com/x",
            "a.*.com",
            "[::1]",
            "a b",
        ] {
            assert!(refused(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn hosts_of_policies_overlap_or_not() {
        let table = [
            ("a.com", "A.com", true),
            ("a.com", "b.com", false),
            ("*.a.com", "x.a.com", true),
            ("*.a.com", "a.com", false),
            ("*.a.com", "*.A.com", true),
            ("*.a.com", "*.x.a.com", true),
            ("*.a.com", "*.b.com", false),
            ("*.a.com", "*.evila.com", false),
        ];
        for (one, other, expected) in table {
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn what_a_host_of_a_policy_means() {
        let table = [
            ("a.com", "a.com", true),
            ("a.com", "A.COM.", true),
            ("a.com", "b.a.com", false),
            ("*.a.com", "b.a.com", true),
            ("*.a.com", "c.B.a.com", true),
            ("*.a.com", "a.com", false),
            ("*.a.com", ".a.com", false),
            ("*.a.com", "evila.com", false),
            ("*.a.com", "é.a.com", true),
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.40", false),
        ];
        for (pattern, host, expected) in table {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
