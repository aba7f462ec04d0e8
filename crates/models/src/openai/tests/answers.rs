//! Answers of many servers, in every split of their bytes.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ostler_core::ids::IdSource;
use ostler_core::model::{BlockKind, ModelError, ModelErrorKind, ModelResponse, ModelStop};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::TARGET;
use crate::exchange::ReadAnswer;
use crate::frames::FrameDecoder;
use crate::limits::BLOCKS_PER_ANSWER;
use crate::openai::answer::Answer;
use crate::{ModelEvent, PreviewKind};

type Read = (Result<ModelResponse, ModelError>, Vec<ModelEvent>);

fn read(chunks: impl IntoIterator<Item = Bytes>) -> Read {
    let mut answer = Answer::new(IdSource::new(1, 1), TARGET);
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

fn golden_files() -> Vec<(String, Bytes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/openai/golden");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the golden files are missing");
    let named = |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), Bytes::from(fs::read(path).unwrap()));
    paths.into_iter().map(named).collect()
}

fn golden(name: &str) -> Bytes {
    golden_files().into_iter().find(|(file, _)| file == name).unwrap().1
}

/// The previews in short: what began, and the text as it came.
fn previews(events: &[ModelEvent]) -> Vec<String> {
    let line = |event: &ModelEvent| match event {
        ModelEvent::BlockStarted { kind, index, event_id } => format!("{index} {kind:?} {event_id}"),
        ModelEvent::TextDelta { text, .. } => format!("+ {text:?}"),
        ModelEvent::CallNamed { name } => format!("call {name}"),
        ModelEvent::Progress => "progress".to_owned(),
    };
    events.iter().map(line).collect()
}

#[test]
fn answers_of_many_servers() {
    for (name, bytes) in golden_files() {
        let (answer, events) = read([bytes]);
        let answer = match answer {
            Ok(answer) => json!({"answer": answer}),
            Err(error) => json!({"error": error}),
        };
        insta::assert_json_snapshot!(name, json!({"read": answer, "previews": previews(&events)}));
    }
}

#[test]
fn every_split_of_the_bytes_gives_the_same_answer() {
    for (name, bytes) in golden_files() {
        let whole = read([bytes.clone()]);
        for at in 0..=bytes.len() {
            assert_eq!(read([bytes.slice(..at), bytes.slice(at..)]), whole, "{name} split at {at}");
        }
        assert_eq!(read((0..bytes.len()).map(|at| bytes.slice(at..=at))), whole, "{name} byte by byte");
        let crlf = Bytes::from(String::from_utf8(bytes.to_vec()).unwrap().replace('\n', "\r\n"));
        assert_eq!(read([crlf]), whole, "{name} with other line ends");
    }
}

#[test]
fn an_answer_cut_before_its_reason_to_end_is_unavailable_and_never_half_an_answer() {
    for name in ["openai_parallel_calls", "openrouter_reasoning", "vllm_calls", "llamacpp_calls"] {
        let bytes = golden(name);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let reason = text.find("\"finish_reason\":\"").unwrap();
        let whole_at = reason + text[reason..].find("\n\n").unwrap() + "\n\n".len();
        for at in 0..whole_at {
            let error = read([bytes.slice(..at)]).0.unwrap_err();
            assert_eq!(error.kind, ModelErrorKind::Unavailable, "{name} cut at {at}");
        }
        let blocks = |bytes: Bytes| read([bytes]).0.unwrap().blocks;
        for at in whole_at..=bytes.len() {
            assert_eq!(blocks(bytes.slice(..at)), blocks(bytes.clone()), "{name} cut at {at}");
        }
    }
}

#[test]
fn the_end_mark_alone_ends_no_answer() {
    let (answer, _) = read([Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n")]);
    assert_eq!(answer.unwrap_err().kind, ModelErrorKind::Unavailable);
}

fn chunk(choice: Value) -> String {
    format!("data: {}\n\n", json!({"choices": [choice]}))
}

fn stop_of(reason: &str, delta: Value) -> ModelStop {
    read([Bytes::from(chunk(json!({"delta": delta, "finish_reason": reason})))]).0.unwrap().stop
}

#[test]
fn stop_reasons_follow_what_is_there() {
    let call = json!({"tool_calls": [{"id": "a", "function": {"name": "bash", "arguments": "{}"}}]});
    for reason in ["stop", "tool_calls", "function_call"] {
        assert_eq!(stop_of(reason, json!({"content": "x"})), ModelStop::EndTurn, "{reason}");
        assert_eq!(stop_of(reason, call.clone()), ModelStop::ToolUse, "{reason}");
    }
    assert_eq!(stop_of("length", call.clone()), ModelStop::MaxTokens);
    let filtered = ModelStop::Refusal { category: Some("content_filter".to_owned()), explanation: None };
    assert_eq!(stop_of("content_filter", call), filtered);
    assert_eq!(stop_of("eos", json!({})), ModelStop::Other { reason: "eos".to_owned() });
}

#[test]
fn reasoning_that_the_limit_cut_is_left_out() {
    let thought = json!({"reasoning_content": "hm"});
    let answer = |delta: Value, reason: &str| read([Bytes::from(chunk(json!({"delta": delta, "finish_reason": reason})))]).0.unwrap();
    assert_eq!(answer(thought.clone(), "length").blocks, []);
    assert_eq!(answer(thought, "stop").blocks.len(), 1);
    let both = json!({"reasoning_content": "hm", "content": "so"});
    assert_eq!(answer(both, "length").blocks.len(), 2);
}

#[test]
fn blank_text_is_no_block_and_is_not_announced() {
    let (answer, events) = read([Bytes::from(chunk(json!({"delta": {"content": " \n"}, "finish_reason": "stop"})))]);
    assert_eq!((answer.unwrap().blocks, events), (Vec::new(), Vec::new()));
}

#[test]
fn other_choices_and_chunks_of_unknown_kinds_are_passed_over() {
    let text = [
        json!({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}, {"index": 0, "delta": {"content": "yes"}}]}),
        json!({"choices": null}),
        json!({"choices": [null, 7]}),
        json!([1]),
        json!("text"),
        json!({"choices": [{"index": 0, "delta": {"content": 7, "tool_calls": {}, "reasoning": []}, "finish_reason": "stop"}]}),
    ];
    let text: String = text.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let answer = read([Bytes::from(text)]).0.unwrap();
    assert_eq!(answer.blocks.len(), 1);
    assert_eq!(answer.blocks[0].kind, BlockKind::Text { text: "yes".to_owned() });
}

#[test]
fn a_message_behind_its_deltas_is_not_read_again() {
    let whole = json!({"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"});
    let text = chunk(json!({"delta": {"content": "hello"}})) + &chunk(whole.clone());
    for text in [text, chunk(whole)] {
        let answer = read([Bytes::from(text)]).0.unwrap();
        assert_eq!(answer.blocks[0].kind, BlockKind::Text { text: "hello".to_owned() });
    }
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let entry = |index: usize| json!({"index": index, "id": format!("c{index}"), "function": {"name": "a", "arguments": "{}"}});
    let many: Vec<Value> = (0..=BLOCKS_PER_ANSWER).map(entry).collect();
    for text in [chunk(json!({"delta": {"tool_calls": many}, "finish_reason": "stop"})), "data: {not json\n\n".to_owned()] {
        assert_eq!(read([Bytes::from(text)]).0.unwrap_err().kind, ModelErrorKind::Protocol);
    }
}

fn read_whole(body: &Value) -> Result<(ModelResponse, Vec<ModelEvent>), ModelError> {
    let mut answer = Answer::new(IdSource::new(1, 1), TARGET);
    let mut seen = Vec::new();
    answer.read_message(body.to_string().as_bytes(), &mut |event| seen.push(event))?;
    Ok((answer.finish("asked")?, seen))
}

#[test]
fn whole_completions_are_read_like_streams() {
    let body = json!({"id": "c", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I look.", "refusal": null, "reasoning": "hm", "annotations": [],
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "bash", "arguments": "{\"command\": \"ls\"}"}},
            {"id": "b", "type": "function", "function": {"name": "bash", "arguments": "no object"}},
        ]}}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34, "prompt_tokens_details": {"cached_tokens": 10}}});
    let (answer, seen) = read_whole(&body).unwrap();
    insta::assert_json_snapshot!(answer);
    let kinds = seen.iter().filter_map(|event| if let ModelEvent::BlockStarted { kind, .. } = event { Some(*kind) } else { None });
    assert_eq!(kinds.collect::<Vec<_>>(), [PreviewKind::Thinking, PreviewKind::Text, PreviewKind::Other, PreviewKind::Other]);
}

#[test]
fn whole_completions_that_are_none() {
    let kind = |body: Value| read_whole(&body).unwrap_err().kind;
    assert_eq!(kind(json!({"error": {"code": 402, "message": "Insufficient credits"}})), ModelErrorKind::Billing);
    assert_eq!(kind(json!({"error": "model is loading"})), ModelErrorKind::Unavailable);
    assert_eq!(kind(json!({"choices": []})), ModelErrorKind::Protocol);
    assert_eq!(kind(json!({"choices": [{"message": {"content": "x"}, "finish_reason": null}]})), ModelErrorKind::Protocol);
    assert_eq!(kind(json!(7)), ModelErrorKind::Protocol);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..4_000) {
        let mut bytes = golden("openrouter_reasoning").to_vec();
        let at = at.min(bytes.len());
        bytes.splice(at..at, noise);
        let _ = read([Bytes::from(bytes)]);
    }

    #[test]
    fn calls_survive_any_split_of_their_arguments(
        arguments in "\\PC{0,30}",
        cuts in proptest::collection::vec(0_usize..60, 0..8),
    ) {
        let text = json!({"x": arguments}).to_string();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).filter(|cut| text.is_char_boundary(*cut)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut stream = chunk(json!({"delta": {"tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "one", "arguments": ""}},
            {"index": 1, "id": "b", "function": {"name": "two", "arguments": ""}}]}}));
        for pair in cuts.windows(2) {
            for index in [1, 0] {
                let entry = json!({"index": index, "function": {"arguments": &text[pair[0]..pair[1]]}});
                stream.push_str(&chunk(json!({"delta": {"tool_calls": [entry]}})));
            }
        }
        stream.push_str(&chunk(json!({"delta": {}, "finish_reason": "tool_calls"})));
        let blocks = read([Bytes::from(stream)]).0.unwrap().blocks;
        prop_assert_eq!(blocks.len(), 2);
        for block in blocks {
            prop_assert_eq!(&block.raw["input"], &json!({"x": arguments}));
            let complete = matches!(block.kind, BlockKind::ToolCall { complete: true, .. });
            prop_assert!(complete);
        }
    }
}
