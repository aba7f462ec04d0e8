//! What the server fetched for `web_fetch`, made into text for the model. The bytes are hostile, so this happens in here; no model
//! can name this tool.

mod charset;
mod pdf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use htmd::HtmlToMarkdown;
use serde::Deserialize;

use super::{ToolResult, files, text};
use crate::limits;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    /// Where it comes from, at the end of all redirects.
    url: String,
    /// What its host says that it is.
    #[serde(default)]
    content_type: String,
    /// What it is, in base64.
    content: String,
    /// Bytes of text that are wanted.
    #[serde(default)]
    max_bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Pdf,
    Text,
}

/// Elements without text for a reader.
const SKIPPED: [&str; 9] = ["head", "script", "style", "noscript", "template", "svg", "iframe", "canvas", "object"];

pub(super) fn run(input: &Input) -> ToolResult {
    let bytes = STANDARD.decode(&input.content).map_err(|error| format!("Invalid input: content: {error}"))?;
    let kind = kind(&input.content_type, &bytes)?;
    let (title, content) = match kind {
        Kind::Pdf => (None, pdf::text(&bytes)?),
        Kind::Text => (None, charset::decoded(&bytes, &input.content_type)),
        Kind::Html => {
            let html = charset::decoded(&bytes, &input.content_type);
            (title(&html)?, markdown(&html)?)
        }
    };
    let shown = shortened(content.trim(), input.max_bytes);
    let title = title.map(|title| format!("Title: {title}\n")).unwrap_or_default();
    let shown = if shown.is_empty() { "(the page has no text)".to_owned() } else { shown };
    Ok(text(format!("URL: {}\n{title}\n{shown}", input.url)))
}

/// What it is: as its host says or, where that says nothing, as it begins.
fn kind(content_type: &str, bytes: &[u8]) -> Result<Kind, String> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_pdf = bytes.starts_with(b"%PDF-");
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" => Ok(Kind::Html),
        "application/pdf" | "application/x-pdf" => Ok(Kind::Pdf),
        "" | "application/octet-stream" | "binary/octet-stream" if is_pdf => Ok(Kind::Pdf),
        "" if looks_like_html(bytes) => Ok(Kind::Html),
        "" | "application/octet-stream" | "binary/octet-stream" if !files::is_binary(bytes) => Ok(Kind::Text),
        text if is_text(text) => Ok(Kind::Text),
        other => {
            let other: String = other.chars().take(limits::MEDIA_TYPE_CHARS).collect();
            let named = if other.is_empty() { "binary data".to_owned() } else { format!("{other:?}") };
            Err(format!(
                "unsupported_content_type: the page is {named}; only text, HTML, JSON, XML and PDF are read. Use bash for other files."
            ))
        }
    }
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || essence.ends_with("+yaml")
        || matches!(
            essence,
            "application/json"
                | "application/x-ndjson"
                | "application/jsonl"
                | "application/xml"
                | "application/javascript"
                | "application/yaml"
                | "application/toml"
                | "application/x-yaml"
                | "application/x-sh"
        )
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(limits::SNIFFED_BYTES)]).trim_start().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<body"].iter().any(|start| begin.starts_with(start))
}

fn markdown(html: &str) -> Result<String, String> {
    let converter = HtmlToMarkdown::builder().skip_tags(SKIPPED.to_vec()).build();
    converter.convert(html).map_err(|error| format!("The page cannot be read as HTML: {error}"))
}

/// The title of a page, on one line.
fn title(html: &str) -> Result<Option<String>, String> {
    let beginning = beginning(html, limits::TITLE_WITHIN);
    let lower = beginning.to_ascii_lowercase();
    let inside = lower.find("<title").and_then(|at| Some(at + lower[at..].find('>')? + 1));
    let inside = inside.and_then(|from| Some(&beginning[from..from + lower[from..].find("</title")?]));
    let Some(inside) = inside else { return Ok(None) };
    let plain = markdown(&format!("<p>{}</p>", inside.replace('<', "&lt;")))?;
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line: String = words.join(" ").chars().take(limits::TITLE_CHARS).collect();
    Ok((!line.is_empty()).then_some(line))
}

/// At most so many bytes of a text, without a part of a character.
fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The beginning of a text, with a word on what is missing.
fn shortened(text: &str, wanted: Option<usize>) -> String {
    let most = wanted.unwrap_or(limits::PAGE_TEXT_BYTES).min(limits::PAGE_TEXT_BYTES);
    if text.len() <= most {
        return text.to_owned();
    }
    let head = beginning(text, most);
    format!("{head}\n[truncated: these are the first {} of {} bytes of the page's text]", head.len(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content_type: &str, bytes: &[u8], max_bytes: Option<usize>) -> Result<String, String> {
        let input = Input { url: "https://a.test/x".into(), content_type: content_type.into(), content: STANDARD.encode(bytes), max_bytes };
        run(&input).map(|blocks| blocks[0]["text"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_page_becomes_markdown() {
        let html = include_bytes!("page.html");
        insta::assert_snapshot!(shown("text/html; charset=utf-8", html, None).unwrap());
    }

    #[test]
    fn a_pdf_becomes_text() {
        insta::assert_snapshot!(shown("application/pdf", include_bytes!("page.pdf"), None).unwrap());
        let sniffed = shown("application/octet-stream", include_bytes!("page.pdf"), None).unwrap();
        assert!(sniffed.contains("Hello from a PDF"), "{sniffed}");
    }

    #[test]
    fn damaged_pdfs_are_errors() {
        let whole = include_bytes!("page.pdf");
        for cut in [5, 20, whole.len() / 4] {
            assert!(shown("application/pdf", &whole[..cut], None).unwrap_err().contains("PDF"), "{cut}");
        }
        assert!(shown("application/pdf", b"not one", None).unwrap_err().contains("PDF"));
    }

    #[test]
    fn json_and_text_stay_as_they_are() {
        assert_eq!(shown("application/json", b"{\"a\": [1, 2]}\n", None).unwrap(), "URL: https://a.test/x\n\n{\"a\": [1, 2]}");
        assert_eq!(shown("text/plain; charset=iso-8859-1", b"caf\xe9", None).unwrap(), "URL: https://a.test/x\n\ncaf\u{e9}");
        assert_eq!(shown("text/plain", b"", None).unwrap(), "URL: https://a.test/x\n\n(the page has no text)");
    }

    #[test]
    fn a_kind_is_what_the_host_says_or_what_it_looks_like() {
        for (said, bytes, expected) in [
            ("text/HTML;x=y", &b"anything"[..], Some(Kind::Html)),
            ("application/xhtml+xml", b"", Some(Kind::Html)),
            ("image/svg+xml", b"<svg/>", Some(Kind::Text)),
            ("application/ld+json", b"{}", Some(Kind::Text)),
            ("", b" \n<!DOCTYPE html><p>", Some(Kind::Html)),
            ("", b"%PDF-1.4", Some(Kind::Pdf)),
            ("", b"words", Some(Kind::Text)),
            ("", b"a\0b", None),
            ("application/octet-stream", b"words", Some(Kind::Text)),
            ("application/octet-stream", b"a\0b", None),
            ("image/png", b"\x89PNG", None),
            ("application/zip", b"PK", None),
        ] {
            assert_eq!(kind(said, bytes).ok(), expected, "{said} {bytes:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_say_so() {
        let long = "\u{e4}".repeat(10);
        let cut = shown("text/plain; charset=utf-8", long.as_bytes(), Some(5)).unwrap();
        assert!(cut.contains("\n\u{e4}\u{e4}\n[truncated: these are the first 4 of 20 bytes"), "{cut}");
        assert!(!shown("text/plain", b"12345", Some(5)).unwrap().contains("truncated"));
    }

    #[test]
    fn titles_are_one_line_without_markup() {
        for (html, expected) in [
            ("<title>A &amp; B</title>", Some("A & B")),
            ("<TITLE lang=en>\n two\n lines </TITLE>", Some("two lines")),
            ("<title></title>", None),
            ("<title>never ends", None),
            ("<title", None),
            ("<p>none</p>", None),
        ] {
            assert_eq!(title(html).unwrap().as_deref(), expected, "{html}");
        }
    }
}
