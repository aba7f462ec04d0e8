//! Budgets of sessions and of workspaces, and models that stand in for each other, in a whole node.
//! The model costs a dollar per million tokens of input and five of output.

use ostler_core::cost::Cost;
use ostler_core::error::Refusal;
use ostler_core::events::client;
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::session::SessionUpdateParams;
use ostler_runtime::error::RuntimeError;
use ostler_runtime::router::{Command, NewSession};
use ostler_runtime::subscribe::StartAt;
use ostler_runtime::view::session_resource;
use serde_json::{Value, json};

use crate::node::{Node, new_session, session_of};

fn message(script: &str) -> Vec<client::ClientEvent> {
    client::parse(vec![json!({"type": "user.message", "content": [{"type": "text", "text": script}]})]).unwrap()
}

fn with_cents(cents: u64, script: &str) -> NewSession {
    NewSession { budget: Some(BudgetLimit::of_cents(cents)), ..new_session(json!([{"type": "agent_toolset_20260401"}]), message(script)) }
}

fn refusal(error: RuntimeError) -> Refusal {
    match error {
        RuntimeError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_its_budget_waits_over_a_restart_and_goes_on_when_it_is_raised() {
    let mut node = Node::start().await;
    let script = "USAGE 1000 3000\nTOOL bash {\"command\": \"ls\"}\nSTEP\nUSAGE 0 200\nSAY done";
    let session = node.router.create(&node.scope, with_cents(1, script)).await.unwrap().id;
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "budget_reached");
    node.restart_after_death().await;
    let row = node.store_row(&session).await;
    let seen = session_resource(&row, row.updated_at).unwrap();
    assert_eq!((row.status.as_str(), row.unfinished), ("idle", false));
    assert_eq!(serde_json::to_value(&seen.usage.list_cost).unwrap(), json!({"amount": "1", "currency": "USD"}));
    let more = client::parse(vec![json!({"type": "user.message", "content": [{"type": "text", "text": "more"}]})]).unwrap();
    let refused = refusal(node.router.submit(&node.scope, &session, Command::Send(more)).await.unwrap_err());
    assert_eq!(refused.code, Some("budget_reached"));
    let mut tail = node.follow(&session, StartAt::Now).await;
    let raised: SessionUpdateParams = serde_json::from_value(json!({"budget": BudgetLimit::of_cents(10)})).unwrap();
    node.router.submit(&node.scope, &session, Command::Update(Box::new(raised))).await.unwrap();
    assert_eq!(tail.idle().await, "end_turn");
    assert_eq!(&tail.kinds()[..3], ["session.updated", "session.status_running", "session.thread_status_running"]);
    let usage = tail.seen.iter().find(|event| event["type"] == "session.usage").unwrap();
    assert_eq!(usage["budget"]["max_list_cost"]["amount"], "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_needs_a_price() {
    let node = Node::start().await;
    let unpriced = NewSession { budget: Some(BudgetLimit::of_cents(1)), ..session_of("anthropic/other", json!([]), Vec::new()) };
    let refused = refusal(node.router.create(&node.scope, unpriced).await.unwrap_err());
    assert_eq!(refused.code, Some("model_not_budgetable"));
    node.router.set_budget(&node.scope, Some(Cost::from_cents(100))).await.unwrap();
    let free = session_of("anthropic/other", json!([]), message("SAY hi"));
    let session = node.router.create(&node.scope, free).await.unwrap().id;
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "retries_exhausted", "a workspace with a budget asks no model without a price");
    node.router.set_budget(&node.scope, None).await.unwrap();
    let mut tail = node.follow(&session, StartAt::Now).await;
    node.say(&session, "SAY hi").await;
    assert_eq!(tail.idle().await, "end_turn");
}

/// The bound that docs/models.md states: what is spent exceeds the cap by less than what one request
/// had set aside.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_on_one_cap_stay_within_it_and_all_go_on_when_it_is_raised() {
    const SESSIONS: usize = 1_000;
    let node = Node::start().await;
    let cap = Cost::from_cents(100);
    node.router.set_budget(&node.scope, Some(cap)).await.unwrap();
    let script = "USAGE 10 1000\nSAY x";
    let created = (0..SESSIONS).map(|_| node.router.create(&node.scope, new_session(json!([]), message(script))));
    let sessions: Vec<_> = futures::future::join_all(created).await.into_iter().map(|row| row.unwrap().id).collect();
    let mut ended = 0;
    let mut tails = Vec::new();
    for session in &sessions {
        tails.push(node.follow(session, StartAt::After(0)).await);
    }
    let at_rest = futures::future::join_all(tails.iter_mut().map(|tail| tail.idle())).await;
    // Some were refused while others had set aside more than they needed, and went on by themselves.
    node.at_rest_under_cap().await;
    for session in &sessions {
        let events = node.history(session).await;
        ended += usize::from(events.iter().any(|event| event["stop_reason"]["type"] == "end_turn"));
    }
    let spent = node.router.budget(&node.scope).await.unwrap();
    let one = Cost(10 * 1_000 + 1_000 * 5_000);
    // At most: the whole answer of 1,000 tokens and 200 of input, which the message is not.
    let reservation = Cost(200 * 1_000 + 1_000 * 5_000);
    assert_eq!(at_rest.len(), SESSIONS);
    assert_eq!(spent.spent, Cost(one.0 * ended as u64), "what was spent is what the answers cost");
    assert!(spent.spent < cap.plus(reservation), "{spent:?}");
    assert!(spent.spent >= cap, "the cap is used up: {spent:?}");
    assert_eq!(spent.reserved, Cost::ZERO);
    node.router.set_budget(&node.scope, None).await.unwrap();
    for (session, mut tail) in sessions.iter().zip(tails) {
        while !tail.seen.iter().any(|event| event["stop_reason"]["type"] == "end_turn") {
            tail.idle().await;
        }
        assert_eq!(node.history(session).await.iter().filter(|event| event["type"] == "agent.message").count(), 1);
    }
    assert_eq!(node.router.budget(&node.scope).await.unwrap().spent, Cost(one.0 * SESSIONS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_model_answers_when_one_cannot_be_reached() {
    let node = Node::start().await;
    let session = node.router.create(&node.scope, session_of("pair", json!([]), message("SAY hello"))).await.unwrap().id;
    let mut tail = node.follow(&session, StartAt::After(0)).await;
    assert_eq!(tail.idle().await, "end_turn");
    let errors: Vec<&Value> = tail.seen.iter().filter(|event| event["type"] == "session.error").collect();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(error["error"]["retry_status"]["type"], "retrying");
    assert!(error["error"]["message"].as_str().unwrap().contains("asking anthropic/m instead of broken/m"), "{error}");
}
