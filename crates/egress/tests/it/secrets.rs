//! Secrets: what a host gets of them, and what a sandbox does.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::broker::{Broker, PLACEHOLDER, SECRET, limited};
use super::host::{Ca, Host, text};

async fn with_host(protocols: &[&str]) -> (Host, Broker) {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", protocols))).await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), Some(&["api.test"]));
    (host, broker)
}

#[tokio::test]
async fn a_host_gets_the_secret_and_the_sandbox_does_not_see_it() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let (host, broker) = with_host(protocols).await;
        let basic = STANDARD.encode(format!("user:{PLACEHOLDER}"));
        let answer = broker
            .client()
            .post(format!("https://api.test/p?key={PLACEHOLDER}"))
            .header("x-key", format!("Bearer {PLACEHOLDER}"))
            .header("authorization", format!("Basic {basic}"))
            .header("range", "bytes=0-3")
            .body(format!("body {PLACEHOLDER}"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let got = host.got().remove(0);
        assert_eq!(got.headers["x-key"], format!("Bearer {SECRET}"));
        assert_eq!(got.headers["authorization"], format!("Basic {}", STANDARD.encode(format!("user:{SECRET}"))));
        assert_eq!((got.target, got.body), (format!("/p?key={SECRET}"), format!("body {PLACEHOLDER}")));
        assert!(!got.headers.contains_key("range") && got.headers["accept-encoding"] == "identity");
        let seen = answer.text().await.unwrap();
        assert!(!seen.contains(SECRET) && !seen.contains(&STANDARD.encode(format!("user:{SECRET}"))), "{seen}");
        assert!(seen.contains(&format!("Bearer {PLACEHOLDER}")), "{seen}");
        let records = broker.records(1).await;
        assert_eq!((records[0].path.as_deref(), records[0].credentials.len(), records[0].status), (Some("/p"), 1, Some(200)));
        assert!(!format!("{records:?}").contains(SECRET));
    }
}

#[tokio::test]
async fn another_host_gets_the_placeholder() {
    let ca = Ca::new();
    let (api, other) = (Host::echo(Some(ca.acceptor("api.test", &[]))).await, Host::echo(Some(ca.acceptor("other.test", &[]))).await);
    let resolve = [("api.test", api.address), ("other.test", other.address)];
    let broker = Broker::start(ca, &resolve, limited(&["api.test", "other.test"]), Some(&["api.test"]));
    for url in ["https://other.test/", "http://other.test/"] {
        let _ = broker.client().get(url).header("x-key", PLACEHOLDER).send().await;
    }
    assert_eq!(other.got()[0].headers["x-key"], PLACEHOLDER);
    // Over plain HTTP nobody gets it, not even the right host.
    let plain = Host::echo(None).await;
    let broker = Broker::start(Ca::new(), &[("api.test", plain.address)], limited(&["api.test"]), Some(&["api.test"]));
    broker.client().get("http://api.test/").header("x-key", PLACEHOLDER).send().await.unwrap();
    assert_eq!(plain.got()[0].headers["x-key"], PLACEHOLDER);
}

#[tokio::test]
async fn an_opened_connection_is_for_one_host() {
    let (host, broker) = with_host(&["http/1.1"]).await;
    let answer = broker.client().get("https://api.test/").header("host", "evil.test").header("x-key", PLACEHOLDER).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert!(host.got().is_empty());
}

#[tokio::test]
async fn answers_are_scrubbed_in_heads_in_pieces_and_packed() {
    let ca = Ca::new();
    let host = Host::start(Some(ca.acceptor("api.test", &["http/1.1"])), |got| match got.target.as_str() {
        "/head" => Response::builder()
            .status(302)
            .header("location", format!("https://evil.test/?{SECRET}"))
            .body(Full::default().boxed_unsync())
            .unwrap(),
        "/gzip" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(format!("a {SECRET} b").as_bytes()).unwrap();
            let body = Full::new(Bytes::from(packed.finish().unwrap())).boxed_unsync();
            Response::builder().header("content-encoding", "gzip").body(body).unwrap()
        }
        "/zstd" => Response::builder().header("content-encoding", "zstd").body(Full::new("x".into()).boxed_unsync()).unwrap(),
        "/part" => Response::builder().status(206).body(Full::new(Bytes::from(SECRET)).boxed_unsync()).unwrap(),
        "/pieces" => {
            let pieces: Vec<_> = SECRET.bytes().map(|byte| Ok(http_body::Frame::data(Bytes::from(vec![byte])))).collect();
            Response::new(http_body_util::StreamBody::new(futures::stream::iter(pieces)).boxed_unsync())
        }
        _ => text("?"),
    })
    .await;
    let broker = Broker::start(ca, &[("api.test", host.address)], limited(&["api.test"]), Some(&[]));
    let client = broker.client();
    let get = async |path: &str| client.get(format!("https://api.test{path}")).send().await.unwrap();
    assert_eq!(get("/head").await.headers()["location"], format!("https://evil.test/?{PLACEHOLDER}"));
    assert_eq!(get("/gzip").await.text().await.unwrap(), format!("a {PLACEHOLDER} b"));
    assert_eq!(get("/pieces").await.text().await.unwrap(), PLACEHOLDER);
    for path in ["/zstd", "/part"] {
        let answer = get(path).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{path}");
        assert!(!answer.text().await.unwrap().contains(SECRET));
    }
}

#[tokio::test]
async fn a_grant_that_is_taken_back_is_gone_at_once_and_its_connections_end() {
    let (host, broker) = with_host(&["http/1.1"]).await;
    let client = broker.client();
    client.get("https://api.test/").header("x-key", PLACEHOLDER).send().await.unwrap();
    let mut terms = broker.terms.clone();
    terms.grants.clear();
    assert_eq!(broker.egress.change(&broker.session, terms), Some(Vec::new()));
    // The kept connection is dead; the next one is not opened any more, and goes to the host as it is.
    let answer = async { client.get("https://api.test/").header("x-key", PLACEHOLDER).send().await };
    if answer.await.is_err() {
        client.get("https://api.test/").header("x-key", PLACEHOLDER).send().await.unwrap();
    }
    let got: Vec<String> = host.got().iter().map(|got| got.headers["x-key"].clone()).collect();
    assert_eq!(got, [SECRET, PLACEHOLDER]);
}

#[tokio::test]
async fn a_host_with_a_wrong_certificate_gets_nothing() {
    let host = Host::echo(Some(Ca::new().acceptor("api.test", &["http/1.1"]))).await;
    let broker = Broker::start(Ca::new(), &[("api.test", host.address)], limited(&["api.test"]), Some(&["api.test"]));
    let answer = broker.client().get("https://api.test/").header("x-key", PLACEHOLDER).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.unwrap().contains("TLS"));
    assert!(host.got().is_empty());
}
