//! Connections to hosts that outlive those that they were made for.

use http::StatusCode;
use http_body_util::BodyExt as _;
use ostler_core::ids::WorkspaceId;
use ostler_egress::policy::Policy;

use super::broker::{Broker, limited};
use super::host::{Ca, Host, text};

/// A broker that opens all TLS, and its hosts: one that answers, one that finds every request bad, one that ends its connections.
async fn with_hosts(protocols: &[&str]) -> (Broker, [Host; 3]) {
    let ca = Ca::new();
    let api = Host::echo(Some(ca.acceptor("api.test", protocols))).await;
    let bad = Host::start(Some(ca.acceptor("bad.test", protocols)), |_| {
        let (mut parts, body) = text("what?").into_parts();
        parts.status = StatusCode::BAD_REQUEST;
        http::Response::from_parts(parts, body)
    });
    let ends = Host::start(Some(ca.acceptor("ends.test", &["http/1.1"])), |_| {
        let (mut parts, body) = text("and that is all").into_parts();
        parts.headers.insert("connection", http::HeaderValue::from_static("close"));
        http::Response::from_parts(parts, body.map_frame(|frame| frame).boxed_unsync())
    });
    let (bad, ends) = (bad.await, ends.await);
    let resolve = [("api.test", api.address), ("bad.test", bad.address), ("ends.test", ends.address)];
    let policy = Policy { inspect_all: true, ..limited(&["api.test", "bad.test", "ends.test"]) };
    (Broker::start(ca, &resolve, policy, None), [api, bad, ends])
}

async fn asked(broker: &Broker, url: &str) -> StatusCode {
    broker.client().get(url).send().await.unwrap().status()
}

/// Asks until that needed no connection of its own: it takes a moment until one is left.
async fn asked_without_connecting(broker: &Broker, host: &Host, url: &str) {
    loop {
        let before = host.connections();
        assert_eq!(asked(broker, url).await, StatusCode::OK);
        if host.connections() == before {
            return;
        }
    }
}

#[tokio::test]
async fn who_may_do_the_same_uses_the_same_connection() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"]] {
        let (broker, [api, ..]) = with_hosts(protocols).await;
        asked_without_connecting(&broker, &api, "https://api.test/").await;
        let of_the_same = broker.another(broker.terms.clone());
        asked_without_connecting(&of_the_same, &api, "https://api.test/").await;
        let mut terms = broker.terms.clone();
        terms.workspace = "wrkspc_other".parse::<WorkspaceId>().unwrap();
        let of_others = broker.another(terms);
        let before = api.connections();
        assert_eq!(asked(&of_others, "https://api.test/").await, StatusCode::OK);
        assert_eq!(api.connections(), before + 1, "another workspace has its own");
    }
}

#[tokio::test]
async fn what_looks_unsound_is_not_kept() {
    let (broker, [_, bad, ends]) = with_hosts(&["http/1.1"]).await;
    for number in 1..=4 {
        assert_eq!(asked(&broker, "https://bad.test/").await, StatusCode::BAD_REQUEST);
        assert_eq!(bad.connections(), number, "a host that finds a request bad may have read another one");
        assert_eq!(asked(&broker, "https://ends.test/").await, StatusCode::OK);
        assert_eq!(ends.connections(), number);
    }
}
