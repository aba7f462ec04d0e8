//! Deciding about connections and requests: the caps of the sandbox, its policy, and a person where a rule says so.

use std::sync::Arc;

use http::{HeaderMap, Request, Uri};

use crate::questions::Outcome;
use crate::sandboxes::{Live, Sandbox};
use ostler_core::egress::policy::{Code, Decision, TRANSFER_RULE};
use ostler_core::egress::{Judged, Question};
use ostler_core::limits::{ASKED_PATH_BYTES, METHOD_CHARS};

/// How a connection goes on of which nothing was seen yet.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It does not.
    Refused(Decision),
    /// It is let through.
    Allowed(Decision),
    /// Only a request, or a person, can tell; nothing is asked of anybody outside before.
    Later {
        /// What is known so far: the rule.
        decision: Decision,
        /// Whether TLS is opened for it.
        is_opened: bool,
    },
}

/// Headers by which some hosts take a request for another one.
const OVERRIDES: [&str; 11] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-forwarded-method",
    "x-original-method",
    "x-envoy-original-path",
    "x-forwarded-path",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-forwarded-uri",
];

fn spent(sandbox: &Sandbox) -> Option<Decision> {
    sandbox.traffic.is_spent().then(|| Decision::deny(Code::TooMuch, TRANSFER_RULE))
}

/// Decides about a connection by its host and port.
pub(crate) fn connection(sandbox: &Sandbox, live: &Live, host: &str, port: u16) -> Entry {
    if let Some(decision) = spent(sandbox) {
        return Entry::Refused(decision);
    }
    let later = |rule: String, is_opened: bool| Entry::Later { decision: Decision::allow(rule), is_opened };
    match live.policy.connection(host, port) {
        Judged::Decided(decision) if decision.is_allowed => Entry::Allowed(decision),
        Judged::Decided(decision) => Entry::Refused(decision),
        Judged::Ask { rule, .. } => later(rule, live.opens(host)),
        Judged::Look { rule } => later(rule, true),
    }
}

/// Asks whether a connection may be let through of which no request will be seen.
pub(crate) async fn closed(sandbox: &Sandbox, live: &Live, host: &str, port: u16) -> Decision {
    match live.policy.connection(host, port) {
        Judged::Decided(decision) => decision,
        Judged::Look { rule } => Decision::deny(Code::NotUnderstood, rule),
        Judged::Ask { rule, text } => {
            let question = Question { host: host.to_owned(), port, method: "CONNECT".into(), path: None, rule: text };
            asked(sandbox, live, question, rule).await
        }
    }
}

/// Decides about a request, and writes its path as it was judged.
pub(crate) async fn request<B>(sandbox: &Sandbox, live: &Arc<Live>, host: &str, port: u16, request: &mut Request<B>) -> Decision {
    if let Some(decision) = spent(sandbox) {
        return decision;
    }
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    if live.policy.looks_inside(host, port) {
        if let Some(name) = overriding(request.headers()) {
            return Decision::deny(Code::Ambiguous, format!("the header {name}"));
        }
        // Many hosts take it for the one in capitals.
        if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Decision::deny(Code::Ambiguous, "the method in small letters");
        }
    }
    let judged = live.policy.request(host, port, &method, &path);
    if let Some(path) = &judged.path
        && !write(request.uri_mut(), path)
    {
        return Decision::deny(Code::BadRequest, "its path cannot be written");
    }
    match judged.judged {
        Judged::Decided(decision) => decision,
        Judged::Look { rule } => Decision::deny(Code::BadRequest, rule),
        Judged::Ask { rule, text } => {
            let path = judged.path.unwrap_or(path);
            // What a person cannot be shown whole is not asked.
            if path.len() > ASKED_PATH_BYTES || method.len() > METHOD_CHARS {
                return Decision::deny(Code::BadRequest, format!("{rule}; its path or method is too long to be asked about"));
            }
            asked(sandbox, live, Question { host: host.to_owned(), port, method, path: Some(path), rule: text }, rule).await
        }
    }
}

async fn asked(sandbox: &Sandbox, live: &Live, question: Question, rule: String) -> Decision {
    let outcome = tokio::select! {
        outcome = sandbox.questions.ask(question) => outcome,
        // Another policy holds: the request is to be judged by that one.
        () = live.policy_ended.cancelled() => return Decision::deny(Code::Revoked, rule),
    };
    match outcome {
        Outcome::Allowed if live.policy_ended.is_cancelled() => Decision::deny(Code::Revoked, rule),
        Outcome::Allowed => Decision::allow(rule),
        Outcome::Denied => Decision::deny(Code::ConfirmationDenied, rule),
        Outcome::Unanswered => Decision::deny(Code::ConfirmationNeeded, rule),
        Outcome::TooMany => Decision::deny(Code::TooMuch, format!("{rule}; too many requests wait for a person")),
    }
}

fn overriding(headers: &HeaderMap) -> Option<&'static str> {
    // Many hosts take both for the same.
    let named = |name: &str| headers.keys().any(|known| known.as_str().replace('_', "-") == name);
    OVERRIDES.into_iter().find(|name| named(name))
}

/// Replaces the path; whether it could be written.
fn write(uri: &mut Uri, path: &str) -> bool {
    let mut parts = uri.clone().into_parts();
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = target.parse().ok();
    let written = parts.path_and_query.is_some().then(|| Uri::from_parts(parts).ok()).flatten();
    let is_written = written.is_some();
    if let Some(written) = written {
        *uri = written;
    }
    is_written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_replaced_and_nothing_else() {
        for (before, path, after) in [
            ("https://a.test//b/../c?q=1", "/c", "https://a.test/c?q=1"),
            ("/x", "/y%20z", "/y%20z"),
            ("http://a.test:8080/x", "/", "http://a.test:8080/"),
        ] {
            let mut uri: Uri = before.parse().unwrap();
            assert!(write(&mut uri, path));
            assert_eq!(uri.to_string(), after);
        }
    }
}
