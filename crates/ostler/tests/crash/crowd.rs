//! A crowd: a thousand sessions in the middle of a turn when the server dies.

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::support::session::message;
use crate::support::{Server, limits};

const SESSIONS: usize = 1_000;
/// Requests of the test at once.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_in_the_middle_of_a_turn_survive_a_kill() {
    let mut server = Server::builder().binary(crate::binary()).start().await;
    let agent = server.api.post("/v1/agents", &json!({"name": "one of many", "model": "scripted-model"})).await;
    let environment = server.api.post("/v1/environments", &json!({"name": "place", "config": {"type": "cloud"}})).await;
    let new = json!({"agent": agent["id"], "environment_id": environment["id"], "initial_events": [message("GATE crowd\nSAY done")]});
    let created = futures::stream::iter(0..SESSIONS).map(|_| server.api.post("/v1/sessions", &new)).buffer_unordered(AT_ONCE);
    let ids: Vec<String> = created.map(|session| session["id"].as_str().unwrap().to_owned()).collect().await;
    server.model.wait_for_requests(SESSIONS as u64).await;
    server.kill().await;
    server.model.open("crowd");
    server.restart().await;
    let rest = async {
        loop {
            let running = server.api.get("/v1/sessions?statuses[]=running&statuses[]=rescheduling&limit=1").await;
            if running["data"].as_array().is_some_and(Vec::is_empty) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(limits::NEXT * 3, rest).await.expect("all of them come to rest");
    let api = &server.api;
    let ended = futures::stream::iter(&ids).map(|id| async move {
        let list = api.get(&format!("/v1/sessions/{id}/events?limit=100")).await;
        let kinds: Vec<String> = list["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        (kinds.iter().filter(|kind| *kind == "agent.message").count(), kinds.iter().any(|kind| kind == "session.error"))
    });
    let outcomes: Vec<(usize, bool)> = ended.buffer_unordered(AT_ONCE).collect().await;
    assert!(outcomes.iter().all(|outcome| *outcome == (1, false)), "each said it once, and none failed");
    assert_eq!(outcomes.len(), SESSIONS);
}
