//! Interrupts: of the model, of a running command, of nothing.

use serde_json::json;

use crate::support::events::{first, names, said};
use crate::support::processes::{eventually, with_argument};
use crate::support::session::{bash, message, policy};
use crate::support::{Server, tools};

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_model_request_and_the_next_message_starts_a_turn() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow("").await;
    session.say("SAY partly\nGATE never\nSAY more").await;
    server.model.reached("never").await;
    session.send(json!([{"type": "user.interrupt"}, message("SAY go on")])).await;
    let one = stream.turn().await;
    assert_eq!(one.last().unwrap().text("/stop_reason/type"), "end_turn");
    assert_eq!(first(&one, "span.model_request_end").data["is_error"], true);
    assert!(names(&one).contains(&"user.interrupt") && !names(&one).contains(&"agent.message"));
    assert_eq!(server.model.outcome_of(1).await, ostler_testkit::Outcome::Aborted);
    assert_eq!(said(&stream.turn().await), "go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_is_gone_with_all_it_started_before_the_session_is_idle() {
    let server = Server::start().await;
    let session = server.session(tools()).await;
    let mut stream = session.follow("").await;
    // No other test sleeps that long.
    let mark = format!("sleep 31{}", std::process::id());
    let command = format!("{mark} & (setsid {mark} &) ; trap '' TERM INT; {mark}; echo survived > /workspace/survived");
    session.say(&bash(&command)).await;
    stream.until_name("agent.tool_use").await;
    eventually("all three run", || with_argument(&mark).iter().filter(|pid| is_sleep(**pid)).count() == 3).await;
    session.send(json!([{"type": "user.interrupt"}])).await;
    let frames = stream.turn().await;
    assert_eq!(with_argument(&mark), [0; 0], "processes of the command outlive its turn");
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "end_turn");
    assert_eq!(first(&frames, "agent.tool_result").data["is_error"], true);
    let after = session.turn(&bash("ls /workspace")).await;
    assert!(!first(&after, "agent.tool_result").said().contains("survived"));
}

fn is_sleep(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_of_an_idle_session_is_an_event_and_nothing_else() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow("").await;
    session.send(json!([{"type": "user.interrupt"}])).await;
    session.say("SAY still here").await;
    let frames = stream.turn().await;
    assert_eq!(names(&frames)[..2], ["user.interrupt", "user.message"]);
    assert_eq!(said(&frames), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cancels_calls_that_wait_for_an_answer() {
    let server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    let frames = session.turn(&bash("echo never")).await;
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "requires_action");
    let mut stream = session.follow("").await;
    session.send(json!([{"type": "user.interrupt"}])).await;
    let frames = stream.turn().await;
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "end_turn");
    assert_eq!(said(&session.turn("SAY fine").await), "fine");
    assert_eq!(server.model.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_that_was_accepted_takes_effect_though_the_server_dies() {
    // The third result is the command's own: the model's answer and the sandbox's start come before.
    let mut server = Server::builder().env("OSTLER_FAULT", "before_result:3").start().await;
    let session = server.session(tools()).await;
    let mut stream = session.follow("").await;
    let mark = format!("sleep 32{}", std::process::id());
    session.say(&format!("{}\nSAY never", bash(&mark))).await;
    stream.until_name("agent.tool_use").await;
    eventually("it runs", || with_argument(&mark).iter().any(|pid| is_sleep(*pid))).await;
    session.send(json!([{"type": "user.interrupt"}])).await;
    server.ended().await;
    server.set_env("OSTLER_FAULT", None);
    server.restart().await;
    let frames = session.on(&server.api).follow("?after=0").await.turn().await;
    assert_eq!(with_argument(&mark), [0; 0]);
    assert!(names(&frames).contains(&"user.interrupt") && said(&frames).is_empty());
    assert_eq!(frames.last().unwrap().text("/stop_reason/type"), "end_turn");
    assert_eq!(first(&frames, "agent.tool_result").data["is_error"], true);
}
