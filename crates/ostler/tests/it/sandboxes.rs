//! `ostler sandboxes` and what environments ask of sandboxes, on a real server.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client_kit::on;
use crate::support::api::Api;
use crate::support::{Server, Session, tools};

async fn session_in(server: &Server, sandbox: Value) -> Session {
    let agent = server.api.post("/v1/agents", &json!({"name": "tester", "model": "scripted-model", "tools": tools()})).await;
    let environment = json!({"name": "place", "config": {"type": "cloud"}, "sandbox": sandbox});
    let environment = server.api.post("/v1/environments", &environment).await;
    let session = server.api.post("/v1/sessions", &json!({"agent": agent["id"], "environment_id": environment["id"]})).await;
    Session { api: server.api.clone(), id: session["id"].as_str().unwrap().to_owned() }
}

/// What the tools of a turn said.
async fn told(session: &Session, script: &str) -> String {
    let frames = session.turn(script).await;
    let results = frames.iter().filter(|frame| matches!(frame.data["type"].as_str(), Some("agent.tool_result" | "session.error")));
    results.map(|frame| frame.data.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn living_sandboxes_are_listed_and_a_bomb_is_ended_by_hand() {
    let server = Server::start().await;
    let (bomb, neighbour) = (server.session(tools()).await, server.session(tools()).await);
    bomb.turn(r#"TOOL bash {"command": "touch kept; bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1000 & true"}"#).await;
    neighbour.turn(r#"TOOL bash {"command": "true"}"#).await;
    let listed = on(&server, &["sandboxes", "list", "--json"]).await.fine().json();
    let mut sessions: Vec<&str> = listed.iter().map(|one| one["session_id"].as_str().unwrap()).collect();
    sessions.sort_unstable();
    let mut expected = [bomb.id.as_str(), neighbour.id.as_str()];
    expected.sort_unstable();
    assert_eq!(sessions, expected);
    let table = on(&server, &["sandboxes", "list"]).await.fine();
    assert!(table.out.contains("PROCESSES") && table.out.contains(&bomb.id), "{table:?}");
    let ended = on(&server, &["sandboxes", "kill", &bomb.id]).await.fine();
    assert!(ended.out.contains("its files stay"), "{ended:?}");
    let listed = on(&server, &["sandboxes", "list", "--json"]).await.fine().json();
    assert_eq!(listed.iter().map(|one| one["session_id"].as_str().unwrap()).collect::<Vec<_>>(), [neighbour.id.as_str()]);
    // Its files can be had although it is gone, and without harm to the next one.
    let file = server.data_dir().join("files.tar");
    on(&server, &["sandboxes", "export", &bomb.id, file.to_str().unwrap()]).await.fine();
    let listed = std::process::Command::new("tar").arg("-tf").arg(&file).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().lines().any(|name| name == "workspace/kept"));
    assert_eq!(on(&server, &["sandboxes", "export", "sesn_none", "none.tar"]).await.code, Some(1));
    assert!(told(&bomb, r#"TOOL bash {"command": "ls"}"#).await.contains("kept"));
    let missing = on(&server, &["sandboxes", "kill", "sesn_none"]).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_gets_the_limits_that_it_asks_for_up_to_those_of_the_server() {
    let server = Server::start().await;
    let small = session_in(&server, json!({"disk_mib": 32, "files": 500, "open_files": 300, "command_seconds": 1})).await;
    let said = told(&small, r#"TOOL bash {"command": "ulimit -n; head -c 100000000 /dev/zero >big"}"#).await;
    assert!(said.contains("300") && (said.contains("No space left") || said.contains("disk limit: ")), "{said}");
    let said = told(&small, r#"TOOL bash {"command": "rm -f big; sleep 60"}"#).await;
    assert!(said.contains("timed out after 1."), "{said}");
    let greedy = json!({"name": "e", "config": {"type": "cloud"}, "sandbox": {"memory_mib": 9_000_000}});
    let (status, body) = Api::ask(server.api.request(Method::POST, "/v1/environments").json(&greedy)).await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("sandbox.most.memory_mib"), "{body}");
    let walled = session_in(&server, json!({"isolation": "own_kernel"})).await;
    let said = told(&walled, r#"TOOL bash {"command": "true"}"#).await;
    assert!(said.contains("shares the host's kernel") && said.contains("runsc"), "{said}");
}
