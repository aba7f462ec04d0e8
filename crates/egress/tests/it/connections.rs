//! What a sandbox may reach, by the proxy and without it.

use http::StatusCode;
use ostler_egress::policy::{Code, Network, Policy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::broker::{Broker, limited};
use super::host::{Ca, Host};

pub(crate) async fn said(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let mut all = Vec::new();
    while let Ok(count) = stream.read(&mut answer).await {
        all.extend_from_slice(&answer[..count]);
        if count == 0 || all.ends_with(b"}\n") || all.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn an_allowed_host_is_reached_closed_and_another_is_not() {
    let ca = Ca::new();
    let (host, other) = (Host::echo(Some(ca.acceptor("api.test", &["h2", "http/1.1"]))).await, Host::echo(None).await);
    let broker = Broker::start(ca, &[("api.test", host.address), ("other.test", other.address)], limited(&["api.test"]), None);
    let answer = broker.client().get("https://api.test/a?b").header("x", "y").send().await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
    assert_eq!(host.got()[0].target, "/a?b");
    let refused = said(broker.proxy, "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n").await;
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("\"host\":\"other.test\"") && refused.contains("allowed_hosts"),
        "{refused}"
    );
    assert!(other.got().is_empty());
    drop(answer);
    let records = broker.records(1).await;
    assert!(
        records.iter().any(|record| record.code == Code::HostNotAllowed && !record.is_allowed && record.host == "other.test"),
        "{records:?}"
    );
}

#[tokio::test]
async fn plain_http_goes_by_the_proxy_with_the_right_host_alone() {
    let host = Host::echo(None).await;
    let broker = Broker::start(Ca::new(), &[("api.test", host.address)], limited(&["api.test"]), None);
    let answer = broker.client().post("http://api.test/p").body("hello").send().await.unwrap();
    assert!(answer.text().await.unwrap().ends_with("hello"));
    assert_eq!(host.got()[0].headers["host"], "api.test");
    for (what, text) in [
        ("another Host", "GET http://api.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
        ("two Hosts", "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\nHost: evil.test\r\n\r\n"),
        (
            "both lengths",
            "POST http://api.test/ HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "POST http://api.test/ HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ("odd encoding", "POST http://api.test/ HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a user", "GET http://u:p@api.test/ HTTP/1.1\r\nHost: u:p@api.test\r\n\r\n"),
        ("no address", "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        ("another scheme", "GET ftp://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ] {
        let answer = said(broker.proxy, text).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    assert_eq!(host.got().len(), 1, "nothing of that was passed on: {:?}", host.got());
}

#[tokio::test]
async fn addresses_of_this_machine_and_its_network_are_refused_in_every_notation() {
    let open = Policy { network: Network::Unrestricted, inspect_all: false, rules: Vec::new() };
    let host = Host::echo(None).await;
    let broker = Broker::start(Ca::new(), &[], open, None);
    let port = host.address.port();
    for name in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "169.254.169.254",
        "10.0.0.1",
        "[fe80::1]",
        "0.0.0.0",
        "127.0.0.1.",
        "[64:ff9b::7f00:1]",
    ] {
        for asked in [80, 443, port] {
            let answer = said(broker.proxy, &format!("CONNECT {name}:{asked} HTTP/1.1\r\nHost: {name}:{asked}\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502"), "{name}:{asked}: {answer}");
        }
        let answer = said(broker.proxy, &format!("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 502"), "{name}: {answer}");
    }
    assert!(host.got().is_empty());
}

#[tokio::test]
async fn a_tunnel_is_for_the_host_that_was_asked_for_and_for_tls_or_http() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), None);
    // By the name of TLS another host is wanted than by CONNECT.
    let (proxy, builder) = (broker.proxy, broker.builder());
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = relay.accept().await.unwrap();
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await.unwrap();
        let mut answer = [0; 1_024];
        let count = stream.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
        tokio::io::copy_bidirectional(&mut client, &mut stream).await.ok();
    });
    let client = builder.resolve("evil.test", address).build().unwrap();
    let answer = client.get(format!("https://evil.test:{}/", address.port())).send().await;
    assert!(answer.is_err() || answer.unwrap().status() == StatusCode::MISDIRECTED_REQUEST);
    let mut stream = TcpStream::connect(broker.proxy).await.unwrap();
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await.unwrap();
    let mut answer = [0; 1_024];
    let _ = stream.read(&mut answer).await.unwrap();
    stream.write_all(b"\x00\x01 something else").await.unwrap();
    assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0, "neither TLS nor HTTP");
    assert!(host.got().is_empty());
}

#[tokio::test]
async fn programs_that_know_no_proxy_say_by_tls_or_http_what_they_want() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["h2", "http/1.1"]))).await;
    let plain = Host::echo(None).await;
    let resolve = [("api.test", host.address), ("plain.test", plain.address), ("evil.test", plain.address)];
    let broker = Broker::start(ca, &resolve, limited(&["api.test", "plain.test"]), None);
    let client = broker.builder().resolve("api.test", broker.https).resolve("evil.test", broker.https).resolve("plain.test", broker.http);
    let client = client.build().unwrap();
    let answer = client.get(format!("https://api.test:{}/x", broker.https.port())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = client.get(format!("https://evil.test:{}/x", broker.https.port())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "over TLS the reason can be read, too");
    assert!(answer.text().await.unwrap().contains("allowed_hosts"));
    assert!(said(broker.http, "GET /y HTTP/1.1\r\nHost: plain.test\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    assert!(said(broker.http, "GET /y HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.starts_with("HTTP/1.1 403"));
    assert_eq!(plain.got().len(), 1);
}

#[tokio::test]
async fn who_is_let_go_reaches_nothing_and_open_connections_end() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), None);
    let client = broker.client();
    assert!(client.get("https://api.test/").send().await.is_ok());
    let mut stream = TcpStream::connect(broker.proxy).await.unwrap();
    stream.write_all(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").await.unwrap();
    let mut answer = [0; 1_024];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    assert_eq!(broker.egress.renew(std::slice::from_ref(&broker.session)), []);
    broker.egress.release(&broker.session);
    assert_eq!(stream.read(&mut answer).await.unwrap_or(0), 0);
    assert!(client.get("https://api.test/").send().await.is_err());
    let gone = [broker.session.clone()];
    assert_eq!(broker.egress.renew(&gone), gone);
}
