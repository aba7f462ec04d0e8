//! Against the scripted server, over real connections: what the adapter sends keeps the rules of the
//! strictest server, and what comes back is understood.

use std::sync::Arc;

use ostler_core::ids::IdSource;
use ostler_core::model::{BlockKind, Fragment, ModelError, ModelErrorKind, ModelRequest, ModelResponse, ModelStop, ToolSpec};
use ostler_testkit::{FaultProxy, ModelServer, Outcome};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{plain, user};
use crate::test_egress::{TestEgress, provider};
use crate::{Anthropic, Model, ModelEvent, OpenAi, OpenAiOptions, PreviewKind, ProviderKind};

fn transport(base_url: &str) -> Arc<TestEgress> {
    Arc::new(TestEgress::start(vec![
        provider("chat", &format!("{base_url}/v1"), ProviderKind::OpenAi),
        provider("anthropic", base_url, ProviderKind::Anthropic),
    ]))
}

fn model(base_url: &str) -> OpenAi {
    OpenAi::new(transport(base_url), "chat", OpenAiOptions::for_base_url(base_url))
}

async fn say(model: &OpenAi, text: &str, events: &mut (dyn FnMut(ModelEvent) + Send)) -> Result<ModelResponse, ModelError> {
    model.answer(plain(&[user(text)]), IdSource::new(1, 1), events, CancellationToken::new()).await
}

#[tokio::test]
async fn a_scripted_answer_arrives_whole() {
    let server = ModelServer::start().await;
    let mut seen = Vec::new();
    let script = "USAGE 10 20 5\nTHINK hm\nSAY hello you\nTOOL bash {\"command\": \"ls\"}\nTOOL read {}";
    let answer = say(&model(&server.base_url()), script, &mut |event| seen.push(event)).await.unwrap();
    assert_eq!((answer.blocks.len(), &answer.stop), (4, &ModelStop::ToolUse));
    assert_eq!((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cache_read_input_tokens), (10, 20, 5));
    assert!(matches!(&answer.blocks[2].kind, BlockKind::ToolCall { input, complete: true, .. } if *input == json!({"command": "ls"})));
    let begun = seen.iter().filter_map(|event| match event {
        ModelEvent::BlockStarted { kind, event_id, .. } => Some((*kind, event_id.clone())),
        _ => None,
    });
    let expected = [PreviewKind::Thinking, PreviewKind::Text, PreviewKind::Other, PreviewKind::Other];
    let ids = answer.blocks.iter().map(|block| block.event_id.clone());
    assert_eq!(begun.collect::<Vec<_>>(), expected.into_iter().zip(ids).collect::<Vec<_>>());
    let request = &server.requests()[0];
    assert_eq!((request.path.as_str(), request.headers["authorization"].as_str()), ("/v1/chat/completions", "Bearer sk-test"));
    assert_eq!(server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn failures_are_classified() {
    let server = ModelServer::start().await;
    let model = model(&server.base_url());
    for (script, kind) in [
        ("FAIL 503 1\nSAY x", ModelErrorKind::Overloaded),
        ("FAIL 429 1\nSAY x", ModelErrorKind::RateLimited),
        ("FAIL 401 1\nSAY x", ModelErrorKind::Authentication),
        ("FAIL 404 1\nSAY x", ModelErrorKind::Rejected),
        ("SAY abcdefghijklmnopqrstuvwxyz\nDISCONNECT", ModelErrorKind::Unavailable),
        ("SAY abcdefghijklmnopqrstuvwxyz\nERROR_EVENT overloaded_error", ModelErrorKind::Overloaded),
    ] {
        assert_eq!(say(&model, script, &mut |_| {}).await.unwrap_err().kind, kind, "{script}");
    }
}

#[tokio::test]
async fn cancelling_closes_the_connection() {
    let server = ModelServer::start().await;
    let cancel = CancellationToken::new();
    let model = model(&server.base_url());
    let asked = tokio::spawn({
        let cancel = cancel.clone();
        async move { model.answer(plain(&[user("SAY x\nGATE g\nSAY y")]), IdSource::new(1, 1), &mut |_| {}, cancel).await }
    });
    server.reached("g").await;
    cancel.cancel();
    assert_eq!(asked.await.unwrap().unwrap_err().kind, ModelErrorKind::Cancelled);
    assert_eq!(server.outcome_of(1).await, Outcome::Aborted);
}

#[tokio::test]
async fn an_answer_cut_anywhere_on_the_wire_is_unavailable() {
    let server = ModelServer::start().await;
    let proxy = FaultProxy::start(server.addr()).await.unwrap();
    let model = model(&format!("http://{}", proxy.addr()));
    for bytes in [0, 1, 40, 300, 500, 700] {
        proxy.cut_after(bytes);
        let error = say(&model, "SAY a text that is long enough to be cut in many places", &mut |_| {}).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unavailable, "cut after {bytes}");
        assert!(!error.message.contains("sk-test"));
    }
    proxy.stop_cutting();
    assert!(say(&model, "SAY fine", &mut |_| {}).await.is_ok());
}

#[tokio::test]
async fn a_session_that_changes_its_dialect_at_every_step_keeps_the_rules_of_both() {
    let server = ModelServer::start().await;
    let wires = transport(&server.base_url());
    let (chat, anthropic) = (OpenAi::new(wires.clone(), "chat", OpenAiOptions::default()), Anthropic::new(wires, "anthropic"));
    let step = "THINK hm\nSAY step {{step}}\nTOOL bash {\"command\": \"ls\"}\nTOOL read {}\n";
    let mut context = vec![user(&format!("{}SAY done", step.repeat(6)))];
    for turn in 0..7_u64 {
        let adapter: &dyn Model = if turn % 3 == 1 { &anthropic } else { &chat };
        let tool = ToolSpec::new("bash", "runs", &json!({"type": "object"}));
        let messages = context.iter().map(|message: &Value| Fragment::new(message.to_string())).collect::<Vec<_>>().into();
        let request = ModelRequest { messages, tools: Arc::from([tool]), ..plain(&[]) };
        let answer = adapter.answer(request, IdSource::new(1, turn), &mut |_| {}, CancellationToken::new()).await.unwrap();
        let blocks: Vec<Value> = answer.blocks.iter().map(|block| block.raw.clone()).collect();
        if turn == 6 {
            assert_eq!(answer.blocks[0].kind, BlockKind::Text { text: "done".to_owned() });
            break;
        }
        let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
        let result = |call: &Value| json!({"type": "tool_result", "tool_use_id": call["id"], "is_error": turn == 2, "content": [{"type": "text", "text": "out"}, image]});
        let results: Vec<Value> = calls.map(result).collect();
        assert_eq!(results.len(), 2, "turn {turn}");
        context.push(json!({"role": "assistant", "content": blocks}));
        context.push(json!({"role": "user", "content": results}));
    }
    assert_eq!(server.violations(), Vec::<String>::new());
}
