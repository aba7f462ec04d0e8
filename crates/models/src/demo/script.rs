//! What the demo model says and does next: a pure function of the conversation and the tools.

use ostler_core::model::ToolSpec;
use serde_json::{Value, json};

use super::conversation::{Conversation, Step};
use crate::limits::{DEMO_QUOTE_CHARS, DEMO_USER_CHARS};

/// One block of the answer.
#[derive(Debug)]
pub(super) enum Part {
    Say(String),
    Call { name: String, input: Value },
}

const INTRODUCTION: &str = "I am Ostler's built-in demo model: a script, no AI. I understand nothing of what you write, \
    but what I run and quote here is real. Configure a model provider to talk to a model.";
const FILE: &str = "/workspace/ostler-demo.txt";

/// The answer to the conversation as it stands.
pub(super) fn next(conversation: &Conversation, tools: &[ToolSpec]) -> Vec<Part> {
    let plan = plan(conversation, tools);
    let done = conversation.steps.len();
    let failed = conversation.steps.last().is_some_and(|step| step.is_error && step.tool == "write");
    match plan.get(done) {
        Some(tool) if !failed => {
            let mut text = String::new();
            if done == 0 && !conversation.is_later_turn {
                text = format!("{INTRODUCTION}\n\n");
            }
            text.push_str(intent(&tool.name));
            vec![Part::Say(text), Part::Call { name: tool.name.to_string(), input: input(tool, conversation) }]
        }
        _ if done == 0 => vec![Part::Say(echo(conversation, tools))],
        _ => vec![Part::Say(report(conversation))],
    }
}

/// The tools to use in this turn, in order: all that fit in the first turn, one in later ones.
fn plan<'a>(conversation: &Conversation, tools: &'a [ToolSpec]) -> Vec<&'a ToolSpec> {
    let offered = |name: &str| tools.iter().find(|tool| *tool.name == *name);
    let write = offered("write");
    // Reading back needs something that was written.
    let read = write.and_then(|_| offered("read"));
    let mut plan: Vec<&ToolSpec> = [offered("bash"), write, read].into_iter().flatten().collect();
    if conversation.is_later_turn {
        plan.truncate(1);
    }
    plan
}

fn intent(tool: &str) -> &'static str {
    match tool {
        "bash" => "I ask the sandbox what it is.",
        "write" => "Now I write a small file with your words in it.",
        _ => "And I read it back.",
    }
}

fn input(tool: &ToolSpec, conversation: &Conversation) -> Value {
    let schema: Value = serde_json::from_str(tool.input_schema.get()).unwrap_or_default();
    let path = if schema["properties"]["path"].is_null() { "file_path" } else { "path" };
    match &*tool.name {
        "bash" if conversation.is_later_turn => json!({"command": "date -u; ls -la"}),
        "bash" => json!({"command": "uname -sr; whoami; pwd; date -u"}),
        "write" => {
            let content = format!("Written by Ostler's demo model. You said:\n\n{}\n", quoted(&conversation.user_text, DEMO_USER_CHARS));
            json!({path: FILE, "content": content})
        }
        _ => json!({path: FILE}),
    }
}

fn echo(conversation: &Conversation, tools: &[ToolSpec]) -> String {
    let words = quoted(&conversation.user_text, DEMO_USER_CHARS);
    let why = if tools.is_empty() { "I was given no tools" } else { "I was given none of the tools I know (bash, write, read)" };
    format!("{INTRODUCTION}\n\n{why}, so I can only repeat what you said:\n\n{words}")
}

fn report(conversation: &Conversation) -> String {
    let mut text = "This is what came back:".to_owned();
    for Step { tool, result, is_error } in &conversation.steps {
        let outcome = if *is_error { "did not succeed; it answered" } else { "answered" };
        text.push_str(&format!("\n\n{tool} {outcome}:\n\n{}", quoted(result, DEMO_QUOTE_CHARS)));
    }
    text.push_str("\n\nThat is all my script does.");
    text
}

/// The text as a quotation: bounded, and without what would move a terminal's cursor.
fn quoted(text: &str, chars: usize) -> String {
    let text = text.trim();
    let mut kept: String = text.chars().take(chars).filter(|char| *char == '\n' || !char.is_control()).collect();
    if text.chars().nth(chars).is_some() {
        kept.push_str(" …");
    }
    if kept.is_empty() {
        kept.push_str("(nothing)");
    }
    kept.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}
