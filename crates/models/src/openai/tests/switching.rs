//! A conversation that changes model, provider and dialect in its middle, and comes back.

use std::sync::Arc;

use ostler_core::ids::IdSource;
use ostler_core::model::{Fragment, ModelRequest, ModelResponse};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{plain, user};
use crate::test_transport::Canned;
use crate::{Anthropic, Model, OpenAi, OpenAiOptions};

/// Providers, each with one answer that it gives to everything.
struct Desk {
    claude: (Arc<Canned>, Anthropic),
    router: (Arc<Canned>, OpenAi),
    seed: u64,
    context: Vec<Value>,
}

impl Desk {
    fn new(claude: &Value, router: &Value) -> Self {
        let canned = |body: &Value| Arc::new(Canned::new(200, "application/json", body.to_string()));
        let (claude, router) = (canned(claude), canned(router));
        Self {
            claude: (claude.clone(), Anthropic::new(claude, "anthropic")),
            router: (router.clone(), OpenAi::new(router, "router", OpenAiOptions::default())),
            seed: 0,
            context: vec![user("begin")],
        }
    }

    /// Asks, and answers the calls of what comes back; gives the request's messages.
    async fn turn(&mut self, model: &str) -> Value {
        let (canned, adapter): (&Canned, &dyn Model) =
            if model.starts_with("claude") { (&self.claude.0, &self.claude.1) } else { (&self.router.0, &self.router.1) };
        self.seed += 1;
        let messages: Vec<Fragment> = self.context.iter().map(|message| Fragment::new(message.to_string())).collect();
        let request = ModelRequest { model: model.into(), messages: messages.into(), ..plain(&[]) };
        let answered = adapter.answer(request, IdSource::new(1, self.seed), &mut |_| {}, CancellationToken::new()).await.unwrap();
        let sent = canned.sent().pop().unwrap();
        self.keep(answered);
        serde_json::from_slice::<Value>(&sent.body.unwrap()).unwrap()["messages"].take()
    }

    fn keep(&mut self, answered: ModelResponse) {
        let blocks: Vec<Value> = answered.blocks.into_iter().map(|block| block.raw).collect();
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
        let result = |call: &Value| json!({"type": "tool_result", "tool_use_id": call["id"], "is_error": false, "content": [{"type": "text", "text": "out"}, image]});
        let results: Vec<Value> = calls.map(result).collect();
        self.context.push(json!({"role": "assistant", "content": blocks}));
        self.context.push(json!({"role": "user", "content": results}));
    }
}

fn claude_answer(id: &str) -> Value {
    json!({"type": "message", "model": "claude-x", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": id, "name": "bash", "input": {"command": "ls"}},
    ]})
}

fn router_answer(id: &str) -> Value {
    json!({"model": "gpt", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I see.", "reasoning": "well",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1"}],
        "tool_calls": [{"id": id, "type": "function", "extra_content": {"signature": "Ciw+"}, "function": {"name": "functions.bash", "arguments": "{\"command\":\"pwd\"}"}}],
    }}]})
}

/// No request ever shows what is private.
fn assert_clean(sent: &Value) {
    assert!(!sent.to_string().contains("ostler"), "{sent}");
}

#[tokio::test]
async fn from_anthropic_to_chat_completions_and_back() {
    let mut desk = Desk::new(&claude_answer("toolu_01A"), &router_answer("functions.bash:0"));
    desk.turn("claude-x").await;
    let to_router = desk.turn("gpt").await;
    assert_clean(&to_router);
    insta::assert_json_snapshot!("anthropic_to_chat_completions", to_router);
    desk.claude.0 = Arc::new(Canned::new(200, "application/json", claude_answer("toolu_01B").to_string()));
    desk.claude.1 = Anthropic::new(desk.claude.0.clone(), "anthropic");
    let back = desk.turn("claude-x").await;
    assert_clean(&back);
    insta::assert_json_snapshot!("anthropic_after_a_detour", back);
    // Signed blocks are as they came, and what the other made has no traces but text, calls and results.
    assert_eq!(back[1]["content"][0], json!({"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"}));
    assert_eq!(back[3]["content"][1]["id"], back[4]["content"][0]["tool_use_id"]);
}

#[tokio::test]
async fn from_chat_completions_to_anthropic_and_back() {
    let mut desk = Desk::new(&claude_answer("toolu_01A"), &router_answer("functions.bash:0"));
    desk.turn("gpt").await;
    let to_claude = desk.turn("claude-x").await;
    assert_clean(&to_claude);
    insta::assert_json_snapshot!("chat_completions_to_anthropic", to_claude);
    let back = desk.turn("gpt").await;
    assert_clean(&back);
    insta::assert_json_snapshot!("chat_completions_after_a_detour", back);
    // The maker gets back its own id, reasoning and fields; the same beginning as ever.
    assert_eq!(back[1]["tool_calls"][0]["id"], "functions.bash:0");
    assert_eq!(back[1]["reasoning_details"][0]["data"], "gAAA");
    assert_eq!(back[1]["tool_calls"][0]["extra_content"]["signature"], "Ciw+");
}

#[tokio::test]
async fn another_model_of_the_same_server_gets_no_reasoning_and_a_plain_id() {
    let mut desk = Desk::new(&claude_answer("toolu_01A"), &router_answer("functions.bash:0"));
    desk.turn("gpt").await;
    let sent = desk.turn("qwen").await;
    assert_clean(&sent);
    let call = &sent[1]["tool_calls"][0];
    assert_eq!((&sent[1]["reasoning_details"], &call["extra_content"]), (&Value::Null, &Value::Null));
    assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
    assert_eq!(sent[2]["tool_call_id"], call["id"]);
}

#[tokio::test]
async fn each_target_sees_the_same_beginning_in_every_request() {
    let mut desk = Desk::new(&claude_answer("toolu_01A"), &router_answer("call_1"));
    let mut seen: Vec<(&str, Value)> = Vec::new();
    for (turn, model) in ["claude-x", "gpt", "claude-x", "qwen", "gpt", "claude-y", "claude-x"].into_iter().enumerate() {
        desk.claude.0 = Arc::new(Canned::new(200, "application/json", claude_answer(&format!("toolu_{turn}")).to_string()));
        desk.claude.1 = Anthropic::new(desk.claude.0.clone(), "anthropic");
        let mut sent = desk.turn(model).await;
        // The cache marker moves with the end of the conversation; it is none of the content.
        for block in sent.as_array_mut().unwrap().iter_mut().filter_map(|message| message["content"].as_array_mut()).flatten() {
            block.as_object_mut().unwrap().remove("cache_control");
        }
        if let Some((_, before)) = seen.iter().rev().find(|(other, _)| *other == model) {
            let count = before.as_array().unwrap().len();
            assert_eq!(sent.as_array().unwrap()[..count], before.as_array().unwrap()[..], "{model} in turn {turn}");
        }
        seen.push((model, sent));
    }
}
