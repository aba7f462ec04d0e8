//! What the person sees: messages as they arrive, each call with its output, time and tokens at
//! the end. On a terminal with colours and a sign of life, elsewhere plain lines; with `--json`
//! the events themselves.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use serde_json::Value;

use super::progress::Progress;
use super::turn::Ending;
use crate::client::StreamEvent;
use crate::logging::say;
use crate::terminal::{neutral, neutral_json, one_line};

/// Lines of a call's output that are shown.
const OUTPUT_LINES: usize = 200;
/// Characters of a call's heading.
const HEADING_CHARS: usize = 200;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Shows one session.
#[derive(Debug)]
pub(crate) struct Render {
    json: bool,
    colours: bool,
    progress: Progress,
    started: Instant,
    /// The message that is being shown while it is made.
    shown: Option<Preview>,
    calls: HashMap<String, String>,
    /// Whether what users say and what the session waits for is shown as well.
    whole: bool,
    /// Nobody reads any more.
    closed: bool,
}

/// A message that is being shown while it is made.
#[derive(Debug)]
struct Preview {
    event: String,
    /// Bytes of it on the screen.
    shown: usize,
    /// Bytes of it that came over this connection; a new one begins with the text so far.
    came: usize,
}

impl Render {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal() && !json;
        let colours = terminal && std::env::var_os("NO_COLOR").is_none();
        Self {
            json,
            colours,
            progress: Progress::new(terminal && io::stderr().is_terminal()),
            started: Instant::now(),
            shown: None,
            calls: HashMap::new(),
            whole: false,
            closed: false,
        }
    }

    /// Shows a session rather than a turn: also what users say and what is waited for.
    pub(crate) fn of_session(json: bool) -> Self {
        let render = Self::new(json);
        Self { whole: true, progress: Progress::new(false), ..render }
    }

    /// Whether nobody reads any more what is shown.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The stream was opened again: a message in the making comes again from its beginning.
    pub(crate) fn reconnected(&mut self) {
        if let Some(preview) = &mut self.shown {
            preview.came = 0;
        }
    }

    /// Leaves the screen in order.
    pub(crate) fn finish(&mut self) {
        self.progress.clear();
        self.end_message();
    }

    /// A remark about the run itself; to standard error.
    pub(crate) fn note(&mut self, text: &str) {
        self.progress.clear();
        say(&self.paint(DIM, &neutral(text)));
    }

    /// The session exists.
    pub(crate) fn started(&mut self, session: &str) {
        self.note(&format!("session {session}"));
        self.progress.wait("starting".into());
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &StreamEvent) {
        if self.json {
            self.line(&neutral_json(&event.text));
            return;
        }
        let data = &event.data;
        match data["type"].as_str().unwrap_or_default() {
            "event_delta" => self.delta(data),
            "agent.message" => self.message(data),
            "agent.tool_use" | "agent.custom_tool_use" | "agent.mcp_tool_use" => self.call(data),
            "agent.tool_result" | "agent.mcp_tool_result" => self.result(data),
            "session.error" => self.error(data),
            "session.status_rescheduled" => self.progress.wait("waiting to try again".into()),
            "span.model_request_start" => self.progress.wait("asking the model".into()),
            "span.model_request_end" => self.end_message(),
            _ if self.whole => self.of_users(data),
            _ => {}
        }
    }

    /// The end of the turn.
    pub(crate) fn end(&mut self, ending: Ending, session: &str, totals: Option<&Value>) {
        self.progress.clear();
        self.end_message();
        let how = match ending {
            Ending::Done => "done",
            Ending::Interrupted => "interrupted",
            Ending::Failed => "failed",
            Ending::Declined => "the model declined",
            Ending::Waits => "waits for an answer",
            Ending::OverBudget => "the budget is used up",
            Ending::Terminated => "the session was ended",
            Ending::Left => "left; what ran may go on",
        };
        let tokens = totals.map_or_else(String::new, |totals| {
            let count = |name: &str| totals["usage"][name].as_u64().unwrap_or(0);
            let input = count("input_tokens")
                + count("cache_read_input_tokens")
                + totals["usage"]["cache_creation"].as_object().map_or(0, |kinds| kinds.values().filter_map(Value::as_u64).sum());
            format!(" · {input} tokens in, {} out", count("output_tokens"))
        });
        say(&self.paint(DIM, &format!("{how} · {:.1} s{tokens} · {session}", self.started.elapsed().as_secs_f64())));
    }

    fn delta(&mut self, data: &Value) {
        let (Some(id), Some(text)) = (data["event_id"].as_str(), data.pointer("/delta/content/text").and_then(Value::as_str)) else {
            return;
        };
        self.progress.clear();
        if self.shown.as_ref().is_some_and(|preview| preview.event != id) {
            self.end_message();
        }
        let preview = self.shown.get_or_insert_with(|| Preview { event: id.to_owned(), shown: 0, came: 0 });
        let known = preview.shown.saturating_sub(preview.came);
        preview.came += text.len();
        preview.shown = preview.shown.max(preview.came);
        // What is on the screen already came over an earlier connection.
        if let Some(new) = text.get(known..) {
            self.write(&neutral(new));
        }
    }

    fn message(&mut self, data: &Value) {
        self.progress.clear();
        let text: String = data["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).collect();
        let known = match self.shown.take() {
            Some(preview) if data["id"].as_str() == Some(&preview.event) => preview.shown,
            Some(_) => {
                self.line("");
                0
            }
            None => 0,
        };
        // Previews are a beginning of the message; the rest follows here.
        self.line(&neutral(text.get(known..).unwrap_or_default()));
    }

    fn end_message(&mut self) {
        if self.shown.take().is_some() {
            self.line("");
        }
    }

    fn call(&mut self, data: &Value) {
        self.progress.clear();
        self.end_message();
        let name = data["name"].as_str().unwrap_or_default();
        let input = &data["input"];
        let argument = ["command", "file_path", "pattern"]
            .iter()
            .find_map(|key| input[*key].as_str().map(str::to_owned))
            .unwrap_or_else(|| input.to_string());
        let heading = one_line(&format!("{name}  {argument}"), HEADING_CHARS);
        self.line(&format!("{} {}", self.paint(BOLD, "▸"), self.paint(BOLD, &heading)));
        if let Some(id) = data["id"].as_str() {
            self.calls.insert(id.to_owned(), name.to_owned());
        }
        self.progress.wait(format!("running {}", one_line(name, 40)));
    }

    fn result(&mut self, data: &Value) {
        self.progress.clear();
        let failed = data["is_error"].as_bool() == Some(true);
        let text = neutral(&said(data));
        let lines: Vec<&str> = text.trim_end().lines().collect();
        for line in lines.iter().take(OUTPUT_LINES) {
            self.line(&self.paint(if failed { RED } else { DIM }, &format!("  {line}")));
        }
        if lines.len() > OUTPUT_LINES {
            self.line(&self.paint(DIM, &format!("  … {} more lines", lines.len() - OUTPUT_LINES)));
        }
        if let Some(name) = data["tool_use_id"].as_str().and_then(|id| self.calls.remove(id)) {
            self.progress.wait(format!("after {}", one_line(&name, 40)));
        }
    }

    /// What comes from users, and for what the session waits.
    fn of_users(&mut self, data: &Value) {
        let text = match data["type"].as_str().unwrap_or_default() {
            "user.message" => format!("› {}", said(data)),
            "system.message" => format!("› (system) {}", said(data)),
            "user.custom_tool_result" => format!("› (result) {}", said(data)),
            "user.tool_confirmation" if data["result"] == "allow" => format!("› allowed {}", id(data, "tool_use_id")),
            "user.tool_confirmation" => {
                let why = data["deny_message"].as_str().map_or_else(String::new, |why| format!(": {why}"));
                format!("› denied {}{why}", id(data, "tool_use_id"))
            }
            "user.interrupt" => "› interrupted".to_owned(),
            "session.status_idle" => match data.pointer("/stop_reason/type").and_then(Value::as_str).unwrap_or_default() {
                "end_turn" => "— idle".to_owned(),
                "requires_action" => {
                    let calls = data.pointer("/stop_reason/event_ids").and_then(Value::as_array).into_iter().flatten();
                    format!("— waits for answers to {}", calls.filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
                }
                reason => format!("— idle ({reason})"),
            },
            "session.status_terminated" => "— archived".to_owned(),
            "session.deleted" => "— deleted".to_owned(),
            _ => return,
        };
        self.end_message();
        let text = neutral(&text);
        let style = if text.starts_with('›') { BOLD } else { DIM };
        for line in text.trim_end().lines() {
            self.line(&self.paint(style, line));
        }
    }

    fn error(&mut self, data: &Value) {
        self.progress.clear();
        self.end_message();
        let error = &data["error"];
        let retrying = error.pointer("/retry_status/type").and_then(Value::as_str) == Some("retrying");
        let text = format!(
            "{}: {}{}",
            error["type"].as_str().unwrap_or("error"),
            error["message"].as_str().unwrap_or_default(),
            if retrying { " (goes on)" } else { "" }
        );
        say(&self.paint(RED, &one_line(&text, 1_000)));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    fn write(&mut self, text: &str) {
        let mut stdout = io::stdout().lock();
        // A closed pipe downstream ends the showing, not the session.
        self.closed |= stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err();
    }
}

/// The text of an event's content; other blocks by their type.
fn said(data: &Value) -> String {
    let blocks = data["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = blocks
        .iter()
        .map(|block| block["text"].as_str().map_or_else(|| format!("[{}]", block["type"].as_str().unwrap_or("?")), str::to_owned));
    texts.collect::<Vec<_>>().join("\n")
}

fn id<'a>(data: &'a Value, field: &str) -> &'a str {
    data[field].as_str().unwrap_or("?")
}
