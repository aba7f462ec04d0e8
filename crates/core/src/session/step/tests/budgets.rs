//! Budgets: what is set aside, what is charged, what happens at the cap, and how it goes on.

use serde_json::{Value, json};

use super::story::{Story, message, plan};
use crate::cost::Cost;
use crate::model::{BlockKind, ModelErrorKind, ModelStop, TokenUsage};
use crate::resources::budget::BudgetLimit;
use crate::session::record::RecordBody;
use crate::session::state::Phase;
use crate::session::step::{Input, SharedBudget};

/// With the first model of the plan, 5,000 tokens of output are a cent.
const CENT_OF_OUTPUT: u64 = 5_000;

fn with_cents(cents: u64) -> Story {
    let agent = json!({"tools": [{"type": "custom", "name": "lookup", "description": "d", "input_schema": {"type": "object"}}]});
    Story::made(agent, plan(1), Some(BudgetLimit::of_cents(cents)))
}

fn update(budget: Value) -> Input {
    Input::Update(Box::new(serde_json::from_value(json!({"budget": budget})).unwrap()))
}

fn to_cents(cents: u64) -> Input {
    update(json!(BudgetLimit::of_cents(cents)))
}

fn uses(output_tokens: u64) -> TokenUsage {
    TokenUsage { input_tokens: 1, output_tokens, ..TokenUsage::default() }
}

fn lookup() -> Vec<(BlockKind, Value)> {
    vec![super::story::call("lookup", true)]
}

/// A session of five cents whose model called a tool for six.
fn over_the_cap() -> Story {
    let mut story = with_cents(5);
    story.message("go").answers_with(lookup(), ModelStop::ToolUse, uses(6 * CENT_OF_OUTPUT));
    story
}

#[test]
fn at_the_cap_the_next_request_waits_for_budget() {
    let mut story = over_the_cap();
    let result = story.result(0);
    story.told();
    assert_eq!(story.state.phase, Phase::Acting { paused: true }, "who waits for an answer says so, whatever the budget");
    story.send(json!([result]));
    assert_eq!(story.told(), "user.custom_tool_result running capped");
    assert_eq!(story.started(), "");
    assert_eq!(story.state.cost.unwrap().cents(), 6);
    assert!(!story.state.is_unfinished(), "a restart leaves it alone");
}

#[test]
fn at_the_cap_only_answers_and_interrupts_are_taken() {
    let mut story = over_the_cap();
    let refused = story.refuses(Story::request(json!([message("more")])));
    assert!(refused.contains("user.tool_confirmation, user.tool_result, user.custom_tool_result and user.interrupt"), "{refused}");
    let result = story.result(0);
    story.send(json!([result])).told();
    story.interrupt();
    assert_eq!(story.echo.len(), 1);
    assert_eq!(story.told(), "", "an interrupt is taken and ignored");
    assert_eq!(story.state.phase, Phase::Capped);
}

#[test]
fn a_turn_that_ends_over_the_cap_has_ended() {
    let mut story = with_cents(5);
    story.message("go").answers_with(vec![super::story::text("done")], ModelStop::EndTurn, uses(6 * CENT_OF_OUTPUT));
    assert!(story.told().ends_with("] idle"));
    story.refuses(Story::request(json!([message("more")])));
    story.interrupt();
    assert_eq!(story.told(), "");
    story.happens(to_cents(10)).message("more");
    assert_eq!(story.told(), "updated user.message running [");
}

#[test]
fn a_raised_or_removed_budget_lets_the_turn_go_on() {
    for next in [to_cents(7), update(Value::Null)] {
        let mut story = over_the_cap();
        let result = story.result(0);
        story.send(json!([result])).told();
        story.happens(next);
        assert_eq!(story.told(), "updated running [");
        assert_eq!(story.started(), "model:1");
    }
}

#[test]
fn a_budget_is_raised_above_what_was_spent_and_never_added() {
    let mut story = over_the_cap();
    assert!(story.refuses(to_cents(6)).contains("budget_not_raised"));
    assert!(story.refuses(to_cents(3)).contains("0.060001"));
    story.happens(to_cents(100)).happens(to_cents(50)).happens(update(Value::Null)).happens(update(Value::Null));
    assert!(story.refuses(to_cents(100)).contains("budget_create_only"));
    assert!(Story::new().refuses(to_cents(100)).contains("budget_create_only"));
}

#[test]
fn an_answer_is_limited_to_what_is_left() {
    let asked = |story: &Story| match &story.state.phase {
        Phase::Requesting { ask, .. } => (ask.max_tokens, ask.reserved.unwrap()),
        other => panic!("{other:?}"),
    };
    let mut story = with_cents(1);
    story.message("go");
    let (most, reserved) = asked(&story);
    assert!((4_900..5_000).contains(&most), "a cent is 5,000 tokens, less the input: {most}");
    assert!(reserved <= Cost::from_cents(1) && reserved > Cost::from_cents(1).minus(Cost(100_000)), "{reserved:?}");
    let mut nearly = with_cents(1);
    nearly.message("go").answers_with(vec![super::story::text("x")], ModelStop::EndTurn, uses(CENT_OF_OUTPUT - 10));
    nearly.message("go on");
    assert_eq!(asked(&nearly).0, crate::limits::MIN_OUTPUT_TOKENS, "an answer is never limited to uselessness");
    assert_eq!(Story::new().message("go").state.reserved().map(|cost| cost.cents()), Some(2), "without a budget the whole answer");
}

#[test]
fn what_nobody_counted_is_charged_as_it_was_set_aside() {
    let mut silent = with_cents(100);
    let reserved = silent.message("go").state.reserved();
    silent.answers_with(vec![super::story::text("x")], ModelStop::EndTurn, TokenUsage::default());
    assert_eq!(silent.state.cost, reserved);

    let mut crashed = with_cents(100);
    let reserved = crashed.message("go").state.reserved();
    crashed.recovers();
    assert_eq!(crashed.state.cost, reserved, "the lost request may have been counted");
    assert!(crashed.state.reserved().is_some(), "and its successor has a reservation of its own");

    let mut refused = with_cents(100);
    refused.message("go").fails(ModelErrorKind::Rejected);
    assert_eq!(refused.state.cost, Some(Cost::ZERO));
}

#[test]
fn a_budget_needs_prices() {
    let mut story = with_cents(100);
    let mut unpriced = plan(2);
    unpriced.targets[1].price = None;
    story.plan = unpriced.into();
    story.message("go");
    assert_eq!(story.told(), "user.message running error exhausted");
    let mut free = Story::new();
    free.plan = story.plan.clone();
    assert_eq!(free.message("go").started(), "model:1");
    assert_eq!(free.says("x").state.cost, None, "no price, no cost");
}

#[test]
fn a_shared_budget_stops_and_resumes_a_turn() {
    let mut story = Story::new();
    story.shared_budget = SharedBudget::Reached;
    story.message("go");
    assert_eq!(story.told(), "user.message running capped");
    story.refuses(Story::request(json!([message("more")])));
    story.happens(Input::SharedBudgetRaised);
    assert_eq!(story.told(), "running capped", "it may be used up again before its turn comes");
    story.shared_budget = SharedBudget::Open;
    story.happens(Input::SharedBudgetRaised);
    assert_eq!(story.told(), "running [");
    story.happens(Input::SharedBudgetRaised);
    assert_eq!(story.told(), "");
    let mut unpriced = Story::new();
    unpriced.plan = std::sync::Arc::new({
        let mut plan = plan(1);
        plan.targets[0].price = None;
        plan
    });
    unpriced.shared_budget = SharedBudget::Unpriced;
    assert_eq!(unpriced.message("go").told(), "user.message running error exhausted");
}

#[test]
fn the_totals_carry_cost_and_budget() {
    let mut story = over_the_cap();
    let result = story.result(0);
    story.send(json!([result]));
    let idled = story.records.iter().rev().find_map(|record| match &record.body {
        RecordBody::Idled { usage, budget, .. } => Some((usage.list_cost.clone(), budget.clone())),
        _ => None,
    });
    let (cost, budget) = idled.unwrap();
    assert_eq!((cost.unwrap().amount.as_str(), budget), ("6", Some(BudgetLimit::of_cents(5))));
}

#[test]
fn a_server_that_counts_its_answers_only_is_charged_its_input_too() {
    let mut story = with_cents(100);
    story.message("a message of some length");
    story.answers_with(vec![super::story::text("x")], ModelStop::EndTurn, TokenUsage { output_tokens: 5_000, ..TokenUsage::default() });
    assert!(story.state.cost.unwrap() > Cost::from_cents(1));
    assert!(story.state.cost.unwrap() < Cost::from_cents(2));
}

#[test]
fn what_one_model_counted_does_not_bound_what_another_counts() {
    let long = "x".repeat(50_000);
    let reserved = |models: u64| {
        let mut story = Story::made(json!({}), plan(models), None);
        story.message(&long).says("short");
        story.message("more").state.reserved().unwrap()
    };
    // One model said that it was 15 tokens; with two, nobody knows for the other.
    assert!(reserved(1) < Cost(10_000 * 2_000 + 1_000 * 1_000));
    assert!(reserved(2) > Cost(10_000 * 4_000 + 50_000 * 2_000));
}

#[test]
fn tools_that_come_with_a_higher_budget_are_reserved_for() {
    let mut story = over_the_cap();
    let result = story.result(0);
    story.send(json!([result]));
    let big = json!([{"type": "custom", "name": "big", "description": "d".repeat(9_000), "input_schema": {"type": "object"}}]);
    let update = json!({"budget": BudgetLimit::of_cents(500), "agent": {"tools": big}});
    story.happens(Input::Update(Box::new(serde_json::from_value(update).unwrap())));
    let whole_answer = Cost(10_000 * 2_000);
    assert!(story.state.reserved().unwrap() > whole_answer.plus(Cost(9_000 * 1_000)));
}
