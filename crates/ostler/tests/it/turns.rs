//! Turns that go well: text, tools, several messages.

use serde_json::json;

use crate::support::events::{first, names, said};
use crate::support::session::{bash, message};
use crate::support::{Server, tools};

const TEXT_TURN: [&str; 9] = [
    "user.message",
    "session.status_running",
    "session.thread_status_running",
    "span.model_request_start",
    "agent.message",
    "span.model_request_end",
    "session.thread_status_idle",
    "session.usage",
    "session.status_idle",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_text_turn_has_these_events_in_this_order() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let frames = session.turn("USAGE 7 5\nSAY hello there").await;
    assert_eq!(names(&frames), TEXT_TURN);
    assert_eq!(frames.iter().map(|frame| frame.id).collect::<Vec<_>>(), (1..=9).map(Some).collect::<Vec<_>>());
    assert_eq!(said(&frames), "hello there");
    assert_eq!(frames[5].data["model_request_start_id"], frames[3].data["id"]);
    assert_eq!(frames[5].data["model_usage"]["output_tokens"], 5);
    assert_eq!(frames[8].text("/stop_reason/type"), "end_turn");
    let listed = session.history().await;
    assert_eq!(listed, frames.iter().map(|frame| frame.data.clone()).collect::<Vec<_>>());
    let session = session.get().await;
    assert_eq!((session["status"].as_str(), session["usage"]["input_tokens"].as_u64()), (Some("idle"), Some(7)));
    assert_eq!(server.model.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_runs_in_the_sandbox_and_the_model_gets_its_result() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    let frames = session.turn(&format!("SAY let me look\n{}\nSAY I saw {{{{last_tool_result}}}}", bash("echo $((6 * 7))"))).await;
    let (call, result) = (first(&frames, "agent.tool_use"), first(&frames, "agent.tool_result"));
    assert_eq!((call.text("/name"), call.text("/evaluated_permission")), ("bash", "allow"));
    assert_eq!(result.data["tool_use_id"], call.data["id"]);
    assert_eq!((result.said().trim(), &result.data["is_error"]), ("42", &json!(false)));
    assert_eq!(said(&frames).trim(), "let me look\nI saw 42");
    assert_eq!(names(&frames).iter().filter(|name| **name == "span.model_request_start").count(), 2);
    assert_eq!(server.model.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_edited_found_and_read() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    let script = [
        r#"TOOL write {"file_path": "/workspace/notes/a.txt", "content": "one two three"}"#,
        "STEP",
        r#"TOOL edit {"file_path": "/workspace/notes/a.txt", "old_string": "two", "new_string": "2"}"#,
        "STEP",
        r#"TOOL glob {"pattern": "**/*.txt"}"#,
        r#"TOOL grep {"pattern": "one \\d"}"#,
        r#"TOOL read {"file_path": "/workspace/notes/a.txt"}"#,
        "STEP",
        "SAY {{tool_results}}",
    ];
    let frames = session.turn(&script.join("\n")).await;
    // Calls that only read run side by side, so their results come in any order.
    let result_of = |tool: &str| {
        let call = frames.iter().find(|frame| frame.name == "agent.tool_use" && frame.text("/name") == tool).unwrap();
        frames.iter().find(|frame| frame.text("/tool_use_id") == call.text("/id")).unwrap()
    };
    for (tool, expected) in [("write", ""), ("edit", ""), ("glob", "notes/a.txt"), ("grep", "one 2 three"), ("read", "one 2 three")] {
        let result = result_of(tool);
        assert!(result.data["is_error"] == false && result.said().contains(expected), "{tool}: {}", result.data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_keeps_its_state_between_calls_and_turns() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    session.turn(&bash("mkdir -p /workspace/deep && cd /workspace/deep && export COLOUR=green && f() { echo \"$COLOUR in $PWD\"; }")).await;
    let frames = session.turn(&bash("f")).await;
    assert_eq!(first(&frames, "agent.tool_result").said().trim(), "green in /workspace/deep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_during_a_turn_waits_and_enters_the_next_one() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow("").await;
    session.say("SAY first\nGATE half\nSAY half").await;
    server.model.reached("half").await;
    let echo = session.send(json!([message("SAY second"), message("and more")])).await;
    assert_eq!(echo["data"][0]["processed_at"], json!(null));
    server.model.open("half");
    let one = stream.turn().await;
    assert_eq!(names(&one).iter().filter(|name| **name == "user.message").count(), 1);
    let two = stream.turn().await;
    assert_eq!(names(&two)[..2], ["user.message", "user.message"]);
    assert_eq!(two[0].data["id"], echo["data"][0]["id"]);
    assert!(two[0].data["processed_at"].is_string());
    assert_eq!(said(&two), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_comes_with_a_message_runs_at_once() {
    let server = Server::start().await;
    let other = server.session(json!([])).await;
    let of = other.get().await;
    let created = server
        .api
        .post(
            "/v1/sessions",
            &json!({"agent": of["agent"]["id"], "environment_id": of["environment_id"], "initial_events": [message("SAY at once")]}),
        )
        .await;
    assert_eq!(created["status"], "running");
    let session = crate::support::Session { api: server.api.clone(), id: created["id"].as_str().unwrap().to_owned() };
    let frames = session.follow("?after=0").await.turn().await;
    assert_eq!((names(&frames).as_slice(), said(&frames).as_str()), (TEXT_TURN.as_slice(), "at once"));
}
