//! Turns: text, cuts, refusals, failures of the model, messages that wait, the limit of steps.

use serde_json::json;

use super::story::{Story, call, message, now, plan, system, text};
use crate::limits;
use crate::model::{ModelErrorKind, ModelStop};
use crate::session::record::RecordBody;
use crate::session::step::{Input, create};

#[test]
fn the_events_of_a_turn_come_in_the_order_of_the_protocol() {
    let mut story = Story::new();
    assert_eq!(story.message("hi").started(), "model:1");
    assert!(story.echo[0].processed_at.is_none());
    story.says("hello");
    assert_eq!(
        story.kinds(),
        [
            "user.message",
            "session.status_running",
            "session.thread_status_running",
            "span.model_request_start",
            "agent.message",
            "span.model_request_end",
            "session.thread_status_idle",
            "session.usage",
            "session.status_idle",
        ]
    );
    assert_eq!((story.state.usage.input_tokens, story.state.usage.output_tokens), (10, 5));
    assert_eq!(story.started(), "");
}

#[test]
fn a_session_can_begin_with_messages() {
    let first = Story::new().records.remove(0);
    let events = crate::events::client::parse_initial(vec![message("a"), message("b")]).unwrap();
    let step = create(first.body, events, &Story::principal(), now(5, 5, &plan(1))).unwrap();
    assert!(matches!(&step.records[1].body, RecordBody::TurnStarted { inputs, .. } if inputs.len() == 2));
    assert_eq!(step.effects.len(), 1);
    let not_first = step.records[1].body.clone();
    assert!(create(not_first, Vec::new(), &Story::principal(), now(5, 5, &plan(1))).is_err());
}

#[test]
fn answers_end_turns_in_their_own_ways() {
    let refusal = ModelStop::Refusal { category: Some("bio".into()), explanation: None };
    let other = ModelStop::Other { reason: "odd".into() };
    for (blocks, stop, told) in [
        (vec![], ModelStop::EndTurn, "] idle"),
        (vec![text("")], ModelStop::EndTurn, "] idle"),
        (vec![text("par")], ModelStop::MaxTokens, "message ] idle"),
        (vec![text("a"), text("b"), call("glob", true), text("c")], other, "message use:glob message ] result! ["),
        (vec![text("no")], refusal.clone(), "message ] refused"),
        (vec![call("bash", true)], ModelStop::MaxTokens, "use:bash ] result! idle"),
        (vec![call("lookup", true)], ModelStop::MaxTokens, "use:lookup ] idle"),
        (vec![call("bash", true)], refusal, "use:bash ] result! refused"),
        (vec![text("thinks of tools")], ModelStop::ToolUse, "message ] idle"),
    ] {
        let mut story = Story::new();
        story.message("hi").told();
        story.answered(blocks, stop.clone());
        assert_eq!(story.told(), told, "{stop:?}");
    }
}

#[test]
fn an_empty_answer_leaves_no_message() {
    let mut story = Story::new();
    story.message("a").says("").message("b");
    let conversation = story.conversation();
    assert_eq!(conversation.len(), 2);
    assert!(conversation.iter().all(|message| message["role"] == "user"));
}

#[test]
fn transient_failures_are_repeated_quietly_then_openly_then_not() {
    let mut story = Story::new();
    story.message("hi").told();
    for attempt in 1..limits::MODEL_ATTEMPTS {
        assert_eq!(story.fails(ModelErrorKind::Overloaded).started(), "timer");
        let open = attempt >= limits::QUICK_ATTEMPTS;
        assert_eq!(story.told(), if open { "!] error rescheduled" } else { "!]" });
        assert_eq!(story.state.status().as_str(), if open { "rescheduling" } else { "running" });
        assert_eq!(story.timer().started(), format!("model:{}", attempt + 1));
        assert_eq!(story.told(), if open { "running [" } else { "[" });
    }
    story.fails(ModelErrorKind::Overloaded);
    assert_eq!(story.told(), "!] error exhausted");
    story.message("again");
    assert_eq!(story.told(), "user.message running [");
}

#[test]
fn other_failures_end_the_turn_at_once() {
    for kind in [
        ModelErrorKind::Authentication,
        ModelErrorKind::Billing,
        ModelErrorKind::Rejected,
        ModelErrorKind::ContextOverflow,
        ModelErrorKind::Cancelled,
    ] {
        let mut story = Story::new();
        story.message("hi").told();
        story.fails(kind);
        assert_eq!(story.told(), "!] error exhausted", "{kind:?}");
    }
}

#[test]
fn no_wait_is_longer_than_its_limit() {
    let mut story = Story::new();
    story.message("hi");
    let crate::session::state::Phase::Requesting { effect, .. } = story.state.phase.clone() else { panic!() };
    let error = crate::model::ModelError {
        kind: ModelErrorKind::RateLimited,
        message: String::new(),
        retry_after_ms: Some(u64::MAX),
        usage: crate::model::TokenUsage::default(),
        billed: false,
    };
    story.happens(Input::ModelFailed { effect, error, delay_ms: u64::MAX });
    let delays: Vec<u64> = story
        .records
        .iter()
        .filter_map(|record| if let RecordBody::RetryScheduled { delay_ms, .. } = record.body { Some(delay_ms) } else { None })
        .collect();
    assert_eq!(delays, [limits::MODEL_RETRY_DELAY_MS]);
}

#[test]
fn messages_wait_for_the_next_turn_and_enter_it_together() {
    let mut story = Story::new();
    story.message("one").told();
    story.message("two").send(json!([message("three"), system("be kind")]));
    assert_eq!((story.told(), story.started()), (String::new(), String::new()));
    assert_eq!(story.state.queue.len(), 3);
    assert_eq!(story.says("ok").started(), "model:1");
    assert_eq!(story.told(), "message ] idle user.message user.message system.message running [");
    assert!(story.state.queue.is_empty());
}

#[test]
fn messages_that_wait_are_kept_when_the_turn_is_given_up() {
    let mut story = Story::new();
    story.message("one").message("two").told();
    story.fails(ModelErrorKind::Billing);
    assert_eq!(story.told(), "!] user.message error exhausted");
    story.message("three");
    assert_eq!(story.conversation().len(), 3);
}

#[test]
fn only_so_much_may_wait() {
    let mut story = Story::new();
    story.message("one");
    let many: Vec<_> = (0..limits::EVENTS_PER_REQUEST).map(|_| message("x")).collect();
    for _ in 0..limits::QUEUED_INPUTS / limits::EVENTS_PER_REQUEST {
        story.send(json!(many));
    }
    assert!(story.refuses(Story::request(json!([message("x")]))).contains("too much waits"));
}

#[test]
fn a_turn_has_only_so_many_steps() {
    let mut story = Story::new();
    story.message("hi").calls(&["read"]).sandbox();
    for _ in 1..limits::STEPS_PER_TURN {
        story.finishes(0).calls(&["read"]);
    }
    story.told();
    assert_eq!(story.finishes(0).started(), "");
    assert_eq!(story.told(), "result error exhausted");
    assert_eq!(story.message("go on").started(), "model:1");
}
