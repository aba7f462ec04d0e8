//! Agents and environments.

use axum::body::Body;
use serde_json::{Value, json};

use super::{ids, server, server_with, text};

#[tokio::test]
async fn an_agent_lives_in_versions() {
    let home = server().await.home;
    let agent = home.post("/v1/agents", json!({"name": "n", "model": "m", "system": "one"})).await.ok();
    assert_eq!((&agent["type"], &agent["version"], &agent["archived_at"]), (&json!("agent"), &json!(1), &Value::Null));
    let path = format!("/v1/agents/{}", text(&agent["id"]));
    let second = home.post(&path, json!({"version": 1, "system": "two"})).await.ok();
    assert_eq!((&second["version"], &second["system"], &second["created_at"]), (&json!(2), &json!("two"), &agent["created_at"]));
    for body in [json!({"version": 1, "system": "three"}), json!({"version": 1, "system": "two"})] {
        let conflict = home.post(&path, body).await;
        assert_eq!(conflict.headers["x-should-retry"], "false");
        conflict.refused(409, "conflict_error");
    }
    assert_eq!(home.post(&path, json!({"version": 2, "system": "two"})).await.ok()["version"], 2, "no change, no version");
    assert_eq!(home.get(&format!("{path}?version=1&beta=true")).await.ok()["system"], "one");
    assert_eq!(home.get(&format!("{path}?version=2")).await.ok()["system"], "two");
    home.get(&format!("{path}?version=99")).await.refused(404, "not_found_error");
    home.get(&format!("{path}?version=x")).await.refused(400, "invalid_request_error");

    assert!(home.action(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    assert!(home.action(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    home.post(&path, json!({"system": "x"})).await.refused(400, "invalid_request_error");
    assert!(home.get(&format!("{path}?version=1")).await.ok()["archived_at"].is_string());
    assert_eq!(ids(&home.get("/v1/agents").await.ok()), Vec::<String>::new());
    assert_eq!(ids(&home.get("/v1/agents?include_archived=true").await.ok()), [text(&agent["id"])]);
}

#[tokio::test]
async fn versions_and_agents_are_paged() {
    let home = server().await.home;
    let id = home.agent().await;
    for n in 0..4 {
        home.post(&format!("/v1/agents/{id}"), json!({"system": n.to_string()})).await.ok();
    }
    let (mut versions, mut page) = (Vec::new(), String::new());
    loop {
        let found = home.get(&format!("/v1/agents/{id}/versions?limit=2{page}")).await.ok();
        assert!(found["data"].as_array().unwrap().len() <= 2);
        versions.extend(found["data"].as_array().unwrap().iter().map(|row| row["version"].as_u64().unwrap()));
        let Some(next) = found["next_page"].as_str() else { break };
        page = format!("&page={next}");
    }
    assert_eq!(versions, [5, 4, 3, 2, 1]);
    let other = home.agent().await;
    home.get(&format!("/v1/agents/{other}/versions?limit=2{page}")).await.refused(400, "invalid_request_error");
    home.get(&format!("/v1/agents?limit=2{page}")).await.refused(400, "invalid_request_error");
    assert_eq!(ids(&home.get("/v1/agents?limit=1").await.ok()), [other]);
    for query in ["limit=0", "limit=101", "limit=abc", "page=not-a-cursor", "include_archived=x", "created_at[gte]=x"] {
        home.get(&format!("/v1/agents?{query}")).await.refused(400, "invalid_request_error");
    }
    assert_eq!(ids(&home.get("/v1/agents?created_at%5Bgte%5D=2999-01-01T00:00:00%2B00:00").await.ok()), Vec::<String>::new());
}

#[tokio::test]
async fn updates_without_a_version_do_not_lose_each_other() {
    let home = server().await.home;
    let path = format!("/v1/agents/{}", home.agent().await);
    let updates = (0..8).map(|n| {
        let (home, path) = (home.clone(), path.clone());
        tokio::spawn(async move { home.post(&path, json!({"metadata": {format!("k{n}"): "v"}})).await.ok() })
    });
    for update in updates.collect::<Vec<_>>() {
        update.await.unwrap();
    }
    let after = home.get(&path).await.ok();
    assert_eq!((after["version"].as_u64(), after["metadata"].as_object().unwrap().len()), (Some(9), 8));
}

#[tokio::test]
async fn bad_bodies_are_explained() {
    let home = server_with(|config| config.body_limit = 1_000).await.home;
    for (body, expected) in [
        ("", "empty"),
        ("{", "request body"),
        ("[]", "request body"),
        ("{\"name\": 5, \"model\": \"m\"}", "name"),
        ("{\"name\": \"n\"}", "model"),
        ("{\"name\": \"\", \"model\": \"m\"}", "name"),
    ] {
        let message = home.send("POST", "/v1/agents", Body::from(body)).await.refused(400, "invalid_request_error");
        assert!(message.contains(expected), "{body}: {message}");
    }
    home.send("POST", "/v1/agents", Body::from(" ".repeat(1_001))).await.refused(413, "request_too_large");
}

#[tokio::test]
async fn an_environment_lives() {
    let home = server().await.home;
    let made = home
        .post("/v1/environments", json!({"name": "e", "description": "d", "config": {"type": "cloud", "packages": {"pip": ["six"]}}}))
        .await
        .ok();
    assert_eq!((&made["type"], &made["config"]["networking"]["type"]), (&json!("environment"), &json!("unrestricted")));
    assert_eq!(made["notices"].as_array().map(Vec::len), Some(0), "all of it is done");
    let path = format!("/v1/environments/{}", text(&made["id"]));
    assert_eq!(home.post(&path, json!({"description": null})).await.ok()["description"], Value::Null);
    let changed = home.post(&path, json!({"config": {"type": "self_hosted"}})).await;
    assert_eq!(changed.body["error"]["details"]["error_code"], "invalid_config_type_change");
    assert!(home.action(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    let archived = home.post(&path, json!({"name": "x"})).await;
    assert_eq!(archived.body["error"]["details"]["error_code"], "environment_archived");
    archived.refused(400, "invalid_request_error");
    assert_eq!(ids(&home.get("/v1/environments?limit=100").await.ok()), Vec::<String>::new());
    assert_eq!(home.delete(&path).await.ok(), json!({"id": made["id"], "type": "environment_deleted"}));
    home.get(&path).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn an_environment_with_sessions_stays() {
    let home = server().await.home;
    let (agent, environment) = (home.agent().await, home.environment().await);
    let session = home.session(&agent, &environment).await;
    let refused = home.delete(&format!("/v1/environments/{environment}")).await;
    assert_eq!(refused.headers["x-should-retry"], "false");
    refused.refused(409, "conflict_error");
    home.delete(&format!("/v1/sessions/{session}")).await.ok();
    home.delete(&format!("/v1/environments/{environment}")).await.ok();
}
