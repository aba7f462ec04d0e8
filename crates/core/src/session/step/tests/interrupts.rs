//! Interrupts, in every phase.

use serde_json::json;

use super::story::{Story, message};
use crate::call::{CallEnd, CallOutcome};
use crate::limits;
use crate::model::ModelErrorKind;
use crate::session::step::Input;

#[test]
fn an_idle_session_only_notes_it() {
    let mut story = Story::new();
    assert_eq!(story.interrupt().told(), "user.interrupt");
    assert_eq!(story.send(json!([{"type": "user.interrupt"}, message("hi")])).told(), "user.interrupt user.message running [");
}

#[test]
fn a_request_is_given_up_when_it_is_really_gone() {
    let mut story = Story::new();
    story.message("hi").told();
    assert_eq!(story.interrupt().started(), "cancel-model");
    assert_eq!(story.told(), "");
    assert_eq!(story.fails(ModelErrorKind::Cancelled).told(), "!] user.interrupt idle");
}

#[test]
fn an_answer_that_comes_after_all_is_not_taken() {
    let mut story = Story::new();
    story.message("hi").told();
    assert_eq!(story.interrupt().calls(&["bash"]).told(), "!] user.interrupt idle");
    assert_eq!(story.state.usage.output_tokens, 5);
}

#[test]
fn a_message_in_the_same_request_starts_the_next_turn() {
    let mut story = Story::new();
    story.message("hi").told();
    story.send(json!([{"type": "user.interrupt"}, message("instead")]));
    assert_eq!(story.fails(ModelErrorKind::Cancelled).started(), "model:1");
    assert_eq!(story.told(), "!] user.interrupt idle user.message running [");
}

#[test]
fn waiting_to_try_again_ends_at_once() {
    let mut story = Story::new();
    story.message("hi").fails(ModelErrorKind::Overloaded).told();
    let stale = story.state.phase.clone();
    assert_eq!(story.interrupt().told(), "user.interrupt idle");
    let crate::session::state::Phase::Backoff { timer, .. } = stale else { panic!() };
    assert_eq!(story.happens(Input::TimerFired { timer }).started(), "");
}

#[test]
fn running_calls_are_ended_and_the_rest_never_begins() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash", "bash", "edit", "lookup"]).told();
    assert_eq!(story.interrupt().started(), "cancel:bash");
    assert_eq!(story.told(), "result! result!");
    let call = story.call(0);
    story.happens(Input::CallFinished { call, outcome: CallOutcome::text("killed", true, CallEnd::Cancelled) });
    assert_eq!(story.told(), "result! user.interrupt idle");
    story.message("next");
    let sizes: Vec<usize> = story.conversation().iter().map(|message| message["content"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1, 4, 4, 1]);
}

#[test]
fn calls_that_no_sandbox_got_never_begin() {
    let mut story = Story::new();
    story.message("hi").calls(&["bash"]).told();
    assert_eq!(story.interrupt().told(), "result! user.interrupt idle");
    assert_eq!(story.sandbox().started(), "");
}

#[test]
fn calls_that_wait_for_answers_are_cancelled() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit", "lookup"]).told();
    let late = story.result(1);
    assert_eq!(story.interrupt().told(), "result! user.interrupt idle");
    assert!(story.refuses(Story::request(json!([late]))).contains("any more"));
}

#[test]
fn an_answer_and_an_interrupt_in_one_request_end_the_turn() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit"]).told();
    let allow = story.allow(0);
    assert!(story.refuses(Story::request(json!([{"type": "user.interrupt"}, allow]))).contains("any more"));
    assert_eq!(story.send(json!([allow, {"type": "user.interrupt"}])).told(), "user.tool_confirmation result! user.interrupt idle");
}

#[test]
fn an_interrupted_call_is_not_given_to_another_sandbox() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["read", "read"]).told();
    story.loses(0).sandbox().interrupt().told();
    assert_eq!(story.never_received(1).started(), "");
    assert_eq!(story.told(), "result!");
    assert_eq!(story.loses(0).told(), "result! user.interrupt idle");
}

#[test]
fn interrupts_name_this_thread_and_only_so_many_wait() {
    let mut story = Story::new();
    story.message("hi");
    assert!(
        story.refuses(Story::request(json!([{"type": "user.interrupt", "session_thread_id": "sthr_other"}]))).contains("no such thread")
    );
    let thread = story.state.thread.clone();
    story.send(json!([{"type": "user.interrupt", "session_thread_id": thread}]));
    for _ in 1..limits::PENDING_INTERRUPTS {
        story.interrupt();
    }
    assert!(story.refuses(Story::request(json!([{"type": "user.interrupt"}]))).contains("already"));
}
