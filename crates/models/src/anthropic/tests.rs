//! Requests and answers against golden files, and the adapter against transports that stall,
//! break and lie.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ostler_core::ids::IdSource;
use ostler_core::model::{BlockKind, EffortLevel, Fragment, ModelError, ModelErrorKind, ModelRequest, ModelResponse, ModelStop, ToolSpec};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::{Anthropic, DIALECT, request};
use crate::AnswerTimeouts;
use crate::exchange::ReadAnswer;
use crate::frames::FrameDecoder;
use crate::limits::BLOCKS_PER_ANSWER;
use crate::origin::Origin;
use crate::test_transport::Canned;
use crate::transport::{ModelTransport, TransportError};
use crate::{Model, ModelEvent, PreviewKind};

// ---- requests

fn plain(messages: &[Value]) -> ModelRequest {
    ModelRequest {
        model: "claude-x".to_owned(),
        system: Vec::new(),
        tools: Arc::from([]),
        messages: messages.iter().map(|message| Fragment::new(message.to_string())).collect::<Vec<_>>().into(),
        max_tokens: 1_000,
        effort: None,
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

fn target() -> Origin<'static> {
    Origin { dialect: DIALECT, provider: "main", model: "claude-x" }
}

fn encoded(request: &ModelRequest) -> Value {
    serde_json::from_slice(&request::encode(request, target())).unwrap()
}

#[test]
fn a_full_request() {
    let tool = |name: &str| ToolSpec::new(name, format!("does {name}"), &json!({"type": "object"}));
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let request = ModelRequest {
        system: vec!["be kind".into(), " ".into(), "be brief".into()],
        tools: Arc::from([tool("bash"), tool("read")]),
        effort: Some(EffortLevel::Xhigh),
        ..plain(&[
            json!({"role": "user", "content": [image, {"type": "text", "text": "what is \"this\"?"}]}),
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}},
                {"type": "tool_use", "id": "b", "name": "read", "input": {}}]}),
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x"}]},
                {"type": "tool_result", "tool_use_id": "b", "content": [image], "is_error": true}]}),
        ])
    };
    insta::assert_json_snapshot!(encoded(&request));
}

#[test]
fn a_bare_request_has_no_empty_fields() {
    insta::assert_json_snapshot!(encoded(&plain(&[user("hi")])));
}

#[test]
fn only_the_last_message_is_touched() {
    let odd = "{\"role\":\"user\",  \"content\":\"kept as it is\"}";
    let mut request = plain(&[user("last")]);
    Arc::make_mut(&mut request.messages).insert(0, Fragment::new(odd));
    let body = String::from_utf8(request::encode(&request, target()).to_vec()).unwrap();
    assert!(body.contains(odd), "{body}");
}

#[test]
fn the_cache_marker_goes_on_the_last_block_that_can_carry_it() {
    let mark = json!({"type": "ephemeral"});
    let last = |content: Value| encoded(&plain(&[json!({"role": "user", "content": content})]))["messages"][0]["content"].clone();
    assert_eq!(last(json!("text"))[0]["cache_control"], mark);
    assert_eq!(last(json!([{"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "x"}]))[1]["cache_control"], mark);
    for unmarkable in [
        json!([{"type": "thinking", "thinking": "x", "signature": "s"}]),
        json!([{"type": "redacted_thinking", "data": "x"}]),
        json!([{"type": "text", "text": ""}]),
        json!([]),
        json!(7),
    ] {
        assert_eq!(last(unmarkable.clone()), unmarkable);
    }
}

// ---- answers

fn frame(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

fn stream_of(events: &[Value]) -> String {
    events.iter().map(frame).collect()
}

fn started() -> Value {
    let usage = json!({"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": null});
    json!({"type": "message_start", "message": {"model": "claude-x-1", "content": [], "usage": usage}})
}

fn stopped(reason: &str) -> Vec<Value> {
    let usage = json!({"output_tokens": 20, "input_tokens": null, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}});
    vec![json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}), json!({"type": "message_stop"})]
}

fn block(index: usize, start: Value, deltas: &[Value]) -> Vec<Value> {
    let mut events = vec![json!({"type": "content_block_start", "index": index, "content_block": start})];
    events.extend(deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

fn text_delta(text: &str) -> Value {
    json!({"type": "text_delta", "text": text})
}

fn input_delta(text: &str) -> Value {
    json!({"type": "input_json_delta", "partial_json": text})
}

fn tool(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "bash", "input": {}})
}

fn message(blocks: Vec<Vec<Value>>, reason: &str) -> Vec<Value> {
    [started()].into_iter().chain(blocks.into_iter().flatten()).chain(stopped(reason)).collect()
}

/// Everything in one answer that a provider may send.
fn rich() -> Vec<Value> {
    let mut events = message(
        vec![
            block(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                &[
                    json!({"type": "thinking_delta", "thinking": "let "}),
                    json!({"type": "thinking_delta", "thinking": "me é"}),
                    json!({"type": "signature_delta", "signature": "c2ln"}),
                ],
            ),
            block(1, json!({"type": "redacted_thinking", "data": "xxx"}), &[]),
            block(
                2,
                json!({"type": "text", "text": "", "new_field": [1]}),
                &[
                    text_delta("\n "),
                    text_delta("Hi 🦀"),
                    json!({"type": "citations_delta", "citation": {"cited_text": "c"}}),
                    json!({"type": "unknown_delta", "text": "dropped"}),
                    text_delta("!"),
                ],
            ),
            block(3, tool("a"), &[input_delta(""), input_delta("{\"command\": \"l"), input_delta("s\"}")]),
            block(4, tool("b"), &[]),
            block(
                5,
                json!({"type": "compaction", "content": ""}),
                &[json!({"type": "compaction_delta", "content": "sum"}), json!({"type": "compaction_delta", "content": "mary"})],
            ),
            block(6, json!({"type": "text", "text": ""}), &[]),
        ],
        "tool_use",
    );
    events.insert(1, json!({"type": "ping"}));
    events.insert(2, json!({"type": "event_of_tomorrow", "x": 1}));
    events
}

/// `{"x": [[..]]}` nested so deep in all.
fn nested(depth: usize) -> String {
    format!("{{\"x\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
}

#[test]
fn what_is_nested_too_deeply_to_be_read_again_is_not_taken() {
    for (depth, complete) in [(2, true), (64, true), (65, false), (122, false), (126, false), (127, false), (500, false)] {
        let mut citation = json!({"cited_text": "c"});
        if depth < 100 {
            citation["more"] = serde_json::from_str(&nested(depth)).unwrap();
        }
        let text =
            block(0, json!({"type": "text", "text": ""}), &[text_delta("hi"), json!({"type": "citations_delta", "citation": citation})]);
        let call = block(1, tool("a"), &[input_delta(&nested(depth))]);
        let answer = answer_to(&message(vec![text, call], "tool_use")).unwrap();
        let BlockKind::ToolCall { complete: whole, input, .. } = &answer.blocks[1].kind else { panic!("{depth}") };
        assert_eq!((*whole, input == &json!({})), (complete, !complete), "{depth}");
        // As deep as records, frames and requests wrap it, with much to spare.
        let wrapped = format!("{}{}{}", "[".repeat(40), serde_json::to_string(&answer.blocks).unwrap(), "]".repeat(40));
        assert!(serde_json::from_str::<Value>(&wrapped).is_ok(), "{depth}");
    }
}

fn read(chunks: impl IntoIterator<Item = Bytes>) -> (Result<ModelResponse, ModelError>, Vec<ModelEvent>) {
    let mut answer = Answer::new(IdSource::new(1, 1));
    let mut decoder = FrameDecoder::new();
    let mut seen = Vec::new();
    let mut events = |event| seen.push(event);
    for chunk in chunks {
        let read = decoder.push(chunk).and_then(|frames| frames.iter().try_for_each(|data| answer.read_event(data, &mut events)));
        if let Err(error) = read {
            return (Err(error), seen);
        }
    }
    (answer.finish("asked"), seen)
}

fn answer_to(events: &[Value]) -> Result<ModelResponse, ModelError> {
    read([Bytes::from(stream_of(events))]).0
}

#[test]
fn a_rich_answer() {
    let (answer, events) = read([Bytes::from(stream_of(&rich()))]);
    insta::assert_json_snapshot!(answer.unwrap());
    insta::assert_debug_snapshot!(events);
}

#[test]
fn every_split_of_the_bytes_gives_the_same_answer() {
    let bytes = Bytes::from(stream_of(&rich()));
    let whole = read([bytes.clone()]);
    for at in 0..=bytes.len() {
        assert_eq!(read([bytes.slice(..at), bytes.slice(at..)]), whole, "split at {at}");
    }
    assert_eq!(read((0..bytes.len()).map(|at| bytes.slice(at..=at))), whole, "byte by byte");
    let crlf = Bytes::from(stream_of(&rich()).replace('\n', "\r\n"));
    assert_eq!(read([crlf]), whole, "other line ends");
}

proptest! {
    #[test]
    fn any_chunks_give_the_same_answer(mut cuts in proptest::collection::vec(0_usize..4_000, 0..20)) {
        let bytes = Bytes::from(stream_of(&rich()));
        cuts.extend([0, bytes.len()]);
        cuts.iter_mut().for_each(|cut| *cut = (*cut).min(bytes.len()));
        cuts.sort_unstable();
        let chunks: Vec<Bytes> = cuts.windows(2).map(|pair| bytes.slice(pair[0]..pair[1])).collect();
        prop_assert_eq!(read(chunks), read([bytes]));
    }

    #[test]
    fn hostile_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..4_000) {
        let mut bytes = stream_of(&rich()).into_bytes();
        let at = at.min(bytes.len());
        bytes.splice(at..at, noise);
        let _ = read([Bytes::from(bytes)]);
    }
}

#[test]
fn every_cut_of_the_stream_is_an_error() {
    let bytes = Bytes::from(stream_of(&rich()));
    let end = bytes.len() - "\n".len();
    for at in 0..end {
        let error = read([bytes.slice(..at)]).0.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unavailable, "cut at {at}");
    }
}

#[test]
fn stop_reasons() {
    let stop = |reason: &str| answer_to(&message(Vec::new(), reason)).unwrap().stop;
    assert_eq!(stop("end_turn"), ModelStop::EndTurn);
    assert_eq!(stop("tool_use"), ModelStop::ToolUse);
    assert_eq!(stop("max_tokens"), ModelStop::MaxTokens);
    for other in ["pause_turn", "model_context_window_exceeded", "stop_sequence", "new_reason"] {
        assert_eq!(stop(other), ModelStop::Other { reason: other.to_owned() });
    }
    assert_eq!(stop("refusal"), ModelStop::Refusal { category: None, explanation: None });
    let mut events = message(Vec::new(), "refusal");
    events[1]["delta"]["stop_details"] = json!({"type": "refusal", "category": "cyber", "explanation": "no\nway"});
    let expected = ModelStop::Refusal { category: Some("cyber".into()), explanation: Some("no way".into()) };
    assert_eq!(answer_to(&events).unwrap().stop, expected);
}

/// The completeness and the input of the answer's calls.
fn calls(events: &[Value]) -> Vec<(bool, Value)> {
    let blocks = answer_to(events).unwrap().blocks;
    let calls = blocks.into_iter().filter_map(|block| match block.kind {
        BlockKind::ToolCall { complete, input, .. } => {
            assert_eq!(block.raw["input"], input);
            Some((complete, input))
        }
        _ => None,
    });
    calls.collect()
}

#[test]
fn calls_that_are_not_whole_are_marked() {
    let whole = || block(0, tool("a"), &[input_delta("{\"x\": 1}")]);
    let cut = || block(1, tool("b"), &[input_delta("{\"x\": ")]);
    let empty = || block(1, tool("b"), &[]);
    let incomplete = (false, json!({}));
    assert_eq!(calls(&message(vec![whole(), cut()], "max_tokens")), [(true, json!({"x": 1})), incomplete.clone()]);
    assert_eq!(calls(&message(vec![whole(), cut()], "tool_use"))[1], incomplete);
    assert_eq!(calls(&message(vec![whole()], "max_tokens")), [(true, json!({"x": 1}))]);
    assert_eq!(calls(&message(vec![whole(), empty()], "max_tokens"))[1], incomplete);
    assert_eq!(calls(&message(vec![whole(), empty()], "model_context_window_exceeded"))[1], incomplete);
    assert_eq!(calls(&message(vec![whole(), empty()], "tool_use"))[1], (true, json!({})));
    let mut open = whole();
    open.pop();
    assert_eq!(calls(&message(vec![open], "tool_use")), vec![incomplete.clone()]);
    for not_an_object in ["[1]", "\"x\"", "null", "{\"a\":1} trailing"] {
        assert_eq!(calls(&message(vec![block(0, tool("a"), &[input_delta(not_an_object)])], "tool_use")), vec![incomplete.clone()]);
    }
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(calls(&message(vec![block(0, tool("a"), &[input_delta(&deep)])], "tool_use")), vec![incomplete.clone()]);
    assert_eq!(calls(&message(vec![block(0, tool(""), &[input_delta("{}")])], "tool_use")), vec![incomplete]);
}

#[test]
fn blocks_that_no_provider_takes_back_are_left_out() {
    let unsigned = |deltas: &[Value]| block(0, json!({"type": "thinking", "thinking": ""}), deltas);
    let thought = json!({"type": "thinking_delta", "thinking": "x"});
    let thoughts = [thought];
    assert_eq!(answer_to(&message(vec![unsigned(&thoughts)], "max_tokens")).unwrap().blocks, []);
    let kept = answer_to(&message(vec![unsigned(&thoughts)], "end_turn")).unwrap().blocks;
    assert_eq!(kept[0].raw, json!({"type": "thinking", "thinking": "x", "signature": ""}));
    let blank = block(0, json!({"type": "text", "text": ""}), &[text_delta(" \n")]);
    let (answer, events) = read([Bytes::from(stream_of(&message(vec![blank], "end_turn")))]);
    assert_eq!((answer.unwrap().blocks, events), (Vec::new(), Vec::new()));
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let mut many = message((0..=BLOCKS_PER_ANSWER).map(|index| block(index, tool("a"), &[])).collect(), "end_turn");
    many.truncate(many.len() - 2);
    let delta = |index: Value| json!({"type": "content_block_delta", "index": index, "delta": text_delta("x")});
    for events in [
        vec![started(), delta(json!(0))],
        vec![started(), delta(json!(-1))],
        vec![started(), json!({"type": "content_block_start", "index": 0, "content_block": "text"})],
        message(vec![block(0, tool("a"), &[]), block(0, tool("b"), &[])], "end_turn"),
        vec![started(), json!({"type": "message_stop"})],
        many,
    ] {
        assert_eq!(answer_to(&events).unwrap_err().kind, ModelErrorKind::Protocol);
    }
    let error = read([Bytes::from_static(b"data: {not json\n\n")]).0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Protocol);
}

#[test]
fn whole_messages_are_read_like_streams() {
    let body = json!({"type": "message", "model": "m", "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 4}, "content": [
        {"type": "text", "text": "hello", "citations": null},
        {"type": "tool_use", "id": "a", "name": "bash", "input": {"command": "ls"}},
        {"type": "tool_use", "id": "b", "name": "bash", "input": "no object"},
    ]});
    let mut answer = Answer::new(IdSource::new(1, 1));
    let mut seen = Vec::new();
    answer.read_message(body.to_string().as_bytes(), &mut |event| seen.push(event)).unwrap();
    insta::assert_json_snapshot!(answer.finish("asked").unwrap());
    assert_eq!(seen.iter().filter(|event| matches!(event, ModelEvent::BlockStarted { .. })).count(), 3);
}

// ---- the adapter

async fn ask(transport: Arc<dyn ModelTransport>, cancel: CancellationToken) -> Result<ModelResponse, ModelError> {
    let model = Anthropic::new(transport, "main");
    model.answer(plain(&[user("hi")]), IdSource::new(1, 1), &mut |_| {}, cancel).await
}

#[tokio::test]
async fn the_headers_carry_the_version_and_no_key() {
    let canned = Arc::new(Canned::new(200, "text/event-stream", stream_of(&message(Vec::new(), "end_turn"))));
    ask(canned.clone(), CancellationToken::new()).await.unwrap();
    let sent = canned.sent();
    let headers = &sent[0].headers;
    assert_eq!((sent[0].path, &headers["anthropic-version"]), ("/v1/messages", &"2023-06-01".parse().unwrap()));
    assert!(headers["user-agent"].to_str().unwrap().starts_with("ostler/"));
    assert!(!headers.contains_key("authorization") && !headers.contains_key("x-api-key"));
}

#[tokio::test]
async fn json_answers_and_errors_are_understood() {
    let body = json!({"model": "m", "stop_reason": "end_turn", "content": [{"type": "text", "text": "x"}]}).to_string();
    let answer = ask(Arc::new(Canned::new(200, "application/json; charset=utf-8", body)), CancellationToken::new()).await.unwrap();
    assert_eq!(answer.blocks.len(), 1);
    let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}).to_string();
    let error = ask(Arc::new(Canned::new(429, "application/json", body)), CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (ModelErrorKind::RateLimited, Some(2_000)));
    assert!(error.message.contains("slow"));
    let error = ask(Arc::new(Canned::new(200, "text/html", "<html>hello</html>")), CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Rejected);
    assert!(error.message.contains("base_url"), "{}", error.message);
}

#[tokio::test]
async fn a_broken_connection_keeps_what_it_cost() {
    let mut canned = Canned::new(200, "text/event-stream", frame(&started()));
    canned.chunks.push(Err(TransportError::Broken { provider: "main".into(), reason: "reset".into() }));
    let error = ask(Arc::new(canned), CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.kind, error.usage.input_tokens), (ModelErrorKind::Unavailable, 10));
    let event = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let canned = Canned::new(200, "text/event-stream", stream_of(&[started(), event]));
    let error = ask(Arc::new(canned), CancellationToken::new()).await.unwrap_err();
    assert_eq!((error.kind, error.usage.input_tokens), (ModelErrorKind::Overloaded, 10));
}

#[tokio::test(start_paused = true)]
async fn silence_and_endless_answers_time_out() {
    let hanging = |chunks: usize| {
        let mut canned = Canned::new(200, "text/event-stream", frame(&started()));
        canned.chunks = vec![Ok(Bytes::from_static(b": comment\n\n")); chunks];
        canned.hangs = true;
        Arc::new(canned)
    };
    let error = ask(hanging(3), CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Unavailable);
    assert!(error.message.contains("nothing for 120 seconds"), "{}", error.message);
    let timeouts = AnswerTimeouts { idle: Duration::from_secs(60), total: Duration::from_secs(30) };
    let model = Anthropic::new(hanging(3), "main").with_timeouts(timeouts);
    let asked = model.answer(plain(&[user("hi")]), IdSource::new(1, 1), &mut |_| {}, CancellationToken::new()).await;
    assert!(asked.unwrap_err().message.contains("longer than 30 seconds"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_given_though_the_connection_stays_open() {
    let mut canned = Canned::new(200, "text/event-stream", stream_of(&message(Vec::new(), "end_turn")));
    canned.hangs = true;
    assert!(ask(Arc::new(canned), CancellationToken::new()).await.is_ok());
}

// ---- against the scripted server, over real connections

mod over_http {
    use ostler_testkit::{FaultProxy, ModelServer, Outcome};

    use super::*;
    use crate::ProviderKind;
    use crate::test_egress::{TestEgress, provider};

    fn model(base_url: String) -> Anthropic {
        Anthropic::new(Arc::new(TestEgress::start(vec![provider("main", &base_url, ProviderKind::Anthropic)])), "main")
    }

    async fn say(model: &Anthropic, text: &str, events: &mut (dyn FnMut(ModelEvent) + Send)) -> Result<ModelResponse, ModelError> {
        model.answer(plain(&[user(text)]), IdSource::new(1, 1), events, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn a_scripted_answer_arrives_whole() {
        let server = ModelServer::start().await;
        let mut seen = Vec::new();
        let script = "THINK hm\nSAY hello you\nTOOL bash {\"command\": \"ls\"}";
        let answer = say(&model(server.base_url()), script, &mut |event| seen.push(event)).await.unwrap();
        assert_eq!((answer.blocks.len(), answer.stop), (3, ModelStop::ToolUse));
        let kinds: Vec<_> = seen
            .iter()
            .filter_map(|event| match event {
                ModelEvent::BlockStarted { kind, event_id, .. } => Some((*kind, event_id.clone())),
                _ => None,
            })
            .collect();
        let expected = [PreviewKind::Thinking, PreviewKind::Text, PreviewKind::Other];
        assert_eq!(kinds, expected.into_iter().zip(answer.blocks.iter().map(|block| block.event_id.clone())).collect::<Vec<_>>());
        assert_eq!(server.requests()[0].headers["x-api-key"], "sk-test");
        assert_eq!(server.violations(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn failures_are_classified() {
        let server = ModelServer::start().await;
        let model = model(server.base_url());
        for (script, kind) in [
            ("FAIL 529 1\nSAY x", ModelErrorKind::Overloaded),
            ("FAIL 401 1\nSAY x", ModelErrorKind::Authentication),
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
        let model = model(server.base_url());
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
        let model = model(format!("http://{}", proxy.addr()));
        for bytes in [0, 1, 40, 300, 700, 1_000] {
            proxy.cut_after(bytes);
            let error = say(&model, "SAY a text that is long enough to be cut in many places", &mut |_| {}).await.unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Unavailable, "cut after {bytes}");
            assert!(!error.message.contains("sk-test"));
        }
        proxy.stop_cutting();
        assert!(say(&model, "SAY fine", &mut |_| {}).await.is_ok());
    }
}
