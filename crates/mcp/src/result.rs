//! The result of a call as models are told it.

use ostler_core::call::{CallEnd, CallOutcome};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::limits;

/// The pictures that all providers take.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// What a call came to.
pub(crate) fn outcome(result: CallToolResult) -> CallOutcome {
    let mut said = Said { room: limits::RESULT_CHARS, images: 0, content: Vec::new() };
    let is_bare = result.content.is_empty();
    for block in result.content {
        said.block(block);
    }
    if let (true, Some(value)) = (is_bare, &result.structured_content) {
        said.text(&value.to_string());
    }
    if said.content.is_empty() {
        said.text("(no output)");
    }
    CallOutcome { content: said.content, is_error: result.is_error.unwrap_or_default(), end: CallEnd::Finished }
}

struct Said {
    /// Characters that may still be said.
    room: usize,
    images: usize,
    content: Vec<Value>,
}

impl Said {
    fn block(&mut self, block: ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.text(&text.text),
            ContentBlock::Image(image) => self.image(&image.mime_type, image.data),
            ContentBlock::Audio(audio) => self.text(&format!("[audio of the type {} is left out]", audio.mime_type)),
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { uri, text, .. } => self.text(&format!("[{uri}]\n{text}")),
                ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => match mime_type.as_deref() {
                    Some(kind) if PICTURES.contains(&kind) => self.image(kind, blob),
                    kind => self.text(&format!("[{uri}: {} is left out]", kind.unwrap_or("a file"))),
                },
                _ => self.text("[a resource of an unknown kind is left out]"),
            },
            ContentBlock::ResourceLink(link) => self.text(&format!("[{}: {}]", link.name, link.uri)),
            _ => self.text("[content of an unknown kind is left out]"),
        }
    }

    fn text(&mut self, text: &str) {
        let count = text.chars().count();
        if text.is_empty() || self.room == 0 {
            return;
        }
        let kept: String = text.chars().take(self.room).collect();
        let is_cut = count > self.room;
        self.room = self.room.saturating_sub(count);
        self.content.push(json!({"type": "text", "text": kept}));
        if is_cut {
            let note = format!("[cut: results have at most {} characters; ask the tool for less at once]", limits::RESULT_CHARS);
            self.content.push(json!({"type": "text", "text": note}));
        }
    }

    fn image(&mut self, kind: &str, data: String) {
        if !PICTURES.contains(&kind) || data.len() > limits::IMAGE_CHARS || self.images >= limits::IMAGES {
            return self.text(&format!("[a picture of the type {kind} and {} bytes is left out]", data.len() / 4 * 3));
        }
        self.images += 1;
        self.content.push(json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: Value) -> CallOutcome {
        outcome(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn results_become_what_models_read() {
        let outcome = told(json!({"isError": true, "content": [
            {"type": "text", "text": "hello"},
            {"type": "image", "data": "aGk=", "mimeType": "image/png"},
            {"type": "image", "data": "aGk=", "mimeType": "image/tiff"},
            {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}},
            {"type": "resource", "resource": {"uri": "file:///b", "blob": "aGk=", "mimeType": "application/zip"}},
            {"type": "resource_link", "uri": "https://a.test", "name": "more"}
        ]}));
        assert!(outcome.is_error);
        assert_eq!(
            Value::Array(outcome.content),
            json!([
                {"type": "text", "text": "hello"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "text", "text": "[a picture of the type image/tiff and 3 bytes is left out]"},
                {"type": "text", "text": "[audio of the type audio/wav is left out]"},
                {"type": "text", "text": "[file:///a]\ninside"},
                {"type": "text", "text": "[file:///b: application/zip is left out]"},
                {"type": "text", "text": "[more: https://a.test]"}
            ])
        );
        assert_eq!(told(json!({"content": [], "structuredContent": {"a": 1}})).content, [json!({"type": "text", "text": "{\"a\":1}"})]);
        assert_eq!(told(json!({"content": []})).content, [json!({"type": "text", "text": "(no output)"})]);
    }

    #[test]
    fn a_long_result_is_cut_and_says_so() {
        let long = "ä".repeat(limits::RESULT_CHARS + 1);
        let outcome = told(json!({"content": [{"type": "text", "text": long}, {"type": "text", "text": "more"}]}));
        assert_eq!(outcome.content.len(), 2);
        assert_eq!(outcome.content[0]["text"].as_str().unwrap().chars().count(), limits::RESULT_CHARS);
        assert!(outcome.content[1]["text"].as_str().unwrap().starts_with("[cut"));
    }
}
