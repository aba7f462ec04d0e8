//! How answers are shown: tables on a terminal, plain aligned columns elsewhere, or the API's JSON.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;
use serde_json::Value;

use crate::client::Listing;
use crate::limits;
use crate::logging::say;
use crate::terminal::{neutral, neutral_json, one_line};

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) json: bool,
    terminal: bool,
}

/// Who reads standard output has seen enough, such as `head`. Nothing failed.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(crate) struct ReaderGone;

/// A column: its title and the cell of an object.
pub(super) type Column = (&'static str, fn(&Value) -> String);

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// The outcome of a command that has no more to show than that it is done.
    pub(super) fn done(&self, answer: &str, words: &str) -> anyhow::Result<u8> {
        self.line(&if self.json { neutral_json(answer) } else { neutral(words) })?;
        Ok(0)
    }

    /// One object: its text, or what people want to know of it.
    pub(super) fn object(&self, answer: &str, fields: &[(&str, String)]) -> anyhow::Result<u8> {
        if self.json {
            self.line(&neutral_json(answer))?;
            return Ok(0);
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            // Further lines stay below the first, so that no text can pass for a field.
            let value = neutral(value).trim_end().replace('\n', &format!("\n{}  ", " ".repeat(width)));
            self.line(&format!("{name:width$}  {value}"))?;
        }
        Ok(0)
    }

    /// A whole list: JSON as the pages come, a table at the end.
    pub(super) async fn list(&self, mut listing: Listing, columns: &[Column]) -> anyhow::Result<u8> {
        let mut rows = Vec::new();
        while let Some(page) = listing.page().await? {
            for text in page {
                if self.json {
                    self.line(&neutral_json(&text))?;
                } else {
                    let object: Value = serde_json::from_str(&text)?;
                    rows.push(columns.iter().map(|(_, cell)| cell(&object)).collect());
                }
            }
        }
        if !self.json {
            self.table(&columns.iter().map(|(title, _)| *title).collect::<Vec<_>>(), rows)?;
        }
        if listing.has_more() {
            say("there are more: --all shows everything, --limit N so many");
        }
        Ok(0)
    }

    /// Rows below their titles. Every cell is made harmless and one line.
    pub(super) fn table(&self, titles: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_style(if self.terminal { UTF8_HORIZONTAL_ONLY } else { NOTHING });
        table.set_header(titles.iter().map(|title| title.to_uppercase()));
        for row in rows {
            table.add_row(row.iter().map(|cell| one_line(cell, limits::CELL_CHARS)));
        }
        if let Some((columns, _)) = terminal_size::terminal_size().filter(|_| self.terminal) {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns.0.max(limits::TABLE_COLUMNS));
        }
        if !self.terminal {
            table.column_iter_mut().for_each(|column| {
                column.set_padding((0, 2));
            });
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// A line of standard output.
    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        writeln!(io::stdout().lock(), "{text}").map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => ReaderGone.into(),
            _ => anyhow::Error::new(error).context("writing to standard output"),
        })
    }
}

/// A field as text; nothing where it is absent.
pub(super) fn field(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A time of the API, to the second.
pub(super) fn time(object: &Value, pointer: &str) -> String {
    let text = field(object, pointer);
    text.parse::<Timestamp>().map_or(text, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// How long ago a time of the API was, in its largest unit; nothing where it is none.
pub(super) fn age(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return String::new() };
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The pairs of an object on one line.
pub(super) fn pairs(object: &Value, pointer: &str) -> String {
    let pairs = object.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        for (at, expected) in [
            ("2026-01-02T11:59:58.5Z", "2s"),
            ("2026-01-02T11:59:00Z", "1m"),
            ("2026-01-02T08:30:00Z", "3h"),
            ("2025-12-30T12:00:00Z", "3d"),
            ("2026-01-02T12:00:05Z", "0s"),
            ("nonsense", ""),
        ] {
            assert_eq!(age(at, now), expected, "{at}");
        }
    }

    #[test]
    fn fields_may_be_missing() {
        let object = json!({"a": {"b": 1}, "t": "2026-01-02T03:04:05.678Z", "m": {"k": "v", "n": 2}});
        assert_eq!((field(&object, "/a/b"), field(&object, "/x")), ("1".to_owned(), String::new()));
        assert_eq!((time(&object, "/t"), pairs(&object, "/m")), ("2026-01-02T03:04:05Z".to_owned(), "k=v, n=2".to_owned()));
    }
}
