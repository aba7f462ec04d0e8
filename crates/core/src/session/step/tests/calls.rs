//! Calls: order, permission, answers, and what becomes of them.

use serde_json::json;

use super::story::{Story, call, message, system};
use crate::limits;
use crate::model::ModelStop;
use crate::session::record::RecordBody;

#[test]
fn a_call_runs_once_there_is_a_sandbox_and_its_result_goes_to_the_model() {
    let mut story = Story::new();
    story.message("hi").told();
    assert_eq!(story.calls(&["bash"]).started(), "sandbox");
    assert_eq!(story.sandbox().started(), "run:bash");
    assert_eq!(story.finishes(0).started(), "model:1");
    assert_eq!(story.told(), "use:bash ] result [");
    let conversation = story.conversation();
    assert_eq!(
        conversation[2]["content"][0],
        json!({"type": "tool_result", "tool_use_id": "toolu_bash", "is_error": false, "content": [{"type": "text", "text": "out 0"}]})
    );
    assert_eq!(story.calls(&["bash"]).started(), "run:bash");
}

#[test]
fn reads_overlap_and_results_reach_the_model_in_the_order_of_the_calls() {
    let mut story = Story::new();
    story.message("hi").calls(&["read", "grep", "bash"]);
    assert_eq!(story.sandbox().started(), "run:read run:grep");
    assert_eq!(story.finishes(1).started(), "");
    assert_eq!(story.finishes(0).started(), "run:bash");
    assert_eq!(story.finishes(2).started(), "model:1");
    let results: Vec<_> = story.conversation()[2]["content"].as_array().unwrap().iter().map(|block| block["tool_use_id"].clone()).collect();
    assert_eq!(results, ["toolu_read", "toolu_grep", "toolu_bash"]);
}

#[test]
fn policies_decide_who_has_to_be_asked() {
    for (name, told, started) in [
        ("bash", "use:bash ]", "sandbox"),
        ("grep", "use:grep ]", "sandbox"),
        ("write", "use:write ] waits:1", ""),
        ("edit", "use:edit ] waits:1", ""),
        ("lookup", "use:lookup ] waits:1", ""),
        ("glob", "use:glob ] result! [", "model:1"),
        ("web_fetch", "use:web_fetch ] waits:1", ""),
        ("web_search", "use:web_search ]", "remote:web_search"),
        ("nonesuch", "use:nonesuch ] result! [", "model:1"),
    ] {
        let mut story = Story::new();
        story.message("hi").told();
        story.calls(&[name]);
        assert_eq!((story.told().as_str(), story.started().as_str()), (told, started), "{name}");
    }
}

#[test]
fn calls_whose_arguments_are_incomplete_are_not_run() {
    for name in ["bash", "lookup"] {
        let mut story = Story::new();
        story.message("hi").answered(vec![call(name, false)], ModelStop::ToolUse);
        assert_eq!(story.started(), "model:1", "{name}");
        assert_eq!(story.conversation()[2]["content"][0]["is_error"], true);
    }
}

#[test]
fn only_so_many_calls_of_one_answer_are_run() {
    let mut story = Story::new();
    story.message("hi").sandbox();
    story.calls(&vec!["read"; limits::CALLS_PER_ANSWER + 2]);
    let running = story.state.calls.iter().filter(|call| call.incarnation.is_some()).count();
    assert_eq!(running, limits::CALLS_PER_ANSWER);
}

#[test]
fn an_allowed_call_runs_and_a_denied_one_tells_the_model_why() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit"]).told();
    let allow = story.allow(0);
    assert_eq!(story.send(json!([allow])).started(), "sandbox");
    assert_eq!(story.told(), "user.tool_confirmation running");
    assert!(
        matches!(&story.records.iter().rev().nth(1).unwrap().body, RecordBody::Confirmed { input_sha256, .. } if input_sha256.len() == 64)
    );

    let mut story = Story::new();
    story.message("hi").calls(&["edit"]).told();
    let deny = story.deny(0);
    assert_eq!(story.send(json!([deny])).started(), "model:1");
    assert_eq!(story.told(), "user.tool_confirmation result! running [");
    assert!(story.conversation()[2].to_string().contains("too risky"));
}

#[test]
fn partial_answers_say_what_is_still_missing() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit", "lookup", "write"]);
    assert_eq!(story.told(), "user.message running [ use:edit use:lookup use:write ] waits:3");
    let answers = [story.result(1), story.allow(2), story.allow(0)];
    assert_eq!(story.send(json!([answers[0]])).told(), "user.custom_tool_result waits:2");
    assert_eq!(story.send(json!([answers[1]])).told(), "user.tool_confirmation waits:1");
    assert_eq!(story.send(json!([answers[2]])).told(), "user.tool_confirmation running");
    assert_eq!(story.sandbox().started(), "run:edit");
    assert_eq!(story.finishes(0).started(), "run:write");
    assert_eq!(story.finishes(2).started(), "model:1");
}

#[test]
fn what_needs_no_answer_runs_before_the_session_waits() {
    let mut story = Story::new();
    story.message("hi").calls(&["lookup", "bash", "edit"]).told();
    assert_eq!(story.started(), "sandbox");
    assert_eq!(story.sandbox().finishes(1).told(), "result waits:2");
}

#[test]
fn a_result_may_come_before_the_session_waits() {
    let mut story = Story::new();
    story.message("hi").calls(&["lookup", "bash"]).told();
    let result = story.result(0);
    assert_eq!(story.send(json!([result])).told(), "user.custom_tool_result");
    assert_eq!(story.sandbox().finishes(1).told(), "result [");
}

#[test]
fn answers_that_nobody_waits_for_are_refused_whole() {
    let mut story = Story::new();
    story.message("hi").calls(&["edit", "lookup", "bash"]);
    let (edit, lookup, bash) = (story.allow(0), story.result(1), story.allow(2));
    let wrong_kinds = [json!([story.allow(1)]), json!([story.result(0)]), json!([story.result(2)])];
    let unknown = json!([{"type": "user.tool_confirmation", "tool_use_id": "sevt_none", "result": "allow"}]);
    for request in
        [json!([bash]), json!([edit, edit]), json!([lookup, lookup]), json!([edit, bash]), unknown].into_iter().chain(wrong_kinds)
    {
        let before = story.state.clone();
        assert!(story.refuses(Story::request(request.clone())).contains("wait"), "{request}");
        assert_eq!(story.state, before);
    }
    story.send(json!([edit, lookup]));
    assert!(story.refuses(Story::request(json!([edit]))).contains("any more"));
    assert!(story.refuses(Story::request(json!([lookup]))).contains("any more"));
}

#[test]
fn a_message_while_calls_wait_is_for_the_next_turn() {
    let mut story = Story::new();
    story.message("hi").calls(&["lookup"]).told();
    story.message("also");
    assert_eq!((story.told(), story.state.queue.len()), (String::new(), 1));
    let result = story.result(0);
    story.send(json!([result])).says("done");
    assert_eq!(story.told(), "user.custom_tool_result running [ message ] idle user.message running [");
}

#[test]
fn instructions_go_with_what_they_stand_behind() {
    let mut story = Story::new();
    story.message("hi").calls(&["lookup"]).told();
    let result = story.result(0);
    assert!(story.refuses(Story::request(json!([message("x"), system("be kind")]))).contains("tool result"));
    story.send(json!([message("later"), result, system("be kind")]));
    assert_eq!(story.told(), "user.custom_tool_result system.message running [");
    let conversation = story.conversation();
    let (result, note) = (&conversation[2]["content"][0], &conversation[3]["content"][0]);
    assert_eq!((&result["type"], &note["text"]), (&json!("tool_result"), &json!("<system-message>\nbe kind\n</system-message>")));
    assert_eq!(story.state.queue.len(), 1);
}
