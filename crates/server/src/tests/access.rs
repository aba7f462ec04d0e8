//! Who gets in, and who sees what.

use axum::body::Body;
use serde_json::{Value, json};

use super::{Client, answer, request, server, text};
use crate::openapi::openapi;

/// Every operation of the description: method and path.
fn operations() -> Vec<(String, String)> {
    let description = serde_json::to_value(openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))).collect()
}

fn is_open(path: &str) -> bool {
    ["/healthz", "/readyz", "/openapi.json"].contains(&path)
}

#[tokio::test]
async fn every_route_refuses_a_request_without_a_key() {
    let server = server().await;
    let mut refused = 0;
    for (method, path) in operations() {
        let found = answer(&server.app, request(&method, &path, &[], Body::from("not json"))).await;
        if is_open(&path) {
            assert_eq!(found.status, 200, "{method} {path}");
        } else {
            assert_eq!(found.headers["www-authenticate"], "Bearer");
            found.refused(401, "authentication_error");
            refused += 1;
        }
    }
    assert!(refused >= 25, "{refused}");
    for path in [
        "/v1",
        "/doc",
        "/docs/",
        "/docs/x",
        "/docs/style.css/x",
        "/v1/no_such_collection",
        "/v1//agents",
        "/V1/agents",
        "/healthz/",
        "/openapi.json/x",
    ] {
        answer(&server.app, request("GET", path, &[], Body::empty())).await.refused(401, "authentication_error");
    }
}

#[tokio::test]
async fn all_bad_keys_are_answered_alike() {
    let server = server().await;
    let good = server.home.key.clone();
    let mut wrong = good.clone();
    wrong.replace_range(good.len() - 3.., if good.ends_with("AAA") { "BBB" } else { "AAA" });
    let none = answer(&server.app, request("GET", "/v1/agents", &[], Body::empty())).await.refused(401, "authentication_error");
    let unknown = format!("ostler_{}_{}", "0".repeat(26), "a".repeat(43));
    for key in [wrong.as_str(), unknown.as_str(), "some-preset", "é"] {
        let header = format!("Bearer {key}");
        let Ok(value) = header.parse::<http::HeaderValue>() else { continue };
        let mut asked = request("GET", "/v1/agents", &[], Body::empty());
        asked.headers_mut().insert("authorization", value);
        assert_eq!(answer(&server.app, asked).await.refused(401, "authentication_error"), none);
    }
    for query in [format!("api_key={good}"), format!("key={good}"), format!("x-api-key={good}")] {
        answer(&server.app, request("GET", &format!("/v1/agents?{query}"), &[], Body::empty())).await.refused(401, "authentication_error");
    }
    answer(&server.app, request("GET", "/v1/agents", &[("x-api-key", &good)], Body::empty())).await.ok();
    server.home.get("/v1/agents").await.ok();
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_at_once() {
    let server = server().await;
    let made = server.home.post("/v1/x/api_keys", json!({"name": "second"})).await.ok();
    let second = Client { key: text(&made["secret"]), ..server.home.clone() };
    second.get("/v1/agents").await.ok();
    let id = text(&made["id"]);
    server.stranger.action(&format!("/v1/x/api_keys/{id}/revoke")).await.refused(404, "not_found_error");
    second.get("/v1/agents").await.ok();
    let revoked = server.home.action(&format!("/v1/x/api_keys/{id}/revoke")).await.ok();
    assert!(revoked["revoked_at"].is_string());
    second.get("/v1/agents").await.refused(401, "authentication_error");
    let listed = server.home.get("/v1/x/api_keys").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(&second.key), "a secret is shown once");
    server.home.post("/v1/x/api_keys", json!({"name": " "})).await.refused(400, "invalid_request_error");
}

/// A body that is valid wherever one is needed.
fn body_for(path: &str) -> Value {
    match path {
        path if path.ends_with("/events") => json!({"events": [{"type": "user.interrupt"}]}),
        path if path.contains("/confirmations/") => json!({"result": "allow"}),
        _ => json!({}),
    }
}

#[tokio::test]
async fn foreign_ids_are_answered_as_unknown_ones() {
    let server = server().await;
    let session = server.home.new_session().await;
    let seen = server.home.get(&format!("/v1/sessions/{session}")).await.ok();
    let threads = server.home.get(&format!("/v1/sessions/{session}/threads")).await.ok();
    let keys = server.home.get("/v1/x/api_keys").await.ok();
    let real = [
        ("{session_id}", session.clone()),
        ("{agent_id}", text(&seen["agent"]["id"])),
        ("{environment_id}", text(&seen["environment_id"])),
        ("{thread_id}", text(&threads["data"][0]["id"])),
        ("{api_key_id}", text(&keys["data"][0]["id"])),
        ("{confirmation_id}", "conf_1".to_owned()),
    ];
    let mut checked = 0;
    for (method, path) in operations().into_iter().filter(|(_, path)| path.contains('{')) {
        let filled = real.iter().fold(path.clone(), |path, (name, id)| path.replace(name, id));
        let unknown =
            real.iter().fold(path.clone(), |path, (name, id)| path.replace(name, &format!("{}unknown", &id[..=id.find('_').unwrap()])));
        let foreign = server.stranger.send(&method, &filled, Body::from(body_for(&path).to_string())).await;
        let missing = server.home.send(&method, &unknown, Body::from(body_for(&path).to_string())).await;
        let plain =
            |text: String, path: &str| path.split('/').filter(|part| part.contains('_')).fold(text, |text, id| text.replace(id, "ID"));
        let (foreign, missing) = (foreign.refused(404, "not_found_error"), missing.refused(404, "not_found_error"));
        assert_eq!(plain(foreign, &filled), plain(missing, &unknown), "{method} {path}");
        checked += 1;
    }
    assert!(checked >= 20, "{checked}");
    // Nothing of it had an effect.
    assert_eq!(server.home.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    for path in ["/v1/agents", "/v1/environments", "/v1/sessions"] {
        assert_eq!(server.stranger.get(path).await.ok()["data"], json!([]));
    }
    let (agent, environment) = (&real[1].1, &real[2].1);
    server.stranger.post("/v1/sessions", json!({"agent": agent, "environment_id": environment})).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn impossible_ids_are_not_found() {
    let home = server().await.home;
    for path in
        ["/v1/agents/env_1", "/v1/sessions/%2e%2e", "/v1/sessions/sesn_%ff", "/v1/agents/agent_a%00b", "/v1/sessions/sesn_1/threads/x"]
    {
        home.get(path).await.refused(404, "not_found_error");
    }
    let long = format!("/v1/agents/agent_{}", "a".repeat(5_000));
    assert!(home.get(&long).await.refused(404, "not_found_error").len() < 200);
    assert_eq!(home.get("/v1/environments/nope").await.body["error"]["details"]["error_code"], "environment_not_found");
}

#[tokio::test]
async fn what_is_no_route_is_said_in_the_envelope() {
    let home = server().await.home;
    home.get("/v1/no_such_collection").await.refused(404, "not_found_error");
    assert!(home.get("/v1/memory_stores").await.refused(404, "not_found_error").contains("not supported"));
    let wrong = home.send("PUT", "/v1/agents", Body::empty()).await;
    let allow = wrong.headers["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
    wrong.refused(405, "invalid_request_error");
}

#[tokio::test]
async fn threads_exist_for_clients_that_name_a_beta() {
    let server = server().await;
    let session = server.home.new_session().await;
    let mut asked = request("GET", &format!("/v1/sessions/{session}/threads"), &[("authorization", &server.home.bearer())], Body::empty());
    asked.headers_mut().remove("anthropic-beta");
    answer(&server.app, asked).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn foreign_host_names_are_refused() {
    let server = server().await;
    let mut asked = request("GET", "/v1/agents", &[("authorization", &server.home.bearer())], Body::empty());
    asked.headers_mut().insert("host", "rebound.example.com".parse().unwrap());
    answer(&server.app, asked).await.refused(421, "invalid_request_error");
    let mut probe = request("GET", "/healthz", &[], Body::empty());
    probe.headers_mut().insert("host", "10.1.2.3:8787".parse().unwrap());
    answer(&server.app, probe).await.ok();
}

#[tokio::test]
async fn a_stopping_server_is_not_ready_but_alive() {
    let server = server().await;
    server.home.get("/readyz").await.ok();
    server.stopping.cancel();
    assert_eq!(server.home.get("/readyz").await.status, 503);
    server.home.get("/healthz").await.ok();
}
