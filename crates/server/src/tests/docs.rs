//! The page for people, and the examples of the description.

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use super::{answer, request, server};
use crate::openapi::examples::{AGENT, ENVIRONMENT};
use crate::openapi::openapi;

#[tokio::test]
async fn the_page_is_open_and_carries_a_strict_policy() {
    let server = server().await;
    let root = answer(&server.app, request("GET", "/", &[], Body::empty())).await;
    assert_eq!((root.status, &root.headers["location"]), (StatusCode::TEMPORARY_REDIRECT, &"docs".parse().unwrap()));
    let page = server.app.clone().oneshot(request("GET", "/docs", &[], Body::empty())).await.unwrap();
    assert_eq!((page.status(), &page.headers()["content-type"]), (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap()));
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("unsafe"), "{policy}");
    let text = page.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8(text.to_vec()).unwrap().contains("href=\"docs/style.css\""));
    let style = answer(&server.app, request("GET", "/docs/style.css", &[], Body::empty())).await;
    assert_eq!((style.status, &style.headers["content-type"]), (StatusCode::OK, &"text/css; charset=utf-8".parse().unwrap()));
}

#[tokio::test]
async fn pages_and_description_are_packed_and_kept() {
    let server = server().await;
    for path in ["/docs", "/docs/style.css", "/openapi.json"] {
        let first = answer(&server.app, request("GET", path, &[("accept-encoding", "gzip")], Body::empty())).await;
        assert_eq!(first.headers["content-encoding"], "gzip", "{path}");
        let tag = first.headers["etag"].to_str().unwrap();
        let again = answer(&server.app, request("GET", path, &[("accept-encoding", "gzip"), ("if-none-match", tag)], Body::empty())).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}");
        let mut foreign = request("GET", path, &[], Body::empty());
        foreign.headers_mut().insert("host", "rebound.example.com".parse().unwrap());
        answer(&server.app, foreign).await.refused(421, "invalid_request_error");
    }
    answer(&server.app, request("POST", "/docs", &[], Body::empty())).await.refused(405, "invalid_request_error");
}

#[tokio::test]
async fn the_server_takes_every_example_of_a_request() {
    let server = server().await;
    let (agent, environment) = (server.home.agent().await, server.home.environment().await);
    let session = server.home.session(&agent, &environment).await;
    let vault = server.home.post("/v1/vaults", json!({"display_name": "v"})).await.body["id"].as_str().unwrap().to_owned();
    let auth = json!({"type": "environment_variable", "secret_name": "A", "secret_value": "b", "networking": {"type": "unrestricted"}});
    let credential = server.home.post(&format!("/v1/vaults/{vault}/credentials"), json!({"auth": auth})).await;
    let credential = credential.body["id"].as_str().unwrap().to_owned();
    let filled = |text: &str| {
        let text = text.replace("{confirmation_id}", "conf_1").replace("{vault_id}", &vault).replace("{credential_id}", &credential);
        let text = text.replace("{agent_id}", &agent).replace("{environment_id}", &environment).replace("{session_id}", &session);
        text.replace(AGENT, &agent).replace(ENVIRONMENT, &environment)
    };
    let mut sent = 0;
    for (path, item) in openapi()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].get("application/json") else { continue };
            let examples = content["examples"].as_object().unwrap();
            assert!(!examples.is_empty(), "{method} {path} has no example");
            for (name, example) in examples {
                let body = Body::from(filled(&example["value"].to_string()));
                let found = server.home.send(&method.to_uppercase(), &filled(path), body).await;
                let message = found.body["error"]["message"].as_str().unwrap_or_default();
                match name.as_str() {
                    // They answer a call, and none waits.
                    "confirmation" | "result" => assert!(message.contains("waits for"), "{name}: {}", found.body),
                    // They answer a question about a request, and none waits.
                    "once" | "session" => assert!(message.contains("waits in this session"), "{name}: {}", found.body),
                    // This server knows no price of its model, and looks at that last.
                    "started" => assert!(message.contains("model_not_budgetable"), "{name}: {}", found.body),
                    _ => assert_eq!(found.status, 200, "{method} {path} {name}: {}", found.body),
                }
                sent += 1;
            }
        }
    }
    assert!(sent >= 13, "{sent}");
}
