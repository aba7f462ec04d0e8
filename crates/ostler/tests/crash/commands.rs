//! Fifty sessions whose commands run when the server dies: the commands and their sandboxes go on, and every one
//! of them has exactly one result afterwards.

use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::processes::{eventually, inits, signal, workspace};
use crate::support::session::{bash, message};
use crate::support::{Server, limits, tools};

const SESSIONS: usize = 50;
/// Requests of the test at once.
const AT_ONCE: usize = 8;
/// How long all of them may take.
const ALL: std::time::Duration = limits::NEXT.saturating_mul(4);

/// Sessions in whose sandboxes a command runs that waits for a file.
async fn running(server: &Server) -> Vec<String> {
    let agent = server.api.post("/v1/agents", &json!({"name": "one of many", "model": "scripted-model", "tools": tools()})).await;
    let environment = server.api.post("/v1/environments", &json!({"name": "place", "config": {"type": "cloud"}})).await;
    let command = "echo run >>/workspace/runs; until [ -e /workspace/go ]; do sleep 0.05; done; cat /workspace/runs; echo over";
    let task = format!("{}\nSAY told", bash(command));
    let new = json!({"agent": agent["id"], "environment_id": environment["id"], "initial_events": [message(&task)]});
    let created = futures::stream::iter(0..SESSIONS).map(|_| server.api.post("/v1/sessions", &new)).buffer_unordered(AT_ONCE);
    let ids: Vec<String> = created.map(|session| session["id"].as_str().unwrap().to_owned()).collect().await;
    let started = async {
        for id in &ids {
            eventually("the command runs", || workspace(server.data_dir(), id).join("runs").exists()).await;
        }
    };
    tokio::time::timeout(ALL, started).await.unwrap();
    ids
}

/// The results of all calls of a session, once it is idle.
async fn results(server: &Server, id: &str) -> Vec<Value> {
    let idle = async {
        while server.api.get(&format!("/v1/sessions/{id}")).await["status"] != "idle" {
            tokio::time::sleep(limits::LOOK).await;
        }
    };
    tokio::time::timeout(ALL, idle).await.unwrap_or_else(|_| panic!("{id} does not come to rest:\n{}", server.log().text()));
    let events = server.api.get(&format!("/v1/sessions/{id}/events?limit=100")).await;
    let events = events["data"].as_array().unwrap().iter();
    events.filter(|event| event["type"] == "agent.tool_result").cloned().collect()
}

/// A session's init, as its spawner has written down.
fn init(server: &Server, id: &str) -> i32 {
    let record = std::fs::read_to_string(server.data_dir().join("sandboxes").join(id).join("init.json")).unwrap();
    i32::try_from(serde_json::from_str::<Value>(&record).unwrap()["pid"].as_i64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_commands_outlive_the_server_and_each_has_its_result_once() {
    let mut server = Server::builder().binary(crate::binary()).start().await;
    let ids = running(&server).await;
    let places: Vec<_> = ids.iter().map(|id| workspace(server.data_dir(), id)).collect();
    let frozen = init(&server, &ids[0]);
    server.kill().await;
    // One of them does not answer any more; the others do not wait for it.
    signal(frozen, Signal::SIGSTOP);
    for place in &places {
        std::fs::write(place.join("go"), "").unwrap();
    }
    server.restart().await;
    for id in &ids[1..] {
        let results = results(&server, id).await;
        assert_eq!(results.len(), 1, "{results:?}");
        assert_eq!(results[0]["content"][0]["text"], "run\nover\n", "{id}");
    }
    assert_eq!(server.api.get(&format!("/v1/sessions/{}", ids[0])).await["status"], "running");
    signal(frozen, Signal::SIGCONT);
    let results = results(&server, &ids[0]).await;
    assert_eq!((results.len(), results[0]["content"][0]["text"].as_str()), (1, Some("run\nover\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_inits_dead_each_of_fifty_calls_has_an_unknown_outcome_and_none_is_repeated() {
    let mut server = Server::builder().binary(crate::binary()).start().await;
    let ids = running(&server).await;
    server.kill().await;
    inits(server.data_dir()).into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
    server.restart().await;
    for id in &ids {
        let results = results(&server, id).await;
        assert_eq!(results.len(), 1, "{results:?}");
        assert!(
            results[0]["is_error"] == true && results[0]["content"][0]["text"].as_str().unwrap().contains("Outcome unknown"),
            "{results:?}"
        );
    }
    // The files are there, and show that nothing ran twice.
    let asked =
        server.api.post(&format!("/v1/sessions/{}/events", ids[0]), &json!({"events": [message(&bash("cat /workspace/runs"))]})).await;
    assert!(asked["data"].is_array(), "{asked}");
    let results = async {
        loop {
            let results = results(&server, &ids[0]).await;
            if results.len() == 2 {
                return results;
            }
        }
    };
    assert_eq!(tokio::time::timeout(ALL, results).await.unwrap()[1]["content"][0]["text"], "run\n");
}
