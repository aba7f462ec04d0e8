//! Blocks of the context as parts of a Chat Completions message. What has no part of its own
//! becomes a text that says what was here, never nothing.

use serde_json::{Value, json};

/// A part of text.
pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// The parts of a block of the user or of a result.
pub(super) fn parts(block: &Value, takes_files: bool) -> Option<Value> {
    let text = |field: &str| block[field].as_str().unwrap_or_default();
    Some(match text("type") {
        "text" if text("text").trim().is_empty() => return None,
        "text" => text_part(text("text")),
        "image" => image(&block["source"]),
        "document" => document(block, takes_files),
        "search_result" => {
            let texts = block["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            let texts: Vec<&str> = texts.collect();
            text_part(&format!("[Search result \"{}\" from {}]\n{}", text("title"), text("source"), texts.join("\n")))
        }
        "redacted" => text_part("[Content was taken out here.]"),
        kind => text_part(&format!("[Content of kind \"{kind}\" was here; this model cannot be given it.]")),
    })
}

/// Parts as a message's content: plain text where all are text, because some servers take no lists.
pub(super) fn joined(parts: Vec<Value>) -> Value {
    if parts.iter().all(|part| part["type"] == "text") {
        return Value::from(parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"));
    }
    Value::from(parts)
}

fn image(source: &Value) -> Value {
    let text = |field: &str| source[field].as_str().unwrap_or_default();
    let url = match text("type") {
        "base64" => format!("data:{};base64,{}", text("media_type"), text("data")),
        "url" => text("url").to_owned(),
        _ => return text_part("[An image was here; this model cannot be given it.]"),
    };
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn document(block: &Value, takes_files: bool) -> Value {
    let source = &block["source"];
    let text = |field: &str| source[field].as_str().unwrap_or_default();
    let title = block["title"].as_str().filter(|title| !title.is_empty());
    let named = title.map(|title| format!(" \"{title}\"")).unwrap_or_default();
    let context = block["context"].as_str().map(|context| format!("\n{context}")).unwrap_or_default();
    match (text("type"), text("media_type")) {
        ("text", _) => text_part(&format!("[Document{named}]{context}\n{}", text("data"))),
        ("base64", media_type @ "application/pdf") if takes_files => {
            let data = format!("data:{media_type};base64,{}", text("data"));
            json!({"type": "file", "file": {"filename": title.unwrap_or("document.pdf"), "file_data": data}})
        }
        ("base64", media_type) => {
            text_part(&format!("[A document{named} of type {media_type} was here; this model cannot be given it.]{context}"))
        }
        ("url", _) => text_part(&format!("[A document{named} is at {}; this model was not given its content.]{context}", text("url"))),
        _ => text_part(&format!("[A document{named} was here; this model cannot be given it.]{context}")),
    }
}
