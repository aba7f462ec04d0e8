//! `ostler sessions list --stuck`: what does not go on by itself, and why.

use serde_json::json;

use crate::client_kit::on;
use crate::support::Server;
use crate::support::session::{bash, policy};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_waits_is_shown_with_what_it_waits_for() {
    let server = Server::start().await;
    let none = on(&server, &["sessions", "list", "--stuck"]).await.fine();
    assert!(none.err.contains("no session waits"), "{none:?}");

    let done = server.session(json!([])).await;
    done.turn("SAY hi").await;
    let fresh = server.session(json!([])).await;
    let asking = server.session(policy("always_ask")).await;
    asking.turn(&bash("rm -rf x")).await;
    let custom = json!([{"type": "custom", "name": "lookup_order", "description": "d", "input_schema": {"type": "object"}}]);
    let calling = server.session(custom).await;
    calling.turn("TOOL lookup_order {\"number\": 7}").await;
    let given_up = server.session(json!([])).await;
    given_up.turn("FAIL 400 9\nSAY never").await;

    let told = on(&server, &["sessions", "list", "--stuck"]).await.fine();
    let row =
        |id: &str| told.out.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id} is missing: {told:?}")).to_owned();
    let asks = row(&asking.id);
    assert!(asks.contains("confirm bash: rm -rf x (sevt_") && asks.contains(") since "), "{asks}");
    assert!(row(&calling.id).contains("custom tool result lookup_order (sevt_"), "{told:?}");
    assert!(row(&given_up.id).contains("gave up: "), "{told:?}");
    assert!(!told.out.contains(&done.id) && !told.out.contains(&fresh.id), "{told:?}");
    assert!(on(&server, &["sessions", "show", &asking.id]).await.fine().field("waits for").starts_with("confirm bash"));

    let ids: Vec<String> = on(&server, &["sessions", "list", "--stuck", "--json"])
        .await
        .fine()
        .json()
        .iter()
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, [given_up.id.as_str(), &calling.id, &asking.id]);
    let first = on(&server, &["sessions", "list", "--stuck", "--json", "--limit", "1"]).await.fine();
    assert_eq!((first.json().len(), first.err.contains("--all")), (1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_to_ask_the_model_again_says_so() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let mut stream = session.follow("").await;
    session.say("FAIL 529 99\nSAY never").await;
    stream.until_name("session.status_rescheduled").await;
    let told = on(&server, &["sessions", "list", "--stuck"]).await.fine();
    assert!(told.out.contains("retrying the model: overloaded"), "{told:?}");
    session.send(json!([{"type": "user.interrupt"}])).await;
    stream.turn().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_calls_of_one_session_have_a_line_each() {
    let server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    session.turn(&format!("{}\n{}", bash("echo one"), bash("echo two"))).await;
    let told = on(&server, &["sessions", "list", "--stuck"]).await.fine();
    let rows: Vec<&str> = told.out.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows[0].contains("echo one") && rows[1].contains("echo two"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_set_aside_is_shown_until_it_is_asked_to_go_on() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.say("GATE never\nSAY on").await;
    server.model.reached("never").await;
    server.kill().await;
    server.set_env("OSTLER_FAULT", Some("before_commit:1"));
    for _ in 0..3 {
        server.launch();
        server.ended().await;
    }
    server.set_env("OSTLER_FAULT", None);
    server.restart().await;
    session.on(&server.api).follow("?after=0").await.turn().await;
    let told = on(&server, &["sessions", "list", "--stuck"]).await.fine();
    assert!(told.out.contains("set aside: the session failed 3 times"), "{told:?}");
    server.model.open("never");
    assert_eq!(on(&server, &["sessions", "retry", &session.id]).await.fine().out, format!("session {} goes on\n", session.id));
    let tail = on(&server, &["sessions", "tail", "--until-idle", &session.id]).await.fine();
    assert!(tail.out.ends_with("\non\n— idle\n"), "{tail:?}");
    assert_eq!(on(&server, &["sessions", "list", "--stuck", "--json"]).await.fine().out, "");
}
