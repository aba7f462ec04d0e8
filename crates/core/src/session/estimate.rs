//! How many tokens content has at most, for reservations. A token has at least one byte of text, so
//! that the bytes bound the tokens; for pictures and documents whose text is not seen there are guesses on
//! the high side.

use crate::events::content::{ContentBlock, DocumentSource};
use crate::model::{BlockKind, ResponseBlock};
use crate::session::record::QueuedInput;

/// Tokens of a picture: most providers scale pictures down until they take less.
const IMAGE_TOKENS: u64 = 20_000;
/// Tokens of a document whose text is not seen: it is fetched by the provider, or compressed.
const UNSEEN_TOKENS: u64 = 200_000;
/// Base64 characters of a document per token.
const DOCUMENT_CHARS_PER_TOKEN: usize = 2;
/// Tokens around a message or block: roles, names, markers.
const FRAME_TOKENS: u64 = 16;

/// The most tokens of these inputs.
pub(super) fn inputs(inputs: &[QueuedInput]) -> u64 {
    inputs.iter().map(|input| content(&input.content)).fold(FRAME_TOKENS, u64::saturating_add)
}

/// The most tokens of this content.
pub(super) fn content(blocks: &[ContentBlock]) -> u64 {
    blocks.iter().map(block).fold(FRAME_TOKENS, u64::saturating_add)
}

fn block(block: &ContentBlock) -> u64 {
    let tokens = match block {
        ContentBlock::Text { text } => bytes(text.len()),
        ContentBlock::Image { .. } => IMAGE_TOKENS,
        ContentBlock::Document { source, context, title } => {
            let around = bytes(context.as_ref().map_or(0, String::len) + title.as_ref().map_or(0, String::len));
            around.saturating_add(match source {
                DocumentSource::Base64 { data, .. } => bytes(data.len() / DOCUMENT_CHARS_PER_TOKEN).max(UNSEEN_TOKENS),
                DocumentSource::Text { data, .. } => bytes(data.len()),
                DocumentSource::Url { .. } | DocumentSource::File { .. } => UNSEEN_TOKENS,
            })
        }
        ContentBlock::SearchResult { content, source, title, .. } => {
            bytes(source.len() + title.len() + content.iter().map(|part| part.text.len()).sum::<usize>())
        }
        ContentBlock::Redacted {} => 0,
    };
    tokens.saturating_add(FRAME_TOKENS)
}

/// The most tokens of content that is kept as JSON.
pub(super) fn values(values: &[serde_json::Value]) -> u64 {
    let tokens = |value: &serde_json::Value| match (value["type"].as_str(), value["text"].as_str()) {
        (Some("text"), Some(text)) => bytes(text.len()).saturating_add(FRAME_TOKENS),
        (Some("image"), _) => IMAGE_TOKENS,
        (Some("document"), _) => bytes(value.to_string().len() / DOCUMENT_CHARS_PER_TOKEN).max(UNSEEN_TOKENS),
        _ => bytes(value.to_string().len()),
    };
    values.iter().map(tokens).fold(FRAME_TOKENS, u64::saturating_add)
}

/// The most tokens of an answer that said nothing of its usage.
pub(super) fn answer(blocks: &[ResponseBlock]) -> u64 {
    let tokens = |block: &ResponseBlock| match &block.kind {
        BlockKind::Text { text } => bytes(text.len()),
        _ => bytes(block.raw.to_string().len()),
    };
    blocks.iter().map(tokens).fold(FRAME_TOKENS, u64::saturating_add)
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
