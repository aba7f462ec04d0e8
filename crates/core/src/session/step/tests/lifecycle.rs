//! Updates, archiving, setting aside, retrying.

use serde_json::{Value, json};

use super::story::{Story, message};
use crate::model::ModelErrorKind;
use crate::session::fault::{CredentialFault, FaultKind};
use crate::session::record::RecordBody;
use crate::session::step::Input;

fn update(params: Value) -> Input {
    Input::Update(Box::new(serde_json::from_value(params).unwrap()))
}

fn retry() -> Input {
    Input::Retry { principal: Story::principal() }
}

#[test]
fn updates_tell_what_changed_and_nothing_else() {
    let mut story = Story::new();
    assert_eq!(story.happens(update(json!({"title": "t", "metadata": {"a": "1"}}))).told(), "updated");
    assert_eq!((story.state.title.as_deref(), story.state.metadata["a"].as_str()), (Some("t"), "1"));
    let count = story.records.len();
    assert_eq!(story.happens(update(json!({"title": "t"}))).records.len(), count);
    assert_eq!(story.happens(update(json!({"title": null}))).state.title, None);
}

#[test]
fn the_agent_changes_only_while_the_session_is_idle() {
    let tools = json!({"agent": {"tools": []}});
    let mut story = Story::new();
    story.message("hi");
    assert!(story.refuses(update(tools.clone())).contains("idle"));
    assert!(story.happens(update(json!({"title": "t"}))).state.title.is_some());
    story.says("ok").happens(update(tools));
    assert!(story.state.agent.tools.is_empty());
}

#[test]
fn a_credential_that_cannot_be_used_is_told_once() {
    let fault = |credential: &str, kind| CredentialFault {
        credential: credential.parse().unwrap(),
        vault: "vlt_1".parse().unwrap(),
        name: "TOKEN".into(),
        kind,
    };
    let faulted = |faults: &[CredentialFault]| Input::CredentialsFaulted { faults: faults.to_vec() };
    let (one, other) = (fault("vcrd_1", FaultKind::Unreachable), fault("vcrd_2", FaultKind::Unusable));
    let mut story = Story::new();
    story.message("hi").told();
    assert_eq!(story.happens(faulted(&[one.clone(), one.clone(), other.clone()])).kinds(), ["session.error", "session.error"]);
    assert!(story.happens(faulted(&[other, one.clone()])).kinds().is_empty());
    assert_eq!(story.happens(faulted(&[fault("vcrd_1", FaultKind::Unusable)])).kinds(), ["session.error"]);
    let told = serde_json::to_value(one.error()).unwrap();
    assert_eq!(
        (&told["type"], &told["credential_id"], &told["vault_id"]),
        (&json!("credential_host_unreachable_error"), &json!("vcrd_1"), &json!("vlt_1"))
    );
    // It is in the journal and ends no turn.
    assert_eq!(story.state.credential_faults.len(), 3);
    assert_eq!(story.state.status().as_str(), "running");
    story.says("ok").happens(Input::Archive).kinds();
    assert!(story.happens(faulted(&[fault("vcrd_3", FaultKind::Unusable)])).kinds().is_empty());
}

#[test]
fn a_session_is_archived_only_at_rest_and_only_once() {
    let mut story = Story::new();
    story.message("hi").told();
    assert!(story.refuses(Input::Archive).contains("running"));
    story.fails(ModelErrorKind::Overloaded);
    assert!(story.refuses(Input::Archive).contains("running"));
    story.interrupt().told();
    assert_eq!(story.happens(Input::Archive).kinds(), ["session.thread_status_terminated", "session.status_terminated"]);
    assert!(story.happens(Input::Archive).kinds().is_empty());
    assert_eq!(story.state.status().as_str(), "terminated");
    assert!(story.refuses(Story::request(json!([message("x")]))).contains("archived"));
    assert!(story.refuses(update(json!({"title": "x"}))).contains("archived"));
    assert_eq!(story.sandbox().state.sandbox, None);
}

#[test]
fn archiving_loses_no_message_and_leaves_no_call_open() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit", "lookup"]).told();
    story.message("also").happens(Input::Archive);
    assert_eq!(story.told(), "result! user.message terminated");
    assert!(!story.state.is_unfinished());
}

#[test]
fn a_session_that_was_set_aside_goes_on_where_it_was() {
    let mut story = Story::new();
    story.message("hi").told();
    assert_eq!(story.happens(Input::SetAside { deaths: 3 }).told(), "!] error exhausted");
    assert_eq!((story.started(), story.state.is_unfinished()), (String::new(), false));
    assert!(story.refuses(Story::request(json!([message("x")]))).contains("retry"));
    assert_eq!(story.recovers().told(), "");
    assert_eq!(story.happens(Input::SetAside { deaths: 3 }).told(), "");
    assert_eq!(story.happens(retry()).told(), "running [");
    assert_eq!(story.started(), "model:1");
    assert!(story.refuses(retry()).contains("nothing to retry"));
}

#[test]
fn results_wait_while_a_session_is_set_aside() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash"]).happens(Input::SetAside { deaths: 3 }).told();
    assert_eq!(story.finishes(0).told(), "");
    assert_eq!(story.happens(retry()).started(), "run:bash");
    assert_eq!(story.finishes(0).told(), "running result [");
}

#[test]
fn a_retry_tells_how_things_stand_in_every_phase() {
    let mut idle = Story::new();
    idle.happens(Input::SetAside { deaths: 3 }).told();
    assert_eq!(idle.happens(retry()).told(), "running idle");

    let mut waits = Story::new();
    waits.message("hi").calls(&["edit"]).happens(Input::SetAside { deaths: 3 }).told();
    assert_eq!(waits.happens(retry()).told(), "running waits:1");

    let mut backoff = Story::new();
    backoff.message("hi").fails(ModelErrorKind::Overloaded).happens(Input::SetAside { deaths: 3 }).told();
    assert_eq!(backoff.happens(retry()).started(), "model:2");
    assert_eq!(backoff.told(), "running [");
}

#[test]
fn a_session_that_was_set_aside_can_be_archived() {
    let mut story = Story::new();
    story.message("hi").sandbox().calls(&["bash", "bash"]).interrupt().happens(Input::SetAside { deaths: 3 }).told();
    story.happens(Input::Archive);
    assert_eq!(story.told(), "result! user.interrupt terminated");
    assert_eq!(story.state.status().as_str(), "terminated");
    assert!(!story.state.is_unfinished());
    let ends: Vec<_> = story
        .records
        .iter()
        .filter_map(|record| if let RecordBody::CallSettled { outcome, .. } = &record.body { Some(outcome.end) } else { None })
        .collect();
    assert_eq!(ends, [crate::call::CallEnd::NotRun, crate::call::CallEnd::OutcomeUnknown]);

    let mut asking = Story::new();
    asking.message("hi").happens(Input::SetAside { deaths: 3 }).told();
    assert_eq!(asking.happens(Input::Archive).told(), "terminated");
    assert_eq!(asking.state.reserved(), None);
}
