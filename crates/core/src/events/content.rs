//! Content blocks of messages and tool results, in the shape that clients and models share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Refusal;

/// One block of content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: ImageSource,
    },
    /// A document.
    Document {
        /// Where it is.
        source: DocumentSource,
        /// What it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// Its title.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// A result of a search; only in tool results.
    SearchResult {
        /// Whether the model may cite it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        citations: Option<SearchResultCitations>,
        /// Its text.
        content: Vec<SearchResultText>,
        /// Where it comes from.
        source: String,
        /// Its title.
        title: String,
    },
    /// Content that was taken out; never accepted from clients.
    Redacted {},
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageSource {
    /// Here.
    Base64 {
        /// The bytes in base64.
        data: String,
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
    },
    /// At a URL that the model's provider fetches.
    Url {
        /// The URL.
        url: String,
    },
    /// An uploaded file; not supported yet.
    File {
        /// Its id.
        file_id: String,
    },
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DocumentSource {
    /// Here, in base64.
    Base64 {
        /// The bytes in base64.
        data: String,
        /// Usually `application/pdf`.
        media_type: String,
    },
    /// Here, as text.
    Text {
        /// The text.
        data: String,
        /// `text/plain`.
        media_type: String,
    },
    /// At a URL that the model's provider fetches.
    Url {
        /// The URL.
        url: String,
    },
    /// An uploaded file; not supported yet.
    File {
        /// Its id.
        file_id: String,
    },
}

/// Whether a search result may be cited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SearchResultCitations {
    /// Whether it may.
    pub enabled: bool,
}

/// Text of a search result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SearchResultText {
    /// The text.
    pub text: String,
    /// Always `text`.
    #[serde(rename = "type")]
    pub kind: TextKind,
}

/// The kind of a text block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// The only one.
    Text,
}

impl ContentBlock {
    /// A text block.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// What kinds of block a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A user's message: text, pictures, documents.
    Message,
    /// A tool's result: search results, too.
    ToolResult,
}

const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Refuses blocks that this place does not take or that a model would choke on.
pub fn check(blocks: &[ContentBlock], place: Place) -> Result<(), Refusal> {
    for block in blocks {
        match block {
            ContentBlock::Text { text } if text.trim().is_empty() && place == Place::Message => {
                return Err(Refusal::invalid("content: a text block is empty"));
            }
            ContentBlock::Text { .. } => {}
            ContentBlock::Image { source } => check_image(source)?,
            ContentBlock::Document { source, .. } => check_document(source)?,
            ContentBlock::SearchResult { .. } if place == Place::ToolResult => {}
            ContentBlock::SearchResult { .. } => return Err(Refusal::invalid("content: search_result blocks belong into tool results")),
            ContentBlock::Redacted {} => return Err(Refusal::invalid("content: redacted blocks cannot be sent")),
        }
    }
    Ok(())
}

fn check_image(source: &ImageSource) -> Result<(), Refusal> {
    match source {
        ImageSource::Base64 { data, media_type } => {
            if !IMAGE_TYPES.contains(&media_type.as_str()) {
                return Err(Refusal::invalid(format!("content: image media_type must be one of {}", IMAGE_TYPES.join(", "))));
            }
            check_base64(data)
        }
        ImageSource::Url { url } => check_url(url),
        ImageSource::File { .. } => Err(no_files()),
    }
}

fn check_document(source: &DocumentSource) -> Result<(), Refusal> {
    match source {
        DocumentSource::Base64 { data, .. } => check_base64(data),
        DocumentSource::Text { data, .. } if data.is_empty() => Err(Refusal::invalid("content: a document is empty")),
        DocumentSource::Text { .. } => Ok(()),
        DocumentSource::Url { url } => check_url(url),
        DocumentSource::File { .. } => Err(no_files()),
    }
}

fn check_base64(data: &str) -> Result<(), Refusal> {
    let body = data.trim_end_matches('=');
    let well_formed = !body.is_empty()
        && data.len().is_multiple_of(4)
        && data.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    if well_formed { Ok(()) } else { Err(Refusal::invalid("content: data is not standard base64")) }
}

fn check_url(url: &str) -> Result<(), Refusal> {
    if url.starts_with("https://") || url.starts_with("http://") {
        Ok(())
    } else {
        Err(Refusal::invalid("content: url must start with https:// or http://"))
    }
}

fn no_files() -> Refusal {
    Refusal::not_found("content: file sources are not supported by this server yet; send the data as base64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blocks(value: serde_json::Value) -> Vec<ContentBlock> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_models_take_passes() {
        let good = blocks(json!([
            {"type": "text", "text": "hi"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"}
        ]));
        assert_eq!(check(&good, Place::Message), Ok(()));
        assert_eq!(
            serde_json::to_value(&good).unwrap()[2],
            json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"})
        );
    }

    #[test]
    fn the_rest_is_refused() {
        for bad in [
            json!([{"type": "text", "text": ""}]),
            json!([{"type": "redacted"}]),
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "aGk="}}]),
            json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}]),
            json!([{"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}]),
            json!([{"type": "image", "source": {"type": "file", "file_id": "file_1"}}]),
            json!([{"type": "search_result", "content": [], "source": "s", "title": "t"}]),
        ] {
            assert!(check(&blocks(bad.clone()), Place::Message).is_err(), "{bad}");
        }
    }
}
