//! People and clients who answer calls.

use serde_json::json;

use crate::support::Server;
use crate::support::events::{Stream, first, names, said};
use crate::support::session::{Session, bash, policy};

async fn asked(session: &Session, script: &str) -> (Stream, String) {
    let mut stream = session.follow("").await;
    session.say(script).await;
    let frames = stream.turn().await;
    let idle = frames.last().unwrap();
    assert_eq!(idle.text("/stop_reason/type"), "requires_action");
    let call = idle.text("/stop_reason/event_ids/0").to_owned();
    assert!(frames.iter().any(|frame| frame.name.ends_with("tool_use") && frame.text("/id") == call));
    (stream, call)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_survives_a_kill_and_the_call_runs_once() {
    let mut server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    let script = format!("{}\nSAY done", bash("echo ran >> /workspace/runs; cat /workspace/runs"));
    let (_, call) = asked(&session, &script).await;
    server.kill().await;
    server.restart().await;
    let session = session.on(&server.api);
    assert_eq!(session.get().await["status"], "idle");
    let mut stream = session.follow("").await;
    session.confirm(&call, "allow").await;
    let frames = stream.turn().await;
    assert_eq!(names(&frames)[..2], ["user.tool_confirmation", "session.status_running"]);
    assert_eq!(first(&frames, "agent.tool_result").said().trim(), "ran");
    assert_eq!(said(&frames), "done");
    let (status, _) = session.try_send(json!([{"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}])).await.unwrap();
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_the_model_and_nothing_runs() {
    let server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    let (mut stream, call) = asked(&session, &format!("{}\nSAY {{{{last_tool_result}}}}", bash("echo ran > /workspace/ran"))).await;
    session
        .send(json!([{"type": "user.tool_confirmation", "tool_use_id": call, "result": "deny", "deny_message": "not on a Sunday"}]))
        .await;
    let frames = stream.turn().await;
    let result = first(&frames, "agent.tool_result");
    assert!(result.data["is_error"] == true && result.said().contains("not on a Sunday"));
    assert!(said(&frames).contains("not on a Sunday"));
    let (mut stream, call) = asked(&session, &bash("ls /workspace")).await;
    session.confirm(&call, "allow").await;
    assert!(!first(&stream.turn().await, "agent.tool_result").said().contains("ran"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_answers_its_own_tool() {
    let server = Server::start().await;
    let tool = json!({"type": "custom", "name": "weather", "description": "the weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}});
    let session = server.session(json!([tool])).await;
    let (mut stream, call) = asked(&session, "TOOL weather {\"city\": \"Graz\"}\nSAY it is {{last_tool_result}}").await;
    let answer = json!({"type": "user.custom_tool_result", "custom_tool_use_id": call, "content": [{"type": "text", "text": "sunny"}]});
    let echo = session.send(json!([answer])).await;
    assert!(echo["data"][0]["processed_at"].is_string());
    assert_eq!(said(&stream.turn().await), "it is sunny");
    assert_eq!(session.try_send(json!([answer])).await.unwrap().0, 400);
}
