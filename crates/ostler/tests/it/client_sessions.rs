//! `ostler sessions` and `events`: made, talked to, interrupted, ended.

use serde_json::{Value, json};

use crate::client_kit::{Going, fed, on};
use crate::support::session::policy;
use crate::support::{Server, tools};

async fn agent(server: &Server) -> String {
    let made = server.api.post("/v1/agents", &json!({"name": "tester", "model": "scripted-model", "tools": tools()})).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn environment(server: &Server, name: &str) -> String {
    let made = server.api.post("/v1/environments", &json!({"name": name, "config": {"type": "cloud"}})).await;
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_the_only_environment_and_asks_where_there_are_several() {
    let server = Server::start().await;
    let agent = agent(&server).await;
    let create = ["sessions", "create", "--agent", &agent, "--title", "t", "--metadata", "k=v=w"];
    let none = on(&server, &create).await;
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("ostler environments create"), "{none:?}");

    let only = environment(&server, "only").await;
    let made = on(&server, &create).await.fine();
    assert_eq!(made.field("environment"), only);
    let session = server.api.get(&format!("/v1/sessions/{}", made.field("id"))).await;
    assert_eq!((&session["title"], &session["metadata"]), (&json!("t"), &json!({"k": "v=w"})));

    let other = environment(&server, "other").await;
    let several = on(&server, &create).await;
    assert_eq!(several.code, Some(2));
    assert!(several.err.contains(&only) && several.err.contains(&other), "{several:?}");
    let made = on(&server, &[&create[..], &["--environment", &other, "--json"]].concat()).await.fine().json();
    assert_eq!(made[0]["environment_id"], other.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_turn_is_shown_and_its_end_is_the_exit_status() {
    let server = Server::start().await;
    let (agent, _) = (agent(&server).await, environment(&server, "only").await);
    for (script, code) in [("SAY fine", 0), ("FAIL 400 9\nSAY never", 1), ("SAY no\nSTOP refusal", 3)] {
        let told = on(&server, &["sessions", "create", "--agent", &agent, "--message", script, "--follow"]).await;
        assert_eq!(told.code, Some(code), "{script}: {told:?}");
    }
    let session = server.session(policy("always_ask")).await;
    let told = on(&server, &["sessions", "send", &session.id, "TOOL bash {\"command\": \"true\"}", "--follow"]).await;
    assert_eq!((told.code, told.out.contains("▸ bash  true")), (Some(4), true), "{told:?}");
    // Whoever asks again is told that nothing will happen, and does not wait for it.
    let told = on(&server, &["sessions", "send", &session.id, "SAY later", "--follow"]).await;
    assert_eq!(told.code, Some(4), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_message_that_is_queued_is_followed_to_the_end_of_its_own_turn() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY before").await;
    session.say("GATE first\nSAY first answer").await;
    server.model.reached("first").await;
    let going = Going::start(server.data_dir(), &["sessions", "send", &session.id, "SAY second answer", "--follow"]);
    tokio::time::timeout(crate::support::limits::NEXT, going.err.says(&session.id)).await.unwrap();
    server.model.open("first");
    let (code, out) = going.end().await;
    assert_eq!((code, out.as_str()), (Some(0), "first answer\nsecond answer\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_from_arguments_files_and_standard_input() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("message");
    std::fs::write(&file, "SAY from a file").unwrap();
    let at = format!("@{}", file.display());
    for (argument, input, said) in [("SAY plain", "", "plain"), (&at, "", "from a file"), ("-", "SAY piped", "piped")] {
        let told = fed(server.data_dir(), &["sessions", "send", &session.id, argument, "--follow"], input).await.fine();
        assert_eq!(told.out, format!("{said}\n"));
    }
    let empty = on(&server, &["sessions", "send", &session.id, "  "]).await;
    assert_eq!((empty.code, session.history().await.iter().filter(|event| event["type"] == "user.message").count()), (Some(2), 3));
    let sent = on(&server, &["sessions", "send", &session.id, "SAY x", "--json"]).await.fine().json();
    assert_eq!(sent[0]["data"][0]["type"], "user.message");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_can_be_waited_for() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("SAY so far\nGATE never\nSAY more").await;
    server.model.reached("never").await;
    on(&server, &["sessions", "interrupt", &session.id, "--wait"]).await.fine();
    assert_eq!(session.get().await["status"], "idle");
    // Of an idle session too, and without waiting.
    on(&server, &["sessions", "interrupt", &session.id, "--wait"]).await.fine();
    on(&server, &["sessions", "interrupt", &session.id]).await.fine();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_by_state_and_agent_and_ended() {
    let server = Server::start().await;
    let (one, two) = (server.session(json!([])).await, server.session(json!([])).await);
    one.turn("SAY hi").await;
    two.say("GATE g\nSAY x").await;
    server.model.reached("g").await;
    let ids = |values: Vec<Value>| values.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(on(&server, &["sessions", "list", "--status", "running", "--json"]).await.fine().json()), [two.id.as_str()]);
    let agent = one.get().await["agent"]["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(on(&server, &["sessions", "list", "--agent", &agent, "--json"]).await.fine().json()), [one.id.as_str()]);
    let both = on(&server, &["sessions", "list"]).await.fine().out;
    assert!(both.contains(&one.id) && both.contains("running") && both.contains("scripted-model"), "{both}");

    let refused = on(&server, &["sessions", "retry", &one.id]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("nothing to retry"), "{refused:?}");
    assert_eq!(on(&server, &["sessions", "archive", &one.id]).await.fine().out, format!("archived session {}\n", one.id));
    assert_eq!(on(&server, &["sessions", "show", &one.id]).await.fine().field("status"), "archived");
    on(&server, &["sessions", "delete", &one.id]).await.fine();
    assert_eq!(on(&server, &["sessions", "show", &one.id]).await.code, Some(1));
    server.model.open("g");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_sent_and_listed_as_they_are() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow("").await;
    let event = json!({"type": "user.message", "content": [{"type": "text", "text": "SAY hello"}]}).to_string();
    assert!(on(&server, &["events", "send", &session.id, &event]).await.fine().out.starts_with("sent user.message sevt_"));
    stream.turn().await;
    fed(server.data_dir(), &["events", "send", &session.id], &format!("[{event}]")).await.fine();
    stream.turn().await;
    let listed = on(&server, &["events", "list", &session.id, "--all", "--json"]).await.fine().json();
    assert_eq!(listed, session.history().await);
    let messages = on(&server, &["events", "list", &session.id, "--type", "agent.message", "--newest", "--limit", "1"]).await.fine();
    assert!(messages.out.lines().nth(1).is_some_and(|row| row.ends_with("agent.message  hello")), "{messages:?}");
    assert_eq!(on(&server, &["events", "send", &session.id, "not json"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_cannot_drive_the_terminal() {
    let server = Server::start().await;
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}txt";
    let session = server.session(json!([])).await;
    server.api.post(&session.path(), &json!({ "title": format!("t{evil}\nsesn_fake  idle"), "metadata": {"k": evil} })).await;
    session.turn(&format!("SAY a{evil}")).await;
    let (list, show, tail) =
        (["sessions", "list"].to_vec(), ["sessions", "show", &session.id].to_vec(), ["sessions", "tail", &session.id].to_vec());
    let events = ["events", "list", &session.id].to_vec();
    for args in [list, show, tail, events] {
        for json in [&[][..], &["--json"]] {
            let told = on(&server, &[&args[..], json].concat()).await.fine();
            let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!told.out.contains(steers) && !told.err.contains(steers), "{args:?} {json:?}: {told:?}");
            assert!(!told.out.lines().any(|line| line.starts_with("sesn_fake")), "no text can pass for a row: {told:?}");
        }
    }
    let same = on(&server, &["sessions", "show", &session.id, "--json"]).await.fine().json();
    assert_eq!(same[0]["title"], format!("t{evil}\nsesn_fake  idle"));
}
