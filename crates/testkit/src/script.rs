//! The script language: directive lines in a user's message, each group of them one answer.
//!
//! ```text
//! SAY <text>                 a text block
//! TOOL <name> <json>         a call; neighbouring ones belong to one answer and end it
//! THINK <text>               a thinking block
//! GATE <name>                wait here until the test opens the gate
//! HOLD <name>                the same behind a call, in its answer
//! SLEEP <seconds>            wait before the answer's blocks
//! DELAY <milliseconds>       pause between pieces
//! CHUNK <chars>              size of a piece of text
//! FAIL <status> <n> [after]  the first n requests for this answer fail
//! STOP <reason>              the stop reason
//! USAGE <in> <out> [cache_read] [cache_write]
//! DISCONNECT                 cut the connection half way through the last block
//! ERROR_EVENT <type>         send an error event half way through the last block
//! STEP or ---                ends an answer
//! NONCE <anything>           makes a script distinct
//! ```

use std::time::Duration;

use crate::limits::{SLEEP_MAX, TEXT_PIECE_CHARS};

/// One thing an answer does, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Say(String),
    Think(String),
    Tool { name: String, input: String },
    Gate(String),
}

/// Requests that fail before the answer is given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fail {
    pub(crate) status: u16,
    pub(crate) times: u32,
    pub(crate) retry_after: Option<String>,
}

/// One answer of the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) items: Vec<Item>,
    pub(crate) sleep: Duration,
    pub(crate) delay: Duration,
    pub(crate) chunk: usize,
    pub(crate) fail: Option<Fail>,
    pub(crate) stop: Option<String>,
    pub(crate) usage: Option<[u64; 4]>,
    pub(crate) disconnect: bool,
    pub(crate) error_event: Option<String>,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            sleep: Duration::ZERO,
            delay: Duration::ZERO,
            chunk: TEXT_PIECE_CHARS,
            fail: None,
            stop: None,
            usage: None,
            disconnect: false,
            error_event: None,
        }
    }
}

impl Step {
    fn has_tools(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Tool { .. }))
    }

    fn apply(&mut self, word: &str, argument: &str) {
        let unescaped = || argument.replace("\\n", "\n");
        match word {
            "SAY" => self.items.push(Item::Say(unescaped())),
            "THINK" => self.items.push(Item::Think(unescaped())),
            "GATE" | "HOLD" => self.items.push(Item::Gate(argument.to_owned())),
            "TOOL" => {
                let (name, input) = argument.split_once(char::is_whitespace).unwrap_or((argument, "{}"));
                self.items.push(Item::Tool { name: name.to_owned(), input: input.trim().to_owned() });
            }
            "SLEEP" => self.sleep = (self.sleep + seconds(number(argument))).min(SLEEP_MAX),
            "DELAY" => self.delay = seconds(number(argument) / 1_000.0),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
            "CHUNK" => self.chunk = (number(argument) as usize).max(1),
            "FAIL" => self.fail = Some(fail(argument)),
            "STOP" => self.stop = Some(or(argument, "end_turn")),
            "USAGE" => {
                let mut counts = [0; 4];
                for (count, word) in counts.iter_mut().zip(argument.split_whitespace()) {
                    *count = word.parse().unwrap_or(0);
                }
                self.usage = Some(counts);
            }
            "DISCONNECT" => self.disconnect = true,
            "ERROR_EVENT" => self.error_event = Some(or(argument, "overloaded_error")),
            _ => {}
        }
    }
}

/// The steps that a text scripts, or `None` where it has no directive.
pub(crate) fn parse(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut open: Option<Step> = None;
    let mut found = false;
    for line in text.lines() {
        if line.trim_matches([' ', '\t', '\r']) == "---" {
            steps.extend(open.take());
            continue;
        }
        let Some((word, argument)) = directive(line) else { continue };
        found = true;
        match word {
            "NONCE" => continue,
            "STEP" => {
                steps.extend(open.take());
                continue;
            }
            _ => {}
        }
        if !["TOOL", "HOLD"].contains(&word) && open.as_ref().is_some_and(Step::has_tools) {
            steps.extend(open.take());
        }
        open.get_or_insert_default().apply(word, argument);
    }
    steps.extend(open);
    found.then_some(steps)
}

const WORDS: [&str; 15] = [
    "SAY",
    "TOOL",
    "THINK",
    "GATE",
    "HOLD",
    "SLEEP",
    "DELAY",
    "CHUNK",
    "FAIL",
    "STOP",
    "USAGE",
    "DISCONNECT",
    "ERROR_EVENT",
    "STEP",
    "NONCE",
];

fn directive(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start_matches([' ', '\t', '>', '*', '-']).trim_end();
    for word in WORDS {
        let Some(rest) = line.strip_prefix(word) else { continue };
        if rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') {
            continue;
        }
        let argument = rest.trim();
        if matches!(word, "TOOL") && !is_call(argument) {
            return None;
        }
        return Some((word, argument));
    }
    None
}

/// Whether this is a call, rather than prose that begins with the word.
fn is_call(argument: &str) -> bool {
    let (name, rest) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
    named && (rest.trim().is_empty() || rest.trim_start().starts_with('{'))
}

fn fail(argument: &str) -> Fail {
    let mut words = argument.split_whitespace();
    Fail {
        status: words.next().and_then(|word| word.parse().ok()).filter(|status| (400..600).contains(status)).unwrap_or(529),
        times: words.next().and_then(|word| word.parse().ok()).unwrap_or(1),
        retry_after: words.next().map(str::to_owned),
    }
}

fn number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or_default().min(SLEEP_MAX)
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Vec<Item>> {
        parse(text).unwrap().into_iter().map(|step| step.items).collect()
    }

    fn say(text: &str) -> Item {
        Item::Say(text.to_owned())
    }

    fn tool(name: &str, input: &str) -> Item {
        Item::Tool { name: name.to_owned(), input: input.to_owned() }
    }

    #[test]
    fn calls_end_a_step_and_neighbours_share_one() {
        let script = "SAY a\nTOOL bash {\"command\": \"ls\"}\nHOLD g\nTOOL read\nSAY b\nSTEP\n  > SAY c\\nd\n---\nSAY e";
        let expected = vec![
            vec![say("a"), tool("bash", "{\"command\": \"ls\"}"), Item::Gate("g".into()), tool("read", "{}")],
            vec![say("b")],
            vec![say("c\nd")],
            vec![say("e")],
        ];
        assert_eq!(items(script), expected);
    }

    #[test]
    fn prose_is_no_script() {
        for text in ["", "hello", "SAYING things", "---\nx", "TOOL use is fun", "STEPS", "please SAY hi"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse("NONCE 3"), Some(Vec::new()));
    }

    #[test]
    fn settings_of_a_step() {
        let script =
            "SLEEP 0.5\nSLEEP 1\nDELAY 20\nCHUNK 3\nFAIL 429 2 7\nSTOP max_tokens\nUSAGE 1 2 3\nDISCONNECT\nERROR_EVENT\nGATE g\nSAY x";
        let steps = parse(script).unwrap();
        let step = &steps[0];
        assert_eq!(steps.len(), 1);
        assert_eq!((step.sleep, step.delay, step.chunk), (Duration::from_millis(1_500), Duration::from_millis(20), 3));
        assert_eq!(step.fail, Some(Fail { status: 429, times: 2, retry_after: Some("7".into()) }));
        assert_eq!(step.stop.as_deref(), Some("max_tokens"));
        assert_eq!(step.usage, Some([1, 2, 3, 0]));
        assert_eq!((step.disconnect, step.error_event.as_deref()), (true, Some("overloaded_error")));
        assert_eq!(step.items, [Item::Gate("g".into()), say("x")]);
    }

    #[test]
    fn nonsense_numbers_do_not_panic() {
        for word in ["SLEEP", "DELAY", "CHUNK", "FAIL", "USAGE"] {
            for argument in ["", "x", "-1", "NaN", "inf", "1e400", "99999999999999999999"] {
                assert!(parse(&format!("{word} {argument}")).is_some());
            }
        }
    }
}
