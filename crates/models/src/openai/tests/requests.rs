//! Requests against golden files, and the rules of their messages.

use ostler_core::model::{EffortLevel, ModelRequest, ToolSpec};
use serde_json::{Value, json};

use super::{TARGET, plain, user};
use crate::openai::options::{Adaptation, EffortWords, LimitField, OpenAiOptions};
use crate::openai::request;

fn encoded(request: &ModelRequest) -> Value {
    body(request, OpenAiOptions::default(), Adaptation::default())
}

fn body(request: &ModelRequest, options: OpenAiOptions, adaptation: Adaptation) -> Value {
    serde_json::from_slice(&request::encode(request, TARGET, options, adaptation).body).unwrap()
}

fn messages(context: &[Value]) -> Value {
    encoded(&plain(context))["messages"].take()
}

fn image() -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})
}

fn result(id: &str, content: Value) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": false})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "bash", "input": {"command": "ls \"a\""}})
}

#[test]
fn a_full_request() {
    let tool = |name: &str| ToolSpec::new(name, format!("does {name}"), &json!({"type": "object"}));
    let pdf =
        json!({"type": "document", "title": "Plan", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}});
    let notes = json!({"type": "document", "title": "Notes", "context": "of Monday", "source": {"type": "text", "media_type": "text/plain", "data": "be quick"}});
    let request = ModelRequest {
        system: vec!["be kind".into(), " ".into(), "be brief".into()],
        tools: std::sync::Arc::from([tool("bash"), tool("read")]),
        effort: Some(EffortLevel::Medium),
        ..plain(&[
            json!({"role": "user", "content": [image(), {"type": "text", "text": "what is \"this\"?"}, pdf, notes,
                {"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}]}),
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                call("toolu_1"), call("toolu_2"), call("toolu_3")]}),
            json!({"role": "user", "content": [
                result("toolu_2", json!([{"type": "text", "text": "see"}, image()])),
                result("toolu_1", json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
                {"type": "tool_result", "tool_use_id": "toolu_3", "is_error": true},
                {"type": "text", "text": "and hurry"}]}),
        ])
    };
    insta::assert_json_snapshot!(encoded(&request));
}

#[test]
fn a_bare_request_has_no_empty_fields() {
    insta::assert_json_snapshot!(encoded(&plain(&[user("hi")])));
}

#[test]
fn options_and_what_was_learnt_decide_the_optional_fields() {
    let request = |effort| ModelRequest { effort, ..plain(&[user("hi")]) };
    let openai = OpenAiOptions { limit_field: LimitField::MaxCompletionTokens, takes_files: true };
    let sent = body(&request(None), openai, Adaptation::default());
    assert_eq!(
        (&sent["max_completion_tokens"], &sent["max_tokens"], &sent["reasoning_effort"]),
        (&json!(1_000), &Value::Null, &Value::Null)
    );
    let adaptation = Adaptation { other_limit: true, without_counts: true, effort: EffortWords::None, ..Adaptation::default() };
    let sent = body(&request(Some(EffortLevel::Low)), openai, adaptation);
    assert_eq!((&sent["max_completion_tokens"], &sent["max_tokens"]), (&Value::Null, &json!(1_000)));
    assert_eq!((&sent["stream_options"], &sent["reasoning_effort"]), (&Value::Null, &Value::Null));
    let word = |effort, words| {
        body(&request(Some(effort)), openai, Adaptation { effort: words, ..Adaptation::default() })["reasoning_effort"].take()
    };
    for (effort, all, to_high) in [
        (EffortLevel::Low, "low", "low"),
        (EffortLevel::Medium, "medium", "medium"),
        (EffortLevel::High, "high", "high"),
        (EffortLevel::Xhigh, "xhigh", "high"),
        (EffortLevel::Max, "xhigh", "high"),
    ] {
        assert_eq!((word(effort, EffortWords::All), word(effort, EffortWords::ToHigh)), (json!(all), json!(to_high)));
    }
}

#[test]
fn every_call_is_answered_once_in_order_directly_behind_the_calls() {
    let sent = messages(&[
        user("hi"),
        json!({"role": "assistant", "content": [call("a"), call("b"), call("c")]}),
        json!({"role": "user", "content": [result("c", json!("3")), result("a", json!("1")), result("orphan", json!("x"))]}),
        json!({"role": "assistant", "content": [call("d")]}),
        json!({"role": "assistant", "content": "and"}),
        json!({"role": "user", "content": "so"}),
        json!({"role": "assistant", "content": [call("e")]}),
    ]);
    let roles: Vec<String> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            format!(
                "{} {}",
                message["role"].as_str().unwrap(),
                message["tool_call_id"].as_str().or(message["content"].as_str()).unwrap_or("-")
            )
        })
        .collect();
    let expected = [
        "user hi",
        "assistant -",
        "tool a",
        "tool b",
        "tool c",
        "assistant -",
        "tool d",
        "assistant and",
        "user so",
        "assistant -",
        "tool e",
    ];
    assert_eq!(roles, expected);
    assert_eq!(sent[3]["content"], "Error: the result of this call is not known.");
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], "{\"command\":\"ls \\\"a\\\"\"}");
}

#[test]
fn results_say_that_they_are_errors_once_and_are_never_empty() {
    let text = |content: Value, is_error: bool| {
        let mut block = result("a", content);
        block["is_error"] = json!(is_error);
        messages(&[json!({"role": "assistant", "content": [call("a")]}), json!({"role": "user", "content": [block]})])[1]["content"].clone()
    };
    assert_eq!(text(json!("broken"), true), "Error: broken");
    assert_eq!(text(json!([{"type": "text", "text": "Error: broken"}]), true), "Error: broken");
    assert_eq!(text(json!("Error: fine"), false), "Error: fine");
    assert_eq!(text(json!([]), false), "(no output)");
    assert_eq!(text(json!(null), true), "Error: (no output)");
    assert_eq!(text(json!([image(), image()]), false), "[2 attached to the next message]");
}

#[test]
fn images_of_results_come_before_what_the_user_says_beside_them() {
    let sent = messages(&[
        json!({"role": "assistant", "content": [call("a"), call("b")]}),
        json!({"role": "user", "content": [result("a", json!([image()])), result("b", json!([image()])), {"type": "text", "text": "well?"}]}),
    ]);
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let expected = json!([text("From the result of call a:"), picture, text("From the result of call b:"), picture, text("well?")]);
    assert_eq!((&sent[3]["role"], &sent[3]["content"]), (&json!("user"), &expected));
}

#[test]
fn what_has_no_part_of_its_own_is_told_in_words() {
    let said = |block: Value| messages(&[json!({"role": "user", "content": [block]})])[0]["content"].clone();
    for (block, words) in [
        (json!({"type": "image", "source": {"type": "file", "file_id": "f"}}), "An image was here"),
        (
            json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}),
            "of type application/pdf was here",
        ),
        (json!({"type": "document", "title": "T", "source": {"type": "url", "url": "https://host/d"}}), "\"T\" is at https://host/d"),
        (json!({"type": "document", "source": {"type": "file", "file_id": "f"}}), "A document was here"),
        (json!({"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]}), "found"),
        (json!({"type": "redacted"}), "taken out"),
        (json!({"type": "hologram"}), "\"hologram\" was here"),
    ] {
        let text = said(block.clone());
        assert!(text.as_str().is_some_and(|text| text.contains(words)), "{block}: {text}");
    }
    let file = body(
        &plain(&[
            json!({"role": "user", "content": [{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}]}),
        ]),
        OpenAiOptions { takes_files: true, ..OpenAiOptions::default() },
        Adaptation::default(),
    );
    let expected = json!([{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,x"}}]);
    assert_eq!(file["messages"][0]["content"], expected);
}

#[test]
fn messages_of_which_nothing_is_left_are_left_out() {
    let nothing = [
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "s"}]}),
        json!({"role": "assistant", "content": [{"type": "text", "text": " "}]}),
        json!({"role": "user", "content": []}),
        json!("no message"),
    ];
    let context: Vec<Value> = [user("a")].into_iter().chain(nothing).chain([user("b")]).collect();
    assert_eq!(messages(&context), json!([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]));
}
