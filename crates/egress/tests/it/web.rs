//! Pages and searches as the server asks for them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::TokioIo;
use ostler_core::egress::calls::{SESSION, URL, WEB_HOST};
use ostler_core::ids::{IdSource, SessionId};
use ostler_egress::{Egress, EgressConfig, Machine, ResolveConfig, SearchEngine, calls};
use ostler_seal::open::{KeyPair, KeyRing};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};

use super::host::{Answer, Ca, Host, text};

const KEY: &str = "the-key-of-the-search-engine";

/// Egress that finds these hosts, and the socket at which it takes calls.
struct Called {
    egress: Arc<Egress>,
    dir: tempfile::TempDir,
}

impl Called {
    fn start(ca: &Ca, resolve: &[(&str, SocketAddr)], search: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca.write(&dir.path().join("ca.pem"));
        let resolve: BTreeMap<_, _> = resolve.iter().map(|(host, address)| ((*host).to_owned(), *address)).collect();
        let config = EgressConfig {
            resolve: ResolveConfig { resolve, ..ResolveConfig::default() },
            extra_ca: vec![dir.path().join("ca.pem")],
            user: Default::default(),
            search: search.map(|url| SearchEngine { url, key: Some(("x-subscription-token".into(), KEY.to_owned().into())) }),
        };
        let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
        let egress = Egress::start(ring, &config, &[], &Machine::read(&config).unwrap()).unwrap();
        let listener = UnixListener::bind(dir.path().join("calls")).unwrap();
        tokio::spawn(calls::serve(Arc::clone(&egress), listener, nix::unistd::geteuid()));
        Self { egress, dir }
    }

    async fn send(&self, request: http::request::Builder) -> (http::response::Parts, Bytes) {
        let stream = UnixStream::connect(self.dir.path().join("calls")).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request.header(header::HOST, WEB_HOST).body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (parts, content) = response.into_parts();
        (parts, content.collect().await.unwrap().to_bytes())
    }

    async fn page(&self, url: &str) -> (http::response::Parts, Bytes) {
        self.send(Request::get("/page").header(URL, url).header("authorization", "Bearer x").header("cookie", "a=b")).await
    }

    /// The code of a refusal.
    async fn refused(&self, url: &str) -> String {
        let (parts, content) = self.page(url).await;
        assert_eq!(parts.headers["x-ostler-egress"], "refused", "{url}");
        let error: Value = serde_json::from_slice(&content).unwrap();
        error["error"]["code"].as_str().unwrap().to_owned()
    }
}

fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    pieces.for_each(|piece| packed.write_all(&piece).unwrap());
    packed.finish().unwrap()
}

fn with(header: (&'static str, &'static str), status: u16, content: Vec<u8>) -> Answer {
    let response =
        Response::builder().status(status).header(header.0, header.1).header("set-cookie", "id=1").header("x-ostler-egress", "refused");
    response.body(Full::new(Bytes::from(content)).boxed_unsync()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_read_with_headers_of_our_own_and_comes_without_those_of_its_host() {
    let ca = Ca::new();
    let host = Host::start(Some(ca.acceptor("a.test", &["h2", "http/1.1"])), |got| match got.target.as_str() {
        "/moved" => with(("location", "https://b.test/x"), 302, b"gone".to_vec()),
        "/none" => with(("location", ""), 204, Vec::new()),
        _ => with(("content-encoding", "gzip"), 200, gzip([b"<p>hello".to_vec()].into_iter())),
    })
    .await;
    let called = Called::start(&ca, &[("a.test", host.address)], None);
    let (parts, content) = called.page("https://a.test/x?q=ostler_placeholder_0123456789").await;
    assert_eq!((parts.status.as_u16(), &content[..]), (200, &b"<p>hello"[..]));
    assert!(["set-cookie", "x-ostler-egress", "content-encoding"].iter().all(|name| !parts.headers.contains_key(*name)), "{parts:?}");
    let got = &host.got()[0];
    assert_eq!(got.target, "/x?q=ostler_placeholder_0123456789");
    let names: Vec<&str> = got.headers.keys().map(String::as_str).filter(|name| *name != "host").collect();
    assert_eq!(names, ["accept", "accept-encoding", "user-agent"]);
    let (parts, content) = called.page("https://a.test/moved").await;
    assert_eq!((parts.status.as_u16(), parts.headers["location"].to_str().unwrap(), content.len()), (302, "https://b.test/x", 0));
    assert_eq!(called.page("https://a.test/none").await.0.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_large_pages_are_refused() {
    let ca = Ca::new();
    let zeros = gzip(std::iter::repeat_n(vec![0; 1 << 20], 64));
    let host = Host::start(None, move |got| match got.target.as_str() {
        "/bomb" => with(("content-encoding", "gzip"), 200, zeros.clone()),
        "/large" => with(("content-type", "text/plain"), 200, vec![b'x'; 11 << 20]),
        "/fits" => with(("content-type", "text/plain"), 200, vec![b'x'; 10 << 20]),
        "/noise" => with(("content-encoding", "gzip"), 200, b"no gzip".to_vec()),
        "/nested" => with(("content-encoding", "gzip, gzip"), 200, zeros.clone()),
        _ => text("?"),
    })
    .await;
    let called = Called::start(&ca, &[("a.test", host.address)], None);
    for (path, code) in [("bomb", "too_large"), ("large", "too_large"), ("noise", "unreachable"), ("nested", "unreachable")] {
        assert_eq!(called.refused(&format!("http://a.test/{path}")).await, code, "{path}");
    }
    assert_eq!(called.page("http://a.test/fits").await.1.len(), 10 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_public_places_are_read() {
    let called = Called::start(&Ca::new(), &[], None);
    for (url, code) in [
        ("http://169.254.169.254/latest/meta-data", "address_not_public"),
        ("http://2130706433/", "address_not_public"),
        ("http://[::1]/", "address_not_public"),
        ("http://[::ffff:127.0.0.1]/", "address_not_public"),
        ("http://localhost/", "address_not_public"),
        ("https://1.1.1.1:22/", "port_not_allowed"),
        ("file:///etc/passwd", "bad_host"),
        ("https://user:pass@example.com/", "bad_host"),
        ("nonsense", "bad_host"),
    ] {
        assert_eq!(called.refused(url).await, code, "{url}");
    }
    let (parts, _) = called.send(Request::post("/page").header(URL, "https://a.test/")).await;
    assert_eq!(parts.status, 400);
    assert_eq!(called.send(Request::get("/search?q=x")).await.0.status, 400, "there is no search engine");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_engine_alone_gets_its_key_and_may_be_private() {
    let ca = Ca::new();
    let engine = Host::start(None, |got| text(&format!("{{\"said\": \"{}\"}}", got.headers["x-subscription-token"]))).await;
    let page = Host::echo(None).await;
    let url = format!("http://{}/api/search", engine.address);
    let called = Called::start(&ca, &[("a.test", page.address)], Some(url));
    let session = SessionId::mint(&mut IdSource::new(1, 1));
    let request = Request::get("/search?q=two%20words&count=5")
        .header(SESSION, session.as_str())
        .header("x-loc-city", "Bonn")
        .header("cookie", "a=b");
    let (parts, content) = called.send(request).await;
    assert_eq!((parts.status.as_u16(), &content[..]), (200, &b"{\"said\": \"[redacted]\"}"[..]));
    let got = &engine.got()[0];
    assert_eq!(got.target, "/api/search?q=two%20words&count=5");
    assert_eq!((got.headers["x-subscription-token"].as_str(), got.headers["x-loc-city"].as_str()), (KEY, "Bonn"));
    assert!(!got.headers.contains_key("cookie") && !got.headers.contains_key(SESSION));
    called.page("http://a.test/x").await;
    assert!(!format!("{:?}", page.got()).contains(KEY));
    let records = called.egress.take_records(10).records;
    assert!(!format!("{records:?}").contains(KEY) && format!("{records:?}").contains("web_search"), "{records:?}");
    assert!(!format!("{:?}", SearchEngine { url: String::new(), key: Some(("h".into(), KEY.to_owned().into())) }).contains(KEY));
}
