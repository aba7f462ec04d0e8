//! Connections to hosts that outlive those that they were made for.

use http::StatusCode;
use http_body_util::BodyExt as _;
use ostler_core::ids::WorkspaceId;
use ostler_egress::policy::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
async fn what_a_host_may_have_read_otherwise_is_not_kept() {
    let (broker, [api, ..]) = with_hosts(&["http/1.1"]).await;
    for number in 1..=4 {
        let asked = broker.client().get("https://api.test/").body("GET /other HTTP/1.1\r\n\r\n").send().await.unwrap();
        assert_eq!((asked.status(), api.connections()), (StatusCode::OK, 2 * number - 1), "a host may take a body for a request");
        let asked = broker.client().get("https://api.test/").header("authorization", "Negotiate abc").send().await.unwrap();
        assert_eq!(asked.status(), StatusCode::OK);
        // The next one has its own, too.
    }
    assert_eq!(api.connections(), 8);
    let (broker, [api, ..]) = with_hosts(&["h2"]).await;
    loop {
        let before = api.connections();
        broker.client().post("https://api.test/").body("a body").send().await.unwrap();
        if api.connections() == before {
            return;
        }
    }
}

/// The connections of this machine to a port that both ends hold open.
fn established(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to = format!(":{port:04X}");
    table
        .lines()
        .filter(|line| line.split_whitespace().nth(2).is_some_and(|far| far.ends_with(&to)) && line.split_whitespace().nth(3) == Some("01"))
        .count()
}

#[tokio::test]
async fn a_host_that_does_not_read_holds_no_connection_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let host = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            held.push(stream);
        }
    });
    let broker = Broker::start(Ca::new(), &[("slow.test", address)], limited(&["slow.test"]), None);
    for _ in 0..3 {
        let body = vec![b'x'; 32 << 20];
        // Whether the answer comes before the body is sent does not matter.
        let _ = broker.client().post("http://slow.test/").body(body).timeout(std::time::Duration::from_secs(1)).send().await;
    }
    while established(address.port()) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    host.abort();
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
