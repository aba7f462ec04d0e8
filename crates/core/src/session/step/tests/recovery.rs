//! What a new process takes up, what comes too late, and lost sandboxes.

use super::story::Story;
use crate::call::{CallEnd, CallOutcome};
use crate::ids::{EffectId, EventId, IdSource, IncarnationId};
use crate::limits;
use crate::model::{ModelError, ModelErrorKind, TokenUsage};
use crate::session::record::RecordBody;
use crate::session::state::Phase;
use crate::session::step::Input;

#[test]
fn every_phase_is_taken_up_where_it_was() {
    type Begin = fn(&mut Story) -> &mut Story;
    let table: [(&str, Begin, &str, &str); 8] = [
        ("idle", |story| story, "", ""),
        ("requesting", |story| story.message("hi"), "!] [", "model:1"),
        ("backoff", |story| story.message("hi").fails(ModelErrorKind::Overloaded), "", "timer"),
        ("no sandbox yet", |story| story.message("hi").calls(&["bash"]), "", "sandbox"),
        ("running calls", |story| story.message("hi").sandbox().calls(&["read", "grep", "bash"]), "", "run:read run:grep"),
        ("waiting", |story| story.message("hi").calls(&["edit"]), "", ""),
        ("interrupted request", |story| story.message("hi").interrupt(), "!] user.interrupt idle", ""),
        ("interrupted calls", |story| story.message("hi").sandbox().calls(&["bash"]).interrupt(), "", "run:bash cancel:bash"),
    ];
    for (phase, begin, told, started) in table {
        let mut story = Story::new();
        begin(&mut story);
        story.told();
        story.recovers();
        assert_eq!((story.told().as_str(), story.started().as_str()), (told, started), "{phase}");
    }
}

#[test]
fn a_request_that_was_lost_is_the_same_attempt_again() {
    let mut story = Story::new();
    story.message("hi").fails(ModelErrorKind::Overloaded).timer().recovers();
    assert_eq!(story.started(), "model:2");
}

#[test]
fn what_comes_too_late_or_from_elsewhere_changes_nothing() {
    let mut ids = IdSource::new(9, 9);
    let (effect, call, incarnation) = (EffectId::mint(&mut ids), EventId::mint(&mut ids), IncarnationId::mint(&mut ids));
    let error = ModelError {
        kind: ModelErrorKind::Rejected,
        message: String::new(),
        retry_after_ms: None,
        usage: TokenUsage::default(),
        billed: false,
    };
    let mut idle = Story::new();
    idle.sandbox();
    let mut requesting = Story::new();
    requesting.message("hi").sandbox();
    let mut acting = Story::new();
    acting.message("hi").sandbox().calls(&["bash"]);
    for story in [&mut idle, &mut requesting, &mut acting] {
        let other_life = story.state.calls.first().map_or_else(|| call.clone(), |open| open.id.clone());
        for input in [
            Input::ModelFailed { effect: effect.clone(), error: error.clone(), delay_ms: 1 },
            Input::TimerFired { timer: effect.clone() },
            Input::SandboxStarted { incarnation: incarnation.clone() },
            Input::SandboxFailed { message: "late".into() },
            Input::CallFinished { call: call.clone(), outcome: CallOutcome::text("late", false, CallEnd::Finished) },
            Input::CallNeverReceived { call: other_life.clone(), incarnation: incarnation.clone() },
            Input::CallLost { call: other_life.clone(), incarnation: incarnation.clone(), why: None },
        ] {
            let (before, count) = (story.state.clone(), story.records.len());
            story.happens(input);
            assert_eq!((&story.state, story.records.len(), story.started().as_str()), (&before, count, ""));
        }
    }
}

#[test]
fn a_second_result_of_a_call_changes_nothing() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash", "bash"]).finishes(0).told();
    assert_eq!(story.finishes(0).told(), "");
}

#[test]
fn without_a_sandbox_the_turn_is_given_up() {
    let mut story = Story::new();
    story.message("hi").calls(&["bash", "lookup"]).told();
    story.happens(Input::SandboxFailed { message: "no memory".into() });
    assert_eq!(story.told(), "result! error exhausted");
    assert_eq!(story.message("again").started(), "model:1");
}

#[test]
fn giving_up_does_not_deny_what_may_have_run() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["read", "grep"]).loses(0).told();
    story.happens(Input::SandboxFailed { message: "no memory".into() });
    assert_eq!(ends(&story), [CallEnd::OutcomeUnknown, CallEnd::NotRun]);
}

#[test]
fn a_call_that_was_never_received_goes_to_the_next_sandbox() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash"]).told();
    assert_eq!(story.never_received(0).started(), "sandbox");
    assert_eq!(story.sandbox().started(), "run:bash");
    assert_eq!(story.told(), "");
}

#[test]
fn only_reads_are_run_again_when_their_sandbox_is_lost() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["read"]).told();
    assert_eq!(story.loses(0).started(), "sandbox");
    assert_eq!(story.sandbox().started(), "run:read");

    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash", "bash"]).told();
    assert_eq!(story.loses(0).started(), "sandbox");
    assert_eq!(story.told(), "result!");
    assert_eq!(ends(&story), [CallEnd::OutcomeUnknown]);
    assert_eq!(story.sandbox().started(), "run:bash");
}

#[test]
fn a_call_is_given_to_only_so_many_sandboxes() {
    let mut lost = Story::new();
    lost.message("hi").sandbox().calls(&["read"]);
    let mut unheard = Story::new();
    unheard.message("hi").sandbox().calls(&["bash"]);
    for _ in 0..limits::CALL_RETRIES {
        assert_eq!(lost.loses(0).started(), "sandbox");
        lost.sandbox();
        assert_eq!(unheard.never_received(0).started(), "sandbox");
        unheard.sandbox();
    }
    assert_eq!(lost.loses(0).started(), "model:1");
    assert_eq!(unheard.never_received(0).started(), "model:1");
    assert_eq!((ends(&lost), ends(&unheard)), (vec![CallEnd::OutcomeUnknown], vec![CallEnd::NotRun]));
}

#[test]
fn states_survive_being_stored() {
    let mut story = Story::new();
    story.message("hi").message("later").fails(ModelErrorKind::Overloaded);
    assert!(matches!(story.state.phase, Phase::Backoff { .. }));
    let text = serde_json::to_string(&story.state).unwrap();
    assert_eq!(serde_json::from_str::<crate::session::state::State>(&text).unwrap(), story.state);
}

#[test]
fn arguments_survive_being_stored_to_the_last_bit() {
    for number in [31.245_270_191_439_438_f64, 121.487_919_511_619_45, 9.007_199_254_740_993e-300, f64::MIN_POSITIVE, 0.1 + 0.2] {
        let text = serde_json::to_string(&number).unwrap();
        assert_eq!(serde_json::from_str::<f64>(&text).unwrap().to_bits(), number.to_bits(), "{text}");
    }
}

fn ends(story: &Story) -> Vec<CallEnd> {
    story
        .records
        .iter()
        .filter_map(|record| if let RecordBody::CallSettled { outcome, .. } = &record.body { Some(outcome.end) } else { None })
        .collect()
}

#[test]
fn a_search_that_was_under_way_when_the_server_stopped_is_made_again_and_counted_once() {
    let mut story = Story::new();
    story.message("hi").calls(&["web_search"]).told();
    assert_eq!(story.started(), "remote:web_search");
    story.recovers();
    assert_eq!((story.told().as_str(), story.started().as_str()), ("", "remote:web_search"));
    story.finishes(0);
    assert_eq!(story.started(), "model:1");
    assert_eq!((story.state.web.web_search_requests, story.state.web.web_fetch_requests), (1, 0));
}
