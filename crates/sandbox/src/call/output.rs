//! From what a tool put out to what the model is shown: valid text, not too long, the rest in a file.

use std::io::Write;

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::ids::EventId;
use serde_json::{Value, json};

use crate::init::Kept;
use crate::tools::ToolResult;
use crate::{layout, limits};

/// Bytes as text that any client can show: valid UTF-8, no NUL.
pub(super) fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// Collects the output of a shell: its end in memory, and all of it (within bounds) in the call's file, once it is
/// more than is shown.
#[derive(Debug)]
pub(super) struct Output<'a> {
    kept: &'a Kept,
    call: &'a EventId,
    file: Spill,
    /// Bytes that the file may have.
    keep: u64,
    tail: Vec<u8>,
    total: u64,
}

/// The call's file.
#[derive(Debug)]
enum Spill {
    /// Not needed so far.
    None,
    Open(std::fs::File),
    /// The disk is full; the end of the output is still shown.
    Failed,
}

/// Bytes that may be needed to show a whole result.
const TAIL: usize = limits::RESULT_CHARS * 4;

impl<'a> Output<'a> {
    pub(super) fn new(kept: &'a Kept, call: &'a EventId, keep: u64) -> Self {
        Self { kept, call, file: Spill::None, keep, tail: Vec::new(), total: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Spill::Open(_) = self.file {
            self.spill(bytes);
        }
        self.total += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL {
            self.begin_to_spill();
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    /// Puts what there is into the file, unless it is there.
    fn begin_to_spill(&mut self) {
        if let Spill::None = self.file {
            self.file = self.kept.call_file(self.call).map_or(Spill::Failed, Spill::Open);
            let whole = std::mem::take(&mut self.tail);
            // Until now nothing was dropped and nothing written.
            self.total -= whole.len() as u64;
            self.spill(&whole);
            self.total += whole.len() as u64;
            self.tail = whole;
        }
    }

    /// Writes what has a place behind all that came before.
    fn spill(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.keep.saturating_sub(self.total)).unwrap_or(usize::MAX);
        let fits = &bytes[..bytes.len().min(room)];
        if let Spill::Open(file) = &mut self.file
            && file.write_all(fits).is_err()
        {
            self.file = Spill::Failed;
        }
    }

    /// What is shown, with `note` (why and how it ended) below it.
    pub(super) fn finish(mut self, note: Option<&str>) -> String {
        let whole = self.total == self.tail.len() as u64;
        let mut text = clean(&self.tail);
        if !whole || text.chars().count() > limits::RESULT_CHARS {
            self.begin_to_spill();
            let mut cut = text.len().saturating_sub(limits::BASH_PREVIEW_BYTES);
            while !text.is_char_boundary(cut) {
                cut += 1;
            }
            let is_stored = matches!(self.file, Spill::Open(_));
            let place = if is_stored {
                format!("the full output is in {}/{}", layout::CALLS_INSIDE, self.call)
            } else {
                "the rest could not be stored".to_owned()
            };
            let bound = if is_stored && self.total > self.keep { format!(" (its first {} bytes)", self.keep) } else { String::new() };
            text = format!("[output of {} bytes truncated to its end; {place}{bound}]\n{}", self.total, &text[cut..]);
        }
        match note {
            Some(note) if text.is_empty() => note.to_owned(),
            Some(note) => format!("{}\n{note}", text.strip_suffix('\n').unwrap_or(&text)),
            None if text.is_empty() => "(no output)".to_owned(),
            None => text,
        }
    }
}

/// The outcome of a file tool.
pub(super) fn of_tool(kept: &Kept, call: &EventId, result: ToolResult) -> CallOutcome {
    let (content, is_error) = match result {
        Ok(content) => (content, false),
        Err(message) => (vec![json!({"type": "text", "text": message})], true),
    };
    let content = content.into_iter().map(|block| shortened(kept, call, block)).collect();
    CallOutcome { content, is_error, end: CallEnd::Finished }
}

fn shortened(kept: &Kept, call: &EventId, mut block: Value) -> Value {
    let Some(Value::String(text)) = block.get_mut("text") else { return block };
    let clean = text.replace('\0', "\u{fffd}");
    let cut = clean.char_indices().nth(limits::RESULT_CHARS).map(|_| ());
    *text = match cut {
        None => clean,
        Some(()) => {
            let head: String = clean.chars().take(limits::BASH_PREVIEW_BYTES).collect();
            let stored = kept.call_file(call).and_then(|mut file| file.write_all(clean.as_bytes()));
            let place = if stored.is_ok() {
                format!("the full output is in {}/{call}", layout::CALLS_INSIDE)
            } else {
                "the rest could not be stored".to_owned()
            };
            format!("{head}\n[output of {} bytes truncated to its beginning; {place}]", clean.len())
        }
    };
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: u64 = 16 << 20;

    fn kept(dir: &tempfile::TempDir) -> Kept {
        Kept::in_directory(dir.path())
    }

    fn shown(dir: &tempfile::TempDir, parts: &[&[u8]], note: Option<&str>) -> String {
        let (kept, call) = (kept(dir), "sevt_1".parse().unwrap());
        let mut output = Output::new(&kept, &call, KEEP);
        parts.iter().for_each(|part| output.push(part));
        output.finish(note)
    }

    #[test]
    fn short_output_is_shown_whole_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(shown(&dir, &[b"a\xff", b"\0b\n"], None), "a\u{fffd}\u{fffd}b\n");
        assert!(!dir.path().join("calls/sevt_1").exists());
        assert_eq!(shown(&dir, &[], None), "(no output)");
        assert_eq!(shown(&dir, &[], Some("[exit status 3]")), "[exit status 3]");
        assert_eq!(shown(&dir, &[b"x\n"], Some("[exit status 3]")), "x\n[exit status 3]");
    }

    #[test]
    fn long_output_is_shown_by_its_end_and_kept_in_the_call_file() {
        let dir = tempfile::tempdir().unwrap();
        let line = "ä".repeat(1_000);
        let parts: Vec<&[u8]> = vec![line.as_bytes(); 150];
        let text = shown(&dir, &parts, None);
        assert!(text.chars().count() <= limits::RESULT_CHARS);
        assert!(text.starts_with("[output of 300000 bytes truncated to its end; the full output is in /mnt/session/calls/sevt_1]"));
        assert_eq!(std::fs::metadata(dir.path().join("calls/sevt_1")).unwrap().len(), 300_000);
    }

    #[test]
    fn endless_output_is_bounded_on_disk_and_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let part = vec![b'x'; 1 << 20];
        let mut parts: Vec<&[u8]> = vec![&part; 17];
        parts.push(b"the end");
        let text = shown(&dir, &parts, None);
        assert!(text.ends_with("the end"));
        assert_eq!(std::fs::metadata(dir.path().join("calls/sevt_1")).unwrap().len(), KEEP);
    }

    #[test]
    fn a_long_text_of_a_file_tool_is_shown_by_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, call) = (kept(&dir), "sevt_1".parse().unwrap());
        let long = format!("begin{}", "y".repeat(limits::RESULT_CHARS));
        let outcome = of_tool(&kept, &call, Ok(vec![json!({"type": "text", "text": long})]));
        let text = outcome.content[0]["text"].as_str().unwrap();
        assert!(text.starts_with("begin") && text.contains("/mnt/session/calls/sevt_1"));
        assert!(text.chars().count() <= limits::RESULT_CHARS);
        assert_eq!(std::fs::read_to_string(dir.path().join("calls/sevt_1")).unwrap(), long);
    }
}
