//! The adapter against transports that refuse, stall and break.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ostler_core::ids::IdSource;
use ostler_core::model::{EffortLevel, ModelError, ModelErrorKind, ModelRequest, ModelResponse};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{plain, user};
use crate::test_transport::Canned;
use crate::transport::TransportError;
use crate::{AnswerTimeouts, Model, OpenAi, OpenAiOptions};

const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn streaming(body: String) -> Canned {
    Canned::new(200, "text/event-stream; charset=utf-8", body)
}

async fn ask(canned: Canned) -> Result<ModelResponse, ModelError> {
    answer(&OpenAi::new(Arc::new(canned), "main", OpenAiOptions::default()), plain(&[user("hi")])).await
}

async fn answer(model: &OpenAi, request: ModelRequest) -> Result<ModelResponse, ModelError> {
    model.answer(request, IdSource::new(1, 1), &mut |_| {}, CancellationToken::new()).await
}

fn bodies(canned: &Canned) -> Vec<Value> {
    canned.sent().iter().map(|request| serde_json::from_slice(request.body.as_ref().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn the_request_carries_no_key_and_no_other_dialects_headers() {
    let canned = Arc::new(streaming(TEXT.to_owned() + DONE));
    let model = OpenAi::new(canned.clone(), "main", OpenAiOptions::default());
    answer(&model, plain(&[user("hi")])).await.unwrap();
    let sent = canned.sent();
    assert_eq!(sent[0].path, "/v1/chat/completions");
    for header in ["authorization", "x-api-key", "anthropic-version"] {
        assert!(!sent[0].headers.contains_key(header), "{header}");
    }
}

#[tokio::test]
async fn a_refused_field_is_left_out_at_once_and_from_then_on() {
    let refusals = [
        (
            400,
            "{\"error\":{\"message\":\"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.\",\"param\":\"max_tokens\"}}",
        ),
        (400, "{\"error\":{\"message\":\"Unrecognized request argument supplied: stream_options\"}}"),
        (400, "{\"error\":{\"message\":\"reasoning_effort 'xhigh' is not supported\",\"param\":\"reasoning_effort\"}}"),
        (422, "{\"detail\":[{\"loc\":[\"body\",\"reasoning_effort\"],\"msg\":\"Extra inputs are not permitted\"}]}"),
    ];
    let canned = Arc::new(streaming(TEXT.to_owned()).refusing(&refusals));
    let model = OpenAi::new(canned.clone(), "main", OpenAiOptions::default());
    let request = ModelRequest { effort: Some(EffortLevel::Max), ..plain(&[user("hi")]) };
    for _ in 0..2 {
        answer(&model, request.clone()).await.unwrap();
    }
    let sent = bodies(&canned);
    let fields = |body: &Value| {
        let has = |field: &str| body.get(field).is_some();
        (has("max_tokens"), has("max_completion_tokens"), has("stream_options"), body["reasoning_effort"].as_str().map(str::to_owned))
    };
    let effort = |word: &str| Some(word.to_owned());
    let expected = [
        (true, false, true, effort("xhigh")),
        (false, true, true, effort("xhigh")),
        (false, true, false, effort("xhigh")),
        (false, true, false, effort("high")),
        (false, true, false, None),
        (false, true, false, None),
    ];
    assert_eq!(sent.iter().map(fields).collect::<Vec<_>>(), expected);
    // Another model of the provider is another matter.
    answer(&model, ModelRequest { model: "other".into(), ..request }).await.unwrap();
    assert_eq!(fields(&bodies(&canned)[6]), (true, false, true, effort("xhigh")));
}

#[tokio::test]
async fn a_field_that_does_not_help_to_leave_out_is_not_remembered() {
    let refusal = (400, "{\"error\":{\"message\":\"stream_options: unknown model\"}}");
    let canned = Arc::new(streaming(TEXT.to_owned()).refusing(&[refusal, refusal]));
    let model = OpenAi::new(canned.clone(), "main", OpenAiOptions::default());
    let error = answer(&model, plain(&[user("hi")])).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Rejected);
    answer(&model, plain(&[user("hi")])).await.unwrap();
    let had: Vec<bool> = bodies(&canned).iter().map(|body| body.get("stream_options").is_some()).collect();
    assert_eq!(had, [true, false, true]);
}

#[tokio::test]
async fn json_answers_pages_and_errors_are_understood() {
    let body = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).to_string();
    assert_eq!(ask(Canned::new(200, "application/json", body)).await.unwrap().blocks.len(), 1);
    let error = ask(Canned::new(200, "text/html", "<html>hello</html>")).await.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Rejected);
    assert!(error.message.contains("base_url"), "{}", error.message);
    let error =
        ask(Canned::new(429, "application/json", json!({"error": {"message": "Try again in 60 seconds"}}).to_string())).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after_ms), (ModelErrorKind::RateLimited, Some(2_000)));
}

#[tokio::test]
async fn a_broken_connection_keeps_what_it_cost() {
    let mut canned = streaming("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10}}\n\n".to_owned());
    canned.chunks.push(Err(TransportError::Broken { provider: "main".into(), reason: "reset".into() }));
    let error = ask(canned).await.unwrap_err();
    assert_eq!((error.kind, error.usage.input_tokens), (ModelErrorKind::Unavailable, 10));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_given_though_its_end_never_comes() {
    let mut hanging = streaming(TEXT.to_owned());
    hanging.hangs = true;
    assert!(ask(hanging).await.is_ok(), "without an end mark");
    let mut broken = streaming(TEXT.to_owned());
    broken.chunks.push(Err(TransportError::Broken { provider: "main".into(), reason: "reset".into() }));
    assert!(ask(broken).await.is_ok(), "cut behind the answer");
    let mut late = streaming(TEXT.to_owned());
    late.chunks.push(Ok(Bytes::from("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7}}\n\n")));
    late.hangs = true;
    assert_eq!(ask(late).await.unwrap().usage.input_tokens, 7);
    assert!(ask(streaming(TEXT.to_owned()).babbling()).await.is_ok(), "comments without end");
}

#[tokio::test(start_paused = true)]
async fn silence_and_endless_answers_time_out() {
    let hanging = || {
        let mut canned = streaming(": OPENROUTER PROCESSING\n\n".to_owned());
        canned.hangs = true;
        canned
    };
    let error = ask(hanging()).await.unwrap_err();
    assert!(error.message.contains("sent nothing for 120 seconds"), "{}", error.message);
    let timeouts = AnswerTimeouts { idle: Duration::from_secs(60), total: Duration::from_secs(30) };
    let model = OpenAi::new(Arc::new(hanging()), "main", OpenAiOptions::default()).with_timeouts(timeouts);
    let error = answer(&model, plain(&[user("hi")])).await.unwrap_err();
    assert!(error.message.contains("longer than 30 seconds"), "{}", error.message);
}

#[tokio::test]
async fn ids_of_calls_do_not_repeat_in_a_conversation() {
    let body = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"0\",\"function\":{\"name\":\"bash\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\n";
    let model = OpenAi::new(Arc::new(streaming(body.to_owned())), "main", OpenAiOptions::default());
    let first = answer(&model, plain(&[user("hi")])).await.unwrap().blocks.remove(0).raw;
    assert_eq!(first["id"], "0");
    let conversation = [
        user("hi"),
        json!({"role": "assistant", "content": [first]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "0", "content": "x"}]}),
    ];
    let second = answer(&model, plain(&conversation)).await.unwrap().blocks.remove(0).raw;
    assert!(second["id"].as_str().unwrap().starts_with("call_"), "{second}");
}
