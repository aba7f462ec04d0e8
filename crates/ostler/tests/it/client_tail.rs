//! `ostler sessions tail`: what happened and what happens, over restarts.

use nix::sys::signal::Signal;
use ostler_testkit::FaultProxy;
use serde_json::{Value, json};

use crate::client_kit::{Going, on};
use crate::support::processes::eventually;
use crate::support::session::{bash, policy};
use crate::support::{Server, Session};

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().expect("an event has an id").to_owned()).collect()
}

fn printed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_shown_like_a_run_with_what_users_said() {
    let server = Server::start().await;
    let session = server.session(crate::support::tools()).await;
    session.turn(&format!("{}\nSAY that was all", bash("echo done-it"))).await;
    let told = on(&server, &["sessions", "tail", &session.id]).await.fine();
    let from = |text: &str| told.out.find(text).unwrap_or_else(|| panic!("{text:?} is missing: {told:?}"));
    assert!(
        from("› TOOL bash") < from("▸ bash  echo done-it") && from("▸ bash") < from("  done-it") && from("that was all") < from("— idle")
    );
    assert_eq!(on(&server, &["sessions", "tail", &session.id, "--last", "2"]).await.fine().out, "that was all\n— idle\n");
    let all = on(&server, &["sessions", "tail", &session.id, "--from-start", "--json"]).await.fine();
    assert_eq!(printed(&all.out), session.history().await);
    let last = on(&server, &["sessions", "tail", &session.id, "--last", "3", "--json"]).await.fine();
    let history = session.history().await;
    assert_eq!(printed(&last.out), history[history.len() - 3..]);
}

/// Kills the server in a turn and starts it again elsewhere; gives the whole history at the end.
async fn turn_over_a_restart(server: &mut Server, session: &Session, gate: &str) -> Vec<Value> {
    let session = session.on(&server.api);
    session.say(&format!("GATE {gate}\nSAY at last {gate}")).await;
    server.model.reached(gate).await;
    server.kill().await;
    server.restart().await;
    server.model.open(gate);
    let session = session.on(&server.api);
    session.follow("?after=0").await.until(|frame| frame.name == "agent.message" && frame.said() == format!("at last {gate}")).await;
    session.turn("SAY after all").await;
    session.history().await
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_over_a_killed_server_without_gap_or_duplicate() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY one").await;
    let going = Going::start(server.data_dir(), &["sessions", "tail", "-f", "--from-start", "--json", &session.id]);
    going.prints("session.status_idle").await;
    let mut history = turn_over_a_restart(&mut server, &session, "g").await;
    let last = history.last().unwrap()["id"].as_str().unwrap().to_owned();
    going.prints(&last).await;
    // A second time, because what is remembered must be remembered again.
    history = turn_over_a_restart(&mut server, &session, "h").await;
    let last = history.last().unwrap()["id"].as_str().unwrap().to_owned();
    going.prints(&last).await;
    going.signal(Signal::SIGINT);
    let (code, out) = going.end().await;
    assert_eq!(code, Some(130));
    assert_eq!(ids(&printed(&out)), ids(&history));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_first_event_leaves_no_gap_either() {
    let mut server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY one").await;
    let before = session.history().await;
    let going = Going::start(server.data_dir(), &["sessions", "tail", "-f", "--last", "2", "--json", &session.id]);
    going.prints(before.last().unwrap()["id"].as_str().unwrap()).await;
    server.kill().await;
    server.restart().await;
    // This happens before, while or after the tail comes back; it must not matter.
    session.on(&server.api).turn("SAY two").await;
    let history = session.on(&server.api).history().await;
    going.prints(history.last().unwrap()["id"].as_str().unwrap()).await;
    going.signal(Signal::SIGINT);
    let (code, out) = going.end().await;
    assert_eq!((code, ids(&printed(&out))), (Some(130), ids(&history[before.len() - 2..])));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_shows_messages_while_they_are_made_and_once() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY before").await;
    let going = Going::start(server.data_dir(), &["sessions", "tail", "-f", "--last", "1", &session.id]);
    going.prints("— idle").await;
    session.say("CHUNK 4\nSAY one two three").await;
    going.prints("\none two three\n— idle").await;
    session.say("SAY more").await;
    going.prints("\nmore\n— idle").await;
    server.api.delete(&session.path()).await;
    let (code, out) = going.end().await;
    assert_eq!(code, Some(0));
    let expected = "— idle\n› CHUNK 4\nSAY one two three\none two three\n— idle\n› SAY more\nmore\n— idle\n— deleted\n";
    assert_eq!(out, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_the_making_is_shown_once_though_the_connection_breaks_in_it() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY before").await;
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (url, key) = (format!("http://{}", proxy.addr()), server.data_dir().join("api-key"));
    let to = ["--url", &url, "--api-key-file", key.to_str().unwrap()];
    let going = Going::start(server.data_dir(), &[&["sessions", "tail", "-f", "--last", "1", &session.id][..], &to].concat());
    going.prints("— idle").await;
    session.say("CHUNK 4\nSAY one\\ntwo three\nGATE middle\nSAY  four").await;
    server.model.reached("middle").await;
    // The first line of the answer, while the answer is not there yet.
    going.prints("\none\n").await;
    let before = proxy.connections();
    proxy.cut_all();
    eventually("the tail came back", || proxy.connections() > before).await;
    server.model.open("middle");
    going.prints("\n— idle\n").await;
    server.api.delete(&session.path()).await;
    let (code, out) = going.end().await;
    assert_eq!(code, Some(0));
    assert!(out.ends_with("\none\ntwo threefour\n— idle\n— deleted\n") && out.matches("two three").count() == 2, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_session() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    let going = Going::start(server.data_dir(), &["sessions", "tail", "-f", "--from-start", &session.id]);
    session.turn("SAY hi").await;
    going.prints("— idle").await;
    server.api.post(&format!("{}/archive", session.path()), &json!({})).await;
    let (code, out) = going.end().await;
    assert_eq!((code, out.ends_with("— archived\n")), (Some(0), true), "{out}");
    // There is nothing to follow any more, from whichever place.
    for from in [&["--last", "1"][..], &["--from-start"]] {
        on(&server, &[&["sessions", "tail", "-f", &session.id][..], from].concat()).await.fine();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_deleted_while_the_server_is_away_ends_the_tail() {
    let server = Server::start().await;
    let session = server.session(json!([])).await;
    session.turn("SAY hi").await;
    // The tail has a way of its own to the server, which is cut.
    let proxy = FaultProxy::start(server.address()).await.unwrap();
    let (url, key) = (format!("http://{}", proxy.addr()), server.data_dir().join("api-key"));
    let to = ["--url", &url, "--api-key-file", key.to_str().unwrap()];
    let going = Going::start(server.data_dir(), &[&["sessions", "tail", "-f", "--last", "1", &session.id][..], &to].concat());
    going.prints("— idle").await;
    proxy.set_refuse(true);
    proxy.cut_all();
    server.api.delete(&session.path()).await;
    proxy.set_refuse(false);
    let (code, out) = going.end().await;
    assert_eq!((code, out.as_str()), (Some(0), "— idle\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn until_idle_ends_with_the_turn_and_its_exit_status() {
    let server = Server::start().await;
    let session = server.session(policy("always_ask")).await;
    let tail = |more: &[&str]| {
        [&["sessions", "tail", "--until-idle", session.id.as_str()][..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let started = |more: &[&str]| {
        let args = tail(more);
        Going::start(server.data_dir(), &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // A session that never ran is at rest.
    assert_eq!(started(&[]).end().await.0, Some(0));
    for (gate, script, code) in [("a", "SAY fine", 0), ("b", "SAY no\nSTOP refusal", 3), ("c", &bash("echo hi"), 4)] {
        session.say(&format!("GATE {gate}\n{script}")).await;
        server.model.reached(gate).await;
        // From the beginning there are ends of earlier turns on the way.
        let both = [started(&["--last", "1"]), started(&["--from-start"])];
        let begun = format!("GATE {gate}");
        eventually("both follow", || both.iter().all(|going| going.out.text().contains(&begun))).await;
        server.model.open(gate);
        for going in both {
            let (ended, out) = going.end().await;
            assert_eq!(ended, Some(code), "{script}: {out}");
        }
        // At rest it ends at once, in the same way.
        for more in [&["--last", "1"][..], &["--from-start"]] {
            assert_eq!(started(more).end().await.0, Some(code), "{script}");
        }
    }
    let failed = server.session(json!([])).await;
    failed.turn("FAIL 400 9\nSAY never").await;
    assert_eq!(on(&server, &["sessions", "tail", "--until-idle", &failed.id]).await.code, Some(1));
}
