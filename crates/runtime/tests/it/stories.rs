//! What happens in a node, told through what a follower sees.

use std::time::Duration;

use ostler_core::ids::SessionId;
use ostler_runtime::error::RuntimeError;
use ostler_runtime::parking::Rest;
use ostler_runtime::router::Command;
use ostler_runtime::subscribe::StartAt;
use ostler_store::Store as _;
use serde_json::{Value, json};

use crate::node::{Node, Sandboxes};

fn toolset() -> Value {
    json!([{"type": "agent_toolset_20260401"}])
}

fn said(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "agent.message").filter_map(|event| event["content"][0]["text"].as_str()).collect()
}

async fn started(node: &Node, script: &str) -> (SessionId, crate::node::Tail) {
    let session = node.session(toolset()).await;
    let tail = node.follow(&session, StartAt::Now).await;
    node.say(&session, script).await;
    (session, tail)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_turn_shows_its_events_in_order() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "SAY hello").await;
    assert_eq!(tail.idle().await, "end_turn");
    let expected = [
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
    assert_eq!(tail.kinds(), expected);
    let listed: Vec<Value> = node.history(&session).await.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(listed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_are_a_prefix_and_the_event_comes_last() {
    let node = Node::start().await;
    let (_, mut tail) = started(&node, "CHUNK 3\nSAY hello brave new world").await;
    tail.idle().await;
    let start = tail.seen.iter().position(|event| event["type"] == "event_start").unwrap();
    let whole = tail.seen.iter().position(|event| event["type"] == "agent.message").unwrap();
    let text: String = tail
        .seen
        .iter()
        .filter(|event| event["type"] == "event_delta")
        .filter_map(|event| event["delta"]["content"]["text"].as_str())
        .collect();
    assert_eq!(text, "hello brave new world");
    assert_eq!(tail.seen[start]["event"]["id"], tail.seen[whole]["id"]);
    assert!(tail.seen[whole..].iter().all(|event| event["type"] != "event_delta"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_in_the_middle_gets_the_text_so_far_once() {
    let node = Node::start().await;
    let (session, mut first) = started(&node, "SLEEP 0\nDELAY 20\nCHUNK 2\nSAY abcdefghijklmnopqrstuvwxyz").await;
    first.until("event_delta").await;
    let mut late = node.follow(&session, StartAt::After(0)).await;
    late.idle().await;
    let starts = late.seen.iter().filter(|event| event["type"] == "event_start").count();
    let text: String = late
        .seen
        .iter()
        .filter(|event| event["type"] == "event_delta")
        .filter_map(|event| event["delta"]["content"]["text"].as_str())
        .collect();
    assert_eq!((starts, text.as_str()), (1, "abcdefghijklmnopqrstuvwxyz"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_run_and_their_results_reach_the_model() {
    let node = Node::start().await;
    let (_, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}\nSAY got {{last_tool_result}}").await;
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "got ran one");
    assert!(node.model.violations().is_empty(), "{:?}", node.model.violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_over_a_restart_is_not_run_again() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"hold\"}\nSAY got {{last_tool_result}}").await;
    tail.until("agent.tool_use").await;
    while node.sandboxes.ran.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    node.restart().await;
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    node.sandboxes.release();
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "got ran hold");
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["hold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_died_with_its_sandbox_is_reported_and_not_repeated() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"hold\"}\nSAY err={{last_tool_error}} {{last_tool_result}}").await;
    tail.until("agent.tool_use").await;
    while node.sandboxes.ran.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    node.sandboxes.kill();
    node.restart().await;
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "end_turn");
    assert!(said(&tail.seen).starts_with("err=true Outcome unknown"), "{}", said(&tail.seen));
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["hold"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_lost_with_the_server_is_made_again() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "GATE g\nSAY hello").await;
    tail.until("span.model_request_start").await;
    node.model.reached("g").await;
    node.restart().await;
    node.model.open("g");
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "end_turn");
    let spans: Vec<bool> =
        tail.seen.iter().filter(|event| event["type"] == "span.model_request_end").map(|event| event["is_error"] == true).collect();
    assert_eq!((said(&tail.seen).as_str(), spans), ("hello", vec![true, false]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_waits_over_a_restart_and_counts_once() {
    let mut node = Node::start().await;
    let session =
        node.session(json!([{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}])).await;
    let mut tail = node.follow(&session, StartAt::Now).await;
    node.say(&session, "TOOL bash {\"command\":\"one\"}\nSAY {{last_tool_result}}").await;
    let call = tail.until("agent.tool_use").await["id"].clone();
    assert_eq!(tail.idle().await, "requires_action");
    node.restart().await;
    let mut tail = node.follow(&session, StartAt::Now).await;
    let answer = json!([{"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"}]);
    node.send(&session, answer.clone()).await;
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "ran one");
    let again = ostler_core::events::client::parse(serde_json::from_value(answer).unwrap()).unwrap();
    let refused = node.router.submit(&node.scope, &session, Command::Send(again)).await;
    assert!(matches!(refused, Err(RuntimeError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_request_and_what_was_queued_follows() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "GATE never\nSAY old").await;
    tail.until("span.model_request_start").await;
    node.send(&session, json!([{"type": "user.interrupt"}, {"type": "user.message", "content": [{"type": "text", "text": "SAY new"}]}]))
        .await;
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_a_running_call() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"hold\"}\nSAY never").await;
    tail.until("agent.tool_use").await;
    node.send(&session, json!([{"type": "user.interrupt"}])).await;
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "");
    node.say(&session, "SAY usable").await;
    assert_eq!(tail.idle().await, "end_turn");
    assert!(node.model.violations().is_empty(), "{:?}", node.model.violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_starts_anywhere_sees_the_rest_exactly_once() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "SAY one").await;
    tail.idle().await;
    node.say(&session, "SAY two").await;
    tail.idle().await;
    let whole = node.history(&session).await;
    for start in 0..whole.len() {
        let mut tail = node.follow(&session, StartAt::After(start as u64)).await;
        for expected in &whole[start..] {
            assert_eq!(tail.next().await.as_ref(), Some(expected));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_ends_streams_and_removes_the_sandbox() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "SAY hi").await;
    tail.idle().await;
    node.router.delete(&node.scope, &session).await.unwrap();
    assert_eq!(tail.next().await.unwrap()["type"], "session.deleted");
    assert!(tail.next().await.is_none());
    assert!(node.sandboxes.removed.lock().unwrap().contains(&session));
    assert!(matches!(node.router.delete(&node.scope, &session).await, Err(RuntimeError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbouring_texts_are_one_message_in_events_and_previews() {
    let node = Node::start().await;
    let (_, mut tail) = started(&node, "SAY one\nSAY two\nTOOL bash {\"command\":\"x\"}").await;
    tail.idle().await;
    let messages: Vec<&Value> = tail.seen.iter().filter(|event| event["type"] == "agent.message").collect();
    assert_eq!(messages[0]["content"], json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]));
    let deltas = |index: usize| -> String {
        let mine = tail.seen.iter().filter(|event| event["event_id"] == messages[0]["id"] && event["delta"]["index"] == index);
        mine.filter_map(|event| event["delta"]["content"]["text"].as_str()).collect()
    };
    assert_eq!((deltas(0).as_str(), deltas(1).as_str()), ("one", "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_leave_half_a_session() {
    let node = Node::start().await;
    let script = serde_json::from_value(json!([{"type": "user.message", "content": [{"type": "text", "text": "SAY done"}]}])).unwrap();
    let events = ostler_core::events::client::parse(script).unwrap();
    let create = node.router.create(&node.scope, crate::node::new_session(toolset(), events));
    // Polled once and dropped, as when a connection breaks.
    assert!(futures::poll!(Box::pin(create)).is_pending());
    let all = ostler_store::SessionFilter::default();
    let id = loop {
        let page =
            node.store.sessions(&node.scope, &all, ostler_store::Order::Descending, &ostler_store::PageRequest::first(10)).await.unwrap();
        if let Some(row) = page.rows.first() {
            break row.id.clone();
        }
        tokio::task::yield_now().await;
    };
    let mut tail = node.follow(&id, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "done");
    assert!(tail.seen.iter().all(|event| event["is_error"] != true), "a fresh session has nothing to recover");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_never_gets_on_is_set_aside_until_a_retry() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "GATE g\nSAY at last").await;
    tail.until("span.model_request_start").await;
    // Every life begins with a record of its own: a request, or the word that it was set aside.
    let beginnings = |events: &[Value]| {
        events.iter().filter(|event| event["type"] == "span.model_request_start" || event["type"] == "session.error").count()
    };
    for _ in 0..4 {
        let before = beginnings(&node.history(&session).await);
        node.restart_after_death().await;
        let mut tail = node.follow(&session, StartAt::After(0)).await;
        while beginnings(&tail.seen) <= before {
            tail.next().await;
        }
    }
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    tail.until("session.error").await;
    assert_eq!(tail.idle().await, "retries_exhausted");
    let message = ostler_core::events::client::parse(serde_json::from_value(json!([{"type": "user.interrupt"}])).unwrap()).unwrap();
    let refused = node.router.submit(&node.scope, &session, Command::Send(message)).await;
    assert!(matches!(refused, Err(RuntimeError::Refused(_))), "{refused:?}");
    node.model.open("g");
    node.router.submit(&node.scope, &session, Command::Retry).await.unwrap();
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(said(&tail.seen), "at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn orderly_restarts_say_nothing_against_a_session() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "GATE g\nSAY at last").await;
    tail.until("span.model_request_start").await;
    for _ in 0..6 {
        node.restart().await;
    }
    node.model.open("g");
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "end_turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_without_work_is_ended_and_the_next_call_has_another() {
    const SOON: Duration = Duration::from_millis(5);
    let mut node = Node::start_with(Rest { awake: SOON, sandbox: Some(SOON) }).await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}\nSAY got {{last_tool_result}}").await;
    tail.idle().await;
    let changed = node.store_row(&session).await.updated_at;
    node.sandboxes.gone().await;
    assert_eq!(node.store_row(&session).await.updated_at, changed, "that a sandbox rests is no change of the session");
    let seen = node.history(&session).await.len();
    node.say(&session, "TOOL bash {\"command\":\"two\"}\nSAY got {{last_tool_result}}").await;
    assert_eq!(tail.idle().await, "end_turn");
    assert!(said(&node.history(&session).await[seen..]).contains("got ran two"));
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["one", "two"]);
    // One that the last server left alive is ended as well.
    node.restart_after_death().await;
    node.sandboxes.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_with_work_is_not_parked() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"hold\"}\nSAY got {{last_tool_result}}").await;
    while node.sandboxes.ran.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    node.router.park(&session).await.unwrap();
    node.sandboxes.release();
    assert_eq!(tail.idle().await, "end_turn");
    assert!(said(&tail.seen).contains("got ran hold"));
    node.router.park(&session).await.unwrap();
    node.sandboxes.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_that_no_session_needs_are_ended_at_the_next_start() {
    let mut node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}").await;
    tail.idle().await;
    // Deleted by a server that died before it came to the sandbox.
    node.store
        .delete_session(&node.scope, u64::MAX >> 1, &session, ostler_core::time::Timestamp(1), ostler_store::OpenWork::Kept)
        .await
        .unwrap();
    node.restart().await;
    assert!(node.sandboxes.removed.lock().unwrap().contains(&session));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_starts_while_the_model_still_says_what_it_is_for() {
    let node = Node::start().await;
    let (_, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}\nHOLD g").await;
    node.sandboxes.lives().await;
    assert!(node.sandboxes.ran.lock().unwrap().is_empty());
    node.model.open("g");
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["one"]);
    assert_eq!(node.sandboxes.created.load(std::sync::atomic::Ordering::Relaxed), 1, "the call has the one that was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_was_started_for_nothing_is_ended() {
    let node = Node::start().await;
    let session =
        node.session(json!([{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}])).await;
    let mut tail = node.follow(&session, StartAt::Now).await;
    node.say(&session, "TOOL bash {\"command\":\"one\"}\nHOLD g").await;
    node.sandboxes.lives().await;
    node.model.open("g");
    assert_eq!(tail.idle().await, "requires_action");
    node.sandboxes.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_of_sessions_that_are_there_are_said_to_be_needed() {
    let node = Node::start().await;
    let (session, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}").await;
    tail.idle().await;
    let done = node.router.reconcile_sandboxes().await.unwrap();
    assert_eq!((done.needed, done.ended), (1, 0));
    assert_eq!(*node.sandboxes.needed.lock().unwrap(), std::slice::from_ref(&session));
    let seen = node.router.sandboxes(&node.scope).await.unwrap();
    assert_eq!(seen.iter().map(|living| &living.session).collect::<Vec<_>>(), [&session]);
    node.router.kill_sandbox(&node.scope, &session).await.unwrap();
    assert!(node.router.sandboxes(&node.scope).await.unwrap().is_empty());
    node.say(&session, "TOOL bash {\"command\":\"two\"}").await;
    tail.idle().await;
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_of_one_that_starts_a_hundred_waits_for_few_of_them() {
    const LOUD: usize = 100;
    let mut node = Node::start_on(Rest::default(), Sandboxes::held()).await;
    for _ in 0..LOUD {
        let session = node.session(toolset()).await;
        node.say(&session, "TOOL bash {\"command\":\"loud\"}").await;
    }
    node.sandboxes.begun(1).await;
    node.as_neighbour();
    let (quiet, mut tail) = started(&node, "TOOL bash {\"command\":\"quiet\"}").await;
    tail.until("agent.tool_use").await;
    let at_once = ostler_runtime::limits::SANDBOX_STARTS;
    let starts = node.sandboxes.starts.as_ref().unwrap();
    let mut begun = at_once;
    while !node.sandboxes.begun.lock().unwrap().contains(&quiet) {
        node.sandboxes.begun(begun).await;
        starts.add_permits(1);
        begun += 1;
    }
    let place = node.sandboxes.begun.lock().unwrap().iter().position(|session| *session == quiet).unwrap();
    // Those that started already, and a few that were quicker than its request.
    assert!(place <= 3 * at_once, "{place} of {LOUD} were before it");
    starts.add_permits(LOUD);
    tail.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_waits_until_the_machine_has_room() {
    let node = Node::start_on(Rest::default(), Sandboxes::without_room()).await;
    let (_, mut tail) = started(&node, "TOOL bash {\"command\":\"one\"}").await;
    tail.until("agent.tool_use").await;
    assert!(node.sandboxes.begun.lock().unwrap().is_empty());
    node.sandboxes.full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(*node.sandboxes.ran.lock().unwrap(), ["one"]);
}
