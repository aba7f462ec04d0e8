//! MCP servers in a turn.

use serde_json::{Value, json};

use super::story::Story;
use crate::session::mcp::offered;
use crate::session::step::Input;

const TOUCH: &str = "mcp__far__touch";

fn story(policy: &str) -> Story {
    Story::with(json!({
        "mcp_servers": [{"type": "url", "name": "far", "url": "https://far.test"}],
        "tools": [
            {"type": "agent_toolset_20260401"},
            {"type": "mcp_toolset", "mcp_server_name": "far", "default_config": {"permission_policy": {"type": policy}},
             "configs": [{"name": "hidden", "enabled": false}]}
        ]
    }))
}

fn failed(is_authentication: bool) -> Input {
    Input::McpFailed { server: "far".into(), url: "https://far.test".into(), message: "no".into(), is_authentication }
}

#[test]
fn tools_are_listed_before_the_model_is_asked() {
    let mut story = story("always_allow");
    story.message("hi");
    assert_eq!((story.told().as_str(), story.started().as_str()), ("user.message running", "list:far"));
    story.lists("far", &[("touch", "d"), ("hidden", "d")]);
    assert_eq!((story.told().as_str(), story.started().as_str()), ("[", "model:1"));
    let names: Vec<String> = offered(&story.state.agent, &story.state.mcp).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [TOUCH], "what is not enabled is not offered");
    story.calls(&[TOUCH, "mcp__far__hidden"]);
    assert_eq!(story.told(), "use:far/touch use:mcp__far__hidden ] result!");
    assert_eq!(story.started(), format!("remote:{TOUCH}"), "no sandbox is needed");
    story.finishes(0).says("done");
    assert_eq!(story.told(), "far-result [ message ] idle");
    story.message("again");
    assert_eq!(story.started(), "model:1", "a list holds for a while");
}

#[test]
fn a_server_that_fails_is_told_and_asked_again_in_the_next_turn() {
    for (is_authentication, kind) in [(true, "mcp_authentication_failed_error"), (false, "mcp_connection_failed_error")] {
        let mut story = story("always_allow");
        story.message("hi").happens(failed(is_authentication));
        assert_eq!(story.told(), "user.message running error [");
        let record = serde_json::to_value(&story.records[2].body).unwrap();
        assert_eq!((&record["error"]["type"], &record["error"]["mcp_server_name"]), (&json!(kind), &json!("far")));
        story.says("without it").message("again");
        assert_eq!(story.started(), "list:far");
        story.lists("far", &[("touch", "d")]).happens(failed(false));
        assert_eq!(story.told(), "message ] idle user.message running [", "a late failure changes nothing");
    }
}

#[test]
fn an_interrupt_does_not_wait_for_a_server() {
    let mut story = story("always_allow");
    story.message("hi").interrupt();
    assert_eq!(story.told(), "user.message running user.interrupt idle");
}

#[test]
fn what_a_tool_has_become_is_asked_about_once() {
    let mut story = story("always_allow");
    story.message("hi").lists("far", &[("touch", "reads")]).says("ok");
    story.wait_minutes(11).message("again");
    assert_eq!(story.started(), "list:far", "an old list is asked for again");
    story.lists("far", &[("touch", "deletes everything"), ("new", "d")]).told();
    story.calls(&[TOUCH, "mcp__far__new"]);
    assert_eq!(story.told(), "use:far/touch use:far/new ] waits:2");
    let answers: Vec<Value> = vec![story.allow(0), story.deny(1)];
    story.send(Value::Array(answers)).finishes(0).calls(&[TOUCH, "mcp__far__new"]);
    assert!(story.told().ends_with("use:far/touch use:far/new ]"), "the first was allowed and runs");
    assert_eq!(story.started(), format!("remote:{TOUCH}"));
    story.finishes(0);
    assert_eq!(story.told(), "far-result waits:1", "the second was never allowed");
}

#[test]
fn a_call_that_was_under_way_when_the_server_stopped_has_an_unknown_outcome() {
    let mut story = story("always_allow");
    story.message("hi").lists("far", &[("touch", "d")]).calls(&[TOUCH, "bash"]).told();
    story.recovers();
    assert_eq!(story.told(), "far-result!");
    assert_eq!(story.started(), "sandbox", "what comes after it goes on");
}

#[test]
fn asking_is_the_default_and_auto_trusts_no_server() {
    for policy in ["always_ask", "auto"] {
        let mut story = story(policy);
        story.message("hi").lists("far", &[("touch", "d")]).calls(&[TOUCH]);
        assert!(story.told().ends_with("waits:1"), "{policy}");
    }
}

#[test]
fn another_address_under_the_same_name_is_another_server() {
    let mut story = story("always_allow");
    story.message("hi").lists("far", &[("touch", "d")]).says("ok");
    let servers = json!([{"type": "url", "name": "far", "url": "https://elsewhere.test"}]);
    story.happens(Input::Update(Box::new(serde_json::from_value(json!({"agent": {"mcp_servers": servers}})).unwrap())));
    assert!(story.state.mcp.is_empty());
    story.message("again");
    assert_eq!(story.started(), "list:far");
}
