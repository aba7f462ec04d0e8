//! Model providers as the server asks them: over the socket for calls, found where the operator says, with the key put in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use nix::unistd::geteuid;
use ostler_core::egress::calls::{FAILURE, ProviderKind};
use ostler_egress::provider::ProviderConfig;
use ostler_egress::{Egress, EgressConfig, Machine, ResolveConfig, calls};
use ostler_seal::open::{KeyPair, KeyRing};
use tokio::net::UnixListener;

use super::host::{Answer, Ca, Host};

const KEY: &str = "sk-key-that-only-egress-has";

/// Where the server asks.
struct Calls {
    client: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Calls {
    fn to(ca: &Ca, providers: &[(&str, &str, ProviderKind)], resolve: &[(&str, SocketAddr)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca.write(&dir.path().join("ca.pem"));
        let resolve: BTreeMap<_, _> = resolve.iter().map(|(host, address)| ((*host).to_owned(), *address)).collect();
        let resolve = ResolveConfig { resolve, ..ResolveConfig::default() };
        let config = EgressConfig { resolve, extra_ca: vec![dir.path().join("ca.pem")], ..EgressConfig::default() };
        let provider = |(name, base_url, kind): &(&str, &str, ProviderKind)| ProviderConfig {
            name: (*name).into(),
            base_url: (*base_url).into(),
            kind: *kind,
            key: KEY.to_owned().into(),
        };
        let providers: Vec<_> = providers.iter().map(provider).collect();
        let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
        let egress = Egress::start(ring, &config, &providers, &Machine::read(&config).unwrap()).unwrap();
        let socket: PathBuf = dir.path().join("calls");
        tokio::spawn(calls::serve(egress, UnixListener::bind(&socket).unwrap(), geteuid()));
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).unix_socket(socket).build().unwrap();
        Self { client, _dir: dir }
    }

    async fn post(&self, provider: &str, path: &str) -> reqwest::Response {
        let request = self.client.post(format!("http://x{path}")).header("host", format!("{provider}.provider.ostler"));
        request.header("authorization", "Bearer guess").header("anthropic-version", "7").body("{\"a\":1}").send().await.unwrap()
    }
}

fn answer(status: u16, text: String) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

#[tokio::test]
async fn a_request_reaches_the_configured_address_with_its_key_alone_changed() {
    let ca = Ca::new();
    let host = Host::echo(Some(ca.acceptor("api.test", &["http/1.1"]))).await;
    let other = Host::echo(Some(ca.acceptor("other.test", &["http/1.1"]))).await;
    let providers =
        [("Main", "https://api.test/v1/", ProviderKind::Anthropic), ("x.y-z_0", "https://other.test:8443/api/v4", ProviderKind::OpenAi)];
    let calls = Calls::to(&ca, &providers, &[("api.test", host.address), ("other.test:8443", other.address)]);
    assert_eq!(calls.post("Main", "/v1/messages?beta=true").await.status(), 200);
    assert_eq!(calls.post("x.y-z_0", "/v1/chat/completions").await.status(), 200);
    let (got, got_other) = (host.got().remove(0), other.got().remove(0));
    assert_eq!((got.target.as_str(), got.body.as_str(), got.headers["host"].as_str()), ("/v1/messages?beta=true", "{\"a\":1}", "api.test"));
    assert_eq!(got.headers["x-api-key"], KEY);
    assert_eq!((got.headers["anthropic-version"].as_str(), got.headers["authorization"].as_str()), ("7", "Bearer guess"));
    assert_eq!(got_other.target, "/api/v4/chat/completions");
    assert_eq!(
        (got_other.headers["authorization"].clone(), got_other.headers["host"].as_str()),
        (format!("Bearer {KEY}"), "other.test:8443")
    );
    assert!(!got_other.headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn what_a_provider_says_of_an_error_comes_without_the_key() {
    let ca = Ca::new();
    let host = Host::start(None, |got| answer(401, format!("{{\"error\":\"no {}\"}}", got.headers["x-api-key"]))).await;
    let calls = Calls::to(&ca, &[("main", &format!("http://{}", host.address), ProviderKind::Anthropic)], &[]);
    let response = calls.post("main", "/v1/messages").await;
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (401, "{\"error\":\"no [redacted]\"}"));
}

#[tokio::test]
async fn failures_are_told_apart_from_answers() {
    let ca = Ca::new();
    let plain = Host::echo(None).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dropped = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (refused, no_tls, broken) =
        (format!("http://{free}"), format!("https://{}", plain.address), format!("http://{}", dropped.local_addr().unwrap()));
    tokio::spawn(async move {
        loop {
            drop(dropped.accept().await);
        }
    });
    let kind = ProviderKind::OpenAi;
    let providers = [("refused", refused.as_str(), kind), ("no-tls", &no_tls, kind), ("broken", &broken, kind)];
    let calls = Calls::to(&ca, &providers, &[]);
    for (name, word) in [("refused", "connect"), ("no-tls", "connect"), ("broken", "broken"), ("other", "unknown")] {
        let response = calls.post(name, "/v1/x").await;
        assert_eq!((response.status().as_u16(), response.headers()[FAILURE].to_str().unwrap()), (502, word), "{name}");
        assert!(!response.text().await.unwrap().contains(KEY));
    }
}

#[tokio::test]
async fn a_host_of_this_machine_is_found() {
    let ca = Ca::new();
    let host = Host::echo(None).await;
    let calls = Calls::to(&ca, &[("ollama", &format!("http://localhost:{}", host.address.port()), ProviderKind::OpenAi)], &[]);
    assert_eq!(calls.post("ollama", "/v1/chat/completions").await.status(), 200);
}

#[tokio::test]
async fn nothing_else_is_reached_that_way() {
    let ca = Ca::new();
    let host = Host::echo(None).await;
    let calls = Calls::to(&ca, &[("main", &format!("http://{}", host.address), ProviderKind::OpenAi)], &[]);
    let request = calls.client.get("http://x/v1/x").header("host", host.address.to_string());
    assert_eq!(request.send().await.unwrap().status(), 400);
    assert!(host.got().is_empty());
}
