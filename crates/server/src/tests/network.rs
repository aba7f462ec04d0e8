//! What sandboxes did in the network, and what is counted of it.

use axum::body::Body;
use ostler_core::time::Timestamp;
use ostler_store::NewNetworkLine;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{answer, request, server, server_with, text};

fn line(session: &str, at: i64, host: &str, is_allowed: bool) -> NewNetworkLine {
    let body = json!({
        "type": "network_request", "host": host, "port": 443, "method": "GET", "path": "/x", "status": if is_allowed { json!(200) } else { Value::Null },
        "bytes_sent": 1, "bytes_received": 2, "decision": if is_allowed { "allowed" } else { "denied" },
        "code": if is_allowed { "allowed" } else { "host_not_allowed" }, "rule": "networking: limited", "credential_ids": ["vcrd_1"],
        "tool_use_id": "sevt_1",
    });
    NewNetworkLine {
        session: session.parse().unwrap(),
        at: Timestamp(at),
        host: Some(host.to_owned()),
        is_allowed: Some(is_allowed),
        body: body.to_string(),
    }
}

#[tokio::test]
async fn a_network_log_is_paged_and_filtered() {
    let server = server().await;
    let home = &server.home;
    let session = home.new_session().await;
    let path = format!("/v1/x/sessions/{session}/network");
    assert_eq!(home.get(&path).await.ok(), json!({"data": [], "next_page": null}));
    let lost = NewNetworkLine {
        host: None,
        is_allowed: None,
        body: json!({"type": "network_dropped", "count": 3}).to_string(),
        ..line(&session, 4, "", true)
    };
    let lines = [line(&session, 1, "a.com", true), line(&session, 2, "b.com", false), line(&session, 3, "a.com", false), lost];
    server.state.store.add_network_lines(&lines).await.unwrap();
    let first = home.get(&format!("{path}?limit=3")).await.ok();
    assert_eq!(first["data"][0], json!({"type": "network_dropped", "count": 3, "at": "1970-01-01T00:00:00.000004Z"}));
    assert_eq!((&first["data"][1]["host"], &first["data"][1]["code"]), (&json!("a.com"), &json!("host_not_allowed")));
    let rest = home.get(&format!("{path}?limit=3&page={}", text(&first["next_page"]))).await.ok();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next_page"]), (1, &Value::Null));
    assert_eq!(
        rest["data"][0],
        json!({"type": "network_request", "at": "1970-01-01T00:00:00.000001Z", "host": "a.com", "port": 443, "method": "GET", "path": "/x",
            "status": 200, "bytes_sent": 1, "bytes_received": 2, "decision": "allowed", "code": "allowed", "rule": "networking: limited",
            "credential_ids": ["vcrd_1"], "tool_use_id": "sevt_1"})
    );
    for (filter, count) in
        [("decision=denied", 2), ("decision=allowed", 1), ("host=A.com", 2), ("host=a.com&decision=denied", 1), ("host=c.com", 0)]
    {
        assert_eq!(home.get(&format!("{path}?{filter}")).await.ok()["data"].as_array().unwrap().len(), count, "{filter}");
    }
    for bad in ["decision=maybe", "limit=0", "limit=1001", "page=x"] {
        home.get(&format!("{path}?{bad}")).await.refused(400, "invalid_request_error");
    }
    server.stranger.get(&path).await.refused(404, "not_found_error");
    home.delete(&format!("/v1/sessions/{session}")).await.ok();
    home.get(&path).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn metrics_have_a_key_of_their_own_where_that_is_set() {
    let token = "a-token-for-metrics-0123456789";
    let bearer = format!("Bearer {token}");
    let with = server_with(|config| config.metrics_token = Some(Sha256::digest(token.as_bytes()).into())).await;
    let asked = request("GET", "/metrics", &[("authorization", &bearer)], Body::empty());
    let found = answer(&with.app, asked).await;
    assert_eq!(
        (found.status.as_u16(), found.headers["content-type"].to_str().unwrap()),
        (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    with.home.get("/metrics").await.refused(401, "authentication_error");
    answer(&with.app, request("GET", "/v1/agents", &[("authorization", &bearer)], Body::empty()))
        .await
        .refused(401, "authentication_error");
    let without = server().await;
    assert_eq!(without.home.get("/metrics").await.status, 200);
    let asked = request("GET", "/metrics", &[("authorization", &bearer)], Body::empty());
    answer(&without.app, asked).await.refused(401, "authentication_error");
}
