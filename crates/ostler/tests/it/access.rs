//! Who may ask, and under which name.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Api, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_host_name_is_refused() {
    let server = Server::start().await;
    for host in ["evil.example", "localhost.evil.example:80"] {
        let (status, body) = Api::ask(server.api.request(Method::GET, "/v1/agents").header("host", host)).await.unwrap();
        assert_eq!((status, body["type"].as_str()), (StatusCode::MISDIRECTED_REQUEST, Some("error")));
    }
    let (status, _) = Api::ask(server.api.request(Method::GET, "/v1/agents").header("host", "localhost:1")).await.unwrap();
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_another_installation_opens_nothing() {
    let server = Server::start().await;
    let other = Server::builder().env("OSTLER_BOOTSTRAP_API_KEY", "another-key-0123456789abcdef-0123456").start().await;
    let session = server.session(json!([])).await;
    let stranger = server.api.with_key("another-key-0123456789abcdef-0123456");
    for path in ["/v1/agents".to_owned(), session.path(), format!("{}/events/stream", session.path())] {
        assert_eq!(stranger.status_of(&path).await, StatusCode::UNAUTHORIZED, "{path}");
    }
    let there = Api::new(&other.api.url, "another-key-0123456789abcdef-0123456");
    assert_eq!(there.status_of(&session.path()).await, StatusCode::NOT_FOUND);
    assert_eq!(there.status_of("/v1/agents").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_only_probes_answer() {
    let server = Server::start().await;
    let nobody = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = async |path: &str| nobody.get(format!("{}{path}", server.api.url)).send().await.unwrap().status();
    assert_eq!(status("/healthz").await, StatusCode::OK);
    assert_eq!(status("/readyz").await, StatusCode::OK);
    assert_eq!(status("/v1/agents").await, StatusCode::UNAUTHORIZED);
}
