//! The built-in demo model: a script that drives the whole loop where no provider is configured.
//! It opens no connection, knows nothing, and says so. What it says next is in `script`; what has
//! been said so far is read in `conversation`.

mod conversation;
mod script;

use std::time::Duration;

use async_trait::async_trait;
use ostler_core::ids::{EventId, IdSource};
use ostler_core::model::{BlockKind, ModelError, ModelErrorKind, ModelRequest, ModelResponse, ModelStop, ResponseBlock, TokenUsage};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::conversation::Conversation;
use self::script::Part;
use crate::failure::failure;
use crate::limits::DEMO_CHUNK_CHARS;
use crate::{Model, ModelEvent, PreviewKind};

/// A scripted model without a network. The same conversation always gets the same answer; it
/// counts no tokens.
#[derive(Debug, Clone)]
pub struct DemoModel {
    pause: Duration,
}

impl Default for DemoModel {
    fn default() -> Self {
        Self { pause: Duration::from_millis(10) }
    }
}

impl DemoModel {
    /// With this pause between previews; zero only lets other tasks run in between.
    pub fn with_pause(pause: Duration) -> Self {
        Self { pause }
    }

    async fn speak(&self, parts: Vec<Part>, ids: &mut IdSource, events: &mut (dyn FnMut(ModelEvent) + Send)) -> Vec<ResponseBlock> {
        let mut blocks = Vec::new();
        for (index, part) in parts.into_iter().enumerate() {
            let event_id = EventId::mint(ids);
            let (kind, raw) = match part {
                Part::Say(text) => {
                    events(ModelEvent::BlockStarted { event_id: event_id.clone(), kind: PreviewKind::Text, index });
                    self.preview(&text, &event_id, events).await;
                    let raw = json!({"type": "text", "text": text});
                    (BlockKind::Text { text }, raw)
                }
                Part::Call { name, input } => {
                    events(ModelEvent::BlockStarted { event_id: event_id.clone(), kind: PreviewKind::Other, index });
                    events(ModelEvent::CallNamed { name: name.clone() });
                    let id = format!("toolu_demo_{:016x}", ids.next_u64());
                    let raw = json!({"type": "tool_use", "id": id, "name": name, "input": input});
                    (BlockKind::ToolCall { id, name, input, complete: true }, raw)
                }
            };
            blocks.push(ResponseBlock { event_id, kind, raw });
        }
        blocks
    }

    async fn preview(&self, text: &str, event_id: &EventId, events: &mut (dyn FnMut(ModelEvent) + Send)) {
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(DEMO_CHUNK_CHARS) {
            events(ModelEvent::Progress);
            events(ModelEvent::TextDelta { event_id: event_id.clone(), text: chunk.iter().collect() });
            if self.pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(self.pause).await;
            }
        }
    }
}

#[async_trait]
impl Model for DemoModel {
    async fn answer(
        &self,
        request: ModelRequest,
        mut ids: IdSource,
        events: &mut (dyn FnMut(ModelEvent) + Send),
        cancel: CancellationToken,
    ) -> Result<ModelResponse, ModelError> {
        let parts = script::next(&Conversation::read(&request.messages), &request.tools);
        let blocks = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(failure(ModelErrorKind::Cancelled, "the model request was cancelled")),
            blocks = self.speak(parts, &mut ids, events) => blocks,
        };
        let calls = blocks.iter().any(|block| matches!(block.kind, BlockKind::ToolCall { .. }));
        let stop = if calls { ModelStop::ToolUse } else { ModelStop::EndTurn };
        Ok(ModelResponse { blocks, stop, usage: TokenUsage::default(), model: request.model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use ostler_core::model::{Fragment, ToolSpec};
    use serde_json::Value;

    fn tools(names: &[&str]) -> Arc<[ToolSpec]> {
        let schema = json!({"type": "object", "properties": {"command": {}, "file_path": {}, "content": {}}});
        let spec = |name: &&str| ToolSpec::new(*name, "", &schema);
        names.iter().map(spec).collect()
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": [{"type": "text", "text": text}]})
    }

    async fn ask(conversation: &[Value], names: &[&str]) -> (ModelResponse, Vec<ModelEvent>) {
        let request = ModelRequest {
            model: "demo".to_owned(),
            system: Vec::new(),
            tools: tools(names),
            messages: conversation.iter().map(|message| Fragment::new(message.to_string())).collect::<Vec<_>>().into(),
            max_tokens: 100,
            effort: None,
        };
        let mut seen = Vec::new();
        let model = DemoModel::with_pause(Duration::ZERO);
        let mut events = |event| seen.push(event);
        let answer = model.answer(request, IdSource::new(1, 1), &mut events, CancellationToken::new()).await.unwrap();
        (answer, seen)
    }

    fn text_of(answer: &ModelResponse) -> String {
        let texts = answer.blocks.iter().filter_map(|block| match &block.kind {
            BlockKind::Text { text } => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Plays a turn to its end, answering each call with what `run` returns; gives the calls and
    /// the last text.
    async fn play(
        conversation: &mut Vec<Value>,
        names: &[&str],
        run: impl Fn(&str, &Value) -> (String, bool),
    ) -> (Vec<(String, Value)>, String) {
        let mut calls = Vec::new();
        for _ in 0..10 {
            let (answer, _) = ask(conversation, names).await;
            let raws: Vec<Value> = answer.blocks.iter().map(|block| block.raw.clone()).collect();
            conversation.push(json!({"role": "assistant", "content": raws}));
            let mut results = Vec::new();
            for block in &answer.blocks {
                if let BlockKind::ToolCall { id, name, input, .. } = &block.kind {
                    calls.push((name.clone(), input.clone()));
                    let (text, is_error) = run(name, input);
                    let content = json!([{"type": "text", "text": text}]);
                    results.push(json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}));
                }
            }
            if results.is_empty() {
                return (calls, text_of(&answer));
            }
            conversation.push(json!({"role": "user", "content": results}));
        }
        panic!("the demo model never ends its turn");
    }

    fn names(calls: &[(String, Value)]) -> Vec<&str> {
        calls.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[tokio::test]
    async fn it_drives_the_whole_loop_and_quotes_what_came_back() {
        let mut conversation = vec![user("hello there")];
        let (answer, _) = ask(&conversation, &["bash", "write", "read"]).await;
        assert!(text_of(&answer).contains("built-in demo model: a script, no AI"));
        let run = |name: &str, _: &Value| (format!("result of {name}"), false);
        let (calls, report) = play(&mut conversation, &["bash", "write", "read"], run).await;
        assert_eq!(names(&calls), ["bash", "write", "read"]);
        assert!(calls[1].1["content"].as_str().unwrap().contains("hello there"));
        assert_eq!(calls[1].1["file_path"], calls[2].1["file_path"]);
        assert!(report.contains("result of bash") && report.contains("result of read"), "{report}");

        conversation.push(user("again"));
        let (calls, report) = play(&mut conversation, &["bash", "write", "read"], run).await;
        assert_eq!(names(&calls), ["bash"]);
        assert!(report.contains("result of bash"), "{report}");
    }

    #[tokio::test]
    async fn it_uses_only_what_is_on_offer() {
        let ok = |_: &str, _: &Value| ("ok".to_owned(), false);
        for (offered, expected) in [
            (vec![], vec![]),
            (vec!["bash"], vec!["bash"]),
            (vec!["read"], vec![]),
            (vec!["write", "read"], vec!["write", "read"]),
            (vec!["web_search"], vec![]),
        ] {
            let mut conversation = vec![user("echo me")];
            let (calls, report) = play(&mut conversation, &offered, ok).await;
            assert_eq!(names(&calls), expected, "{offered:?}");
            assert!(!report.is_empty());
            if expected.is_empty() {
                assert!(report.contains("echo me"), "{report}");
            }
        }
    }

    #[tokio::test]
    async fn errors_and_denials_are_reported_and_end_the_script_where_they_must() {
        let mut conversation = vec![user("hi")];
        let run = |name: &str, _: &Value| (format!("{name} denied"), name == "write");
        let (calls, report) = play(&mut conversation, &["bash", "write", "read"], run).await;
        assert_eq!(names(&calls), ["bash", "write"]);
        assert!(report.contains("did not succeed") && report.contains("write denied"), "{report}");
    }

    #[tokio::test]
    async fn previews_add_up_to_the_text_and_answers_repeat() {
        let (answer, events) = ask(&[user("x")], &[]).await;
        let streamed: String = events
            .iter()
            .filter_map(|event| match event {
                ModelEvent::TextDelta { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(streamed, text_of(&answer));
        assert!(events.len() > 4);
        assert_eq!(ask(&[user("x")], &[]).await.0, answer);
    }

    #[tokio::test]
    async fn hostile_conversations_get_an_answer() {
        let long = "\u{1b}[2J".repeat(100_000);
        for conversation in [
            vec![],
            vec![json!(null)],
            vec![json!({"role": "user"})],
            vec![json!({"role": "user", "content": [1, {"type": "text"}, {"type": "tool_result"}]})],
            vec![user(&long)],
        ] {
            let (answer, _) = ask(&conversation, &["bash"]).await;
            let text = text_of(&answer);
            assert!(!text.is_empty() && text.len() < 4_000 && !text.contains('\u{1b}'));
        }
    }

    #[tokio::test]
    async fn cancelling_ends_it() {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let request = ModelRequest {
            model: "demo".to_owned(),
            system: Vec::new(),
            tools: tools(&[]),
            messages: vec![Fragment::new(user("x").to_string())].into(),
            max_tokens: 1,
            effort: None,
        };
        let mut events = move |_| stop.cancel();
        let error = DemoModel::default().answer(request, IdSource::new(1, 1), &mut events, cancel).await.unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Cancelled);
    }
}
