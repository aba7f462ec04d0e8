//! Vaults and credentials. Secrets go in and never come out.

use ostler_core::scope::{Scope, SystemReason};
use ostler_runtime::egress::SealedParts;
use ostler_seal::{Bound, Hosts};
use ostler_store::Document;
use serde_json::{Value, json};

use super::{Client, Server, ids, server, text};
use crate::sealing;

async fn vault(client: &Client) -> String {
    let made = client.post("/v1/vaults", json!({"display_name": "v", "metadata": {"k": "1"}})).await.ok();
    format!("/v1/vaults/{}", text(&made["id"]))
}

fn bearer(url: &str) -> Value {
    json!({"auth": {"type": "static_bearer", "mcp_server_url": url, "token": "hidden-token"}})
}

fn variable() -> Value {
    json!({"auth": {"type": "environment_variable", "secret_name": "TOKEN", "secret_value": "hidden-value",
        "networking": {"type": "limited", "allowed_hosts": ["a.com"]}}})
}

/// What is stored of a credential.
async fn stored(server: &Server, id: &str) -> Option<SealedParts> {
    let document = server.state.store.document(&Scope::System(SystemReason::Recovery), "vault_credential", id).await.unwrap()?;
    assert!(!format!("{document:?}").contains("hidden"));
    document.sealed.as_deref().map(|text| sealing::from_text(Some(text)).unwrap())
}

#[tokio::test]
async fn a_vault_is_made_changed_archived_and_deleted_with_all_in_it() {
    let server = server().await;
    let home = &server.home;
    let path = vault(home).await;
    let made = home.get(&path).await.ok();
    assert_eq!((&made["type"], &made["display_name"], &made["metadata"]), (&json!("vault"), &json!("v"), &json!({"k": "1"})));
    home.post("/v1/vaults", json!({})).await.refused(400, "invalid_request_error");
    assert_eq!(home.post(&path, json!({"display_name": "w", "metadata": {"k": null}})).await.ok()["metadata"], json!({}));
    let held = text(&home.post(&format!("{path}/credentials"), bearer("https://a.com/mcp")).await.ok()["id"]);
    assert!(stored(&server, &held).await.is_some());
    assert!(home.action(&format!("{path}/archive")).await.ok()["archived_at"].is_string());
    assert!(home.get(&format!("{path}/credentials/{held}")).await.ok()["archived_at"].is_string());
    assert_eq!(stored(&server, &held).await, None, "an archived credential has no secret");
    home.post(&path, json!({"display_name": "x"})).await.refused(400, "invalid_request_error");
    home.post(&format!("{path}/credentials"), bearer("https://b.com/mcp")).await.refused(400, "invalid_request_error");
    assert!(ids(&home.get("/v1/vaults").await.ok()).is_empty());
    assert_eq!(ids(&home.get("/v1/vaults?include_archived=true").await.ok()).len(), 1);
    assert_eq!(home.delete(&path).await.ok()["type"], "vault_deleted");
    home.get(&path).await.refused(404, "not_found_error");
    home.get(&format!("{path}/credentials/{held}")).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn secrets_are_sealed_for_where_they_may_go() {
    let server = server().await;
    let home = &server.home;
    let path = vault(home).await + "/credentials";
    let made = home.post(&path, variable()).await.ok();
    assert_eq!(
        made["auth"],
        json!({"type": "environment_variable", "secret_name": "TOKEN", "networking": {"type": "limited", "allowed_hosts": ["a.com"]},
            "injection_location": {"body": false, "header": true}})
    );
    let id = text(&made["id"]);
    let first = stored(&server, &id).await.unwrap();
    let (binding, secret) = server.keys.open(&first["secret_value"]).unwrap();
    assert_eq!((secret.expose(), binding.credential.as_str(), binding.part.as_str()), (&b"hidden-value"[..], id.as_str(), "secret_value"));
    // Other hosts: the same secret, bound anew by the one that can open it.
    let path = format!("{path}/{id}");
    let wider = json!({"auth": {"type": "environment_variable", "networking": {"type": "limited", "allowed_hosts": ["b.com"]}}});
    home.post(&path, wider).await.ok();
    let second = stored(&server, &id).await.unwrap();
    let (rebound, secret) = server.keys.open(&second["secret_value"]).unwrap();
    assert_eq!(secret.expose(), b"hidden-value");
    assert!(matches!(rebound.bound, Bound::EnvironmentVariable { hosts: Hosts::Only(hosts), .. } if hosts == ["b.com"]));
    assert_eq!((binding.version, rebound.version), (1, 2));
    // A name alone leaves the seal as it is.
    home.post(&path, json!({"display_name": "n"})).await.ok();
    assert_eq!(stored(&server, &id).await.unwrap(), second);
    home.post(&path, json!({"auth": {"type": "environment_variable", "secret_value": "hidden-next"}})).await.ok();
    assert_eq!(server.keys.open(&stored(&server, &id).await.unwrap()["secret_value"]).unwrap().1.expose(), b"hidden-next");
}

#[tokio::test]
async fn one_active_credential_for_one_thing() {
    let home = server().await.home;
    let path = vault(&home).await + "/credentials";
    let first = text(&home.post(&path, bearer("https://a.com/mcp")).await.ok()["id"]);
    home.post(&path, bearer("https://A.com:443/mcp/")).await.refused(409, "conflict_error");
    home.action(&format!("{path}/{first}/archive")).await.ok();
    home.post(&format!("{path}/{first}"), json!({"display_name": "x"})).await.refused(400, "invalid_request_error");
    for n in 0..20 {
        home.post(&path, bearer(&format!("https://m{n}.com"))).await.ok();
    }
    home.post(&path, bearer("https://one-more.com")).await.refused(400, "invalid_request_error");
    assert_eq!(home.get(&format!("{path}?limit=7")).await.ok()["data"].as_array().unwrap().len(), 7);
    assert_eq!(ids(&home.get(&format!("{path}?limit=100&include_archived=true")).await.ok()).len(), 21);
}

#[tokio::test]
async fn a_credential_is_found_in_its_own_vault_and_workspace_only() {
    let server = server().await;
    let (home, stranger) = (&server.home, &server.stranger);
    let (path, other) = (vault(home).await, vault(home).await);
    let id = text(&home.post(&format!("{path}/credentials"), variable()).await.ok()["id"]);
    for (client, path) in [(home, &other), (stranger, &path)] {
        client.get(&format!("{path}/credentials/{id}")).await.refused(404, "not_found_error");
        client.post(&format!("{path}/credentials/{id}"), json!({"display_name": "x"})).await.refused(404, "not_found_error");
        client.action(&format!("{path}/credentials/{id}/archive")).await.refused(404, "not_found_error");
        client.delete(&format!("{path}/credentials/{id}")).await.refused(404, "not_found_error");
    }
    for (method, at) in [("GET", ""), ("GET", "/credentials"), ("POST", "/archive"), ("DELETE", "")] {
        stranger.send(method, &format!("{path}{at}"), axum::body::Body::empty()).await.refused(404, "not_found_error");
    }
    stranger.post(&format!("{path}/credentials"), variable()).await.refused(404, "not_found_error");
    assert_eq!(home.delete(&format!("{path}/credentials/{id}")).await.ok()["type"], "vault_credential_deleted");
}

#[tokio::test]
async fn an_oauth_credential_is_tried_and_others_are_not() {
    let server = server().await;
    let home = &server.home;
    let path = vault(home).await + "/credentials";
    let oauth = json!({"auth": {"type": "mcp_oauth", "mcp_server_url": "https://a.com/mcp", "access_token": "hidden-a"}});
    let id = text(&home.post(&path, oauth).await.ok()["id"]);
    let found = home.action(&format!("{path}/{id}/mcp_oauth_validate")).await.ok();
    assert_eq!(
        (&found["status"], &found["has_refresh_token"], &found["credential_id"], &found["mcp_probe"]),
        (&json!("unknown"), &json!(false), &json!(id), &Value::Null)
    );
    assert!(stored(&server, &id).await.unwrap().contains_key("access_token"));
    let other = text(&home.post(&path, variable()).await.ok()["id"]);
    home.action(&format!("{path}/{other}/mcp_oauth_validate")).await.refused(400, "invalid_request_error");
    home.action(&format!("{path}/{id}/archive")).await.ok();
    home.action(&format!("{path}/{id}/mcp_oauth_validate")).await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn a_credential_that_is_sealed_for_another_key_says_so_until_its_secret_is_sent_again() {
    let server = server().await;
    let home = &server.home;
    let path = vault(home).await + "/credentials";
    let id = text(&home.post(&path, variable()).await.ok()["id"]);
    let one = format!("{path}/{id}");
    assert!(home.get(&one).await.ok().get("unusable").is_none());
    // As after a restore without the key.
    let scope = Scope::System(SystemReason::Recovery);
    let document = server.state.store.document(&scope, "vault_credential", &id).await.unwrap().unwrap();
    let (binding, _) = server.keys.open(&stored(&server, &id).await.unwrap()["secret_value"]).unwrap();
    let other = ostler_seal::seal(ostler_seal::open::KeyPair::generate().unwrap().public(), &binding, b"x").unwrap();
    let sealed = Some(json!({"secret_value": other.to_string()}).to_string());
    let changed = Document { lock: document.lock + 1, sealed, ..document.clone() };
    assert!(server.state.store.replace_document(&scope, &changed, document.lock, false).await.unwrap());
    let why = |credential: &Value| text(&credential["unusable"]);
    assert!(why(&home.get(&one).await.ok()).contains("update it"));
    assert!(why(&home.get(&path).await.ok()["data"][0]).contains("update it"));
    // It can still be read, named and archived, and other hosts need the secret.
    assert!(why(&home.post(&one, json!({"display_name": "n"})).await.ok()).contains("update it"));
    let wider = json!({"auth": {"type": "environment_variable", "networking": {"type": "limited", "allowed_hosts": ["b.com"]}}});
    assert!(home.post(&one, wider).await.refused(400, "invalid_request_error").contains("send the secret again"));
    let again = json!({"auth": {"type": "environment_variable", "secret_value": "hidden-again"}});
    assert!(home.post(&one, again).await.ok().get("unusable").is_none());
    assert!(home.get(&one).await.ok().get("unusable").is_none());
}

#[tokio::test]
async fn a_session_names_vaults_of_its_workspace_that_are_not_archived() {
    let server = server().await;
    let (home, stranger) = (&server.home, &server.stranger);
    let (agent, environment) = (home.agent().await, home.environment().await);
    let (first, second) = (vault(home).await, vault(home).await);
    let id = |path: &str| path.trim_start_matches("/v1/vaults/").to_owned();
    let body = |vaults: Value| json!({"agent": agent, "environment_id": environment, "vault_ids": vaults});
    let both = json!([id(&second), id(&first)]);
    let made = home.post("/v1/sessions", body(both.clone())).await.ok();
    assert_eq!(made["vault_ids"], both);
    assert_eq!(home.get(&format!("/v1/sessions/{}", text(&made["id"]))).await.ok()["vault_ids"], both);
    home.post("/v1/sessions", body(json!([id(&first), id(&first)]))).await.refused(400, "invalid_request_error");
    home.post("/v1/sessions", body(json!(["vlt_unknown"]))).await.refused(404, "not_found_error");
    let foreign = vault(stranger).await;
    home.post("/v1/sessions", body(json!([id(&foreign)]))).await.refused(404, "not_found_error");
    home.action(&format!("{first}/archive")).await.ok();
    home.post("/v1/sessions", body(json!([id(&first)]))).await.refused(400, "invalid_request_error");
}
