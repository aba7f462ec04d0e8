//! `ostler sessions confirm`: a person's answer to a call.

use serde_json::json;

use crate::client_kit::on;
use crate::support::events::{first, said};
use crate::support::session::{bash, policy};
use crate::support::{Server, Session};

/// A session whose turn waits for answers to these scripted calls.
async fn waiting(server: &Server, script: &str) -> Session {
    let session = server.session(policy("always_ask")).await;
    session.turn(script).await;
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_call_that_waits_is_shown_and_allowed() {
    let server = Server::start().await;
    let session = waiting(&server, &format!("{}\nSAY it ran", bash("echo run-me; false"))).await;
    let mut stream = session.follow("").await;
    let told = on(&server, &["sessions", "confirm", &session.id, "--allow"]).await.fine();
    assert!(told.err.contains("bash") && told.err.contains("echo run-me; false") && told.out.starts_with("allowed sevt_"), "{told:?}");
    let frames = stream.turn().await;
    assert!(first(&frames, "agent.tool_result").said().contains("run-me"));
    assert_eq!(said(&frames), "it ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_denied_with_a_reason_that_the_model_hears() {
    let server = Server::start().await;
    let session = waiting(&server, &format!("{}\nSAY fine", bash("touch /workspace/never"))).await;
    let mut stream = session.follow("").await;
    let told = on(&server, &["sessions", "confirm", &session.id, "--deny", "--message", "not in production"]).await.fine();
    assert!(told.out.starts_with("denied sevt_"), "{told:?}");
    let frames = stream.turn().await;
    assert!(first(&frames, "agent.tool_result").said().contains("not in production"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_calls_one_must_be_named() {
    let server = Server::start().await;
    let session = waiting(&server, &format!("{}\n{}\nSAY both", bash("echo one"), bash("echo two"))).await;
    let told = on(&server, &["sessions", "confirm", &session.id, "--allow"]).await;
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""));
    assert!(told.err.contains("echo one") && told.err.contains("echo two"), "{told:?}");
    let calls: Vec<String> = told
        .err
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with("sevt_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(calls.len(), 2, "{told:?}");
    let mut stream = session.follow("").await;
    on(&server, &["sessions", "confirm", &session.id, &calls[1], "--allow"]).await.fine();
    // One is left, so it needs no name.
    let told = on(&server, &["sessions", "confirm", &session.id, "--deny"]).await.fine();
    assert_eq!(told.out, format!("denied {}\n", calls[0]));
    let frames = stream.until_name("session.status_running").await;
    assert_eq!(frames.last().unwrap().name, "session.status_running");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_waits_nothing_is_sent() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY hi").await;
    let before = session.history().await;
    let told = on(&server, &["sessions", "confirm", &session.id, "--allow"]).await;
    assert_eq!((told.code, told.err.contains("no call of session")), (Some(1), true), "{told:?}");
    for wrong in [&["--allow", "--deny"][..], &[], &["--allow", "--message", "x"]] {
        assert_eq!(on(&server, &[&["sessions", "confirm", &session.id][..], wrong].concat()).await.code, Some(2), "{wrong:?}");
    }
    assert_eq!(session.history().await, before);
}
