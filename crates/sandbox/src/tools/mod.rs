//! The tools inside a sandbox: what the model is told of them, the five that work on files, and one for what the server fetched.
//! Those run in a process of their own per call, as the agent's user, in the agent's confinement.

mod edit;
mod files;
mod find;
mod glob;
mod grep;
mod page;
mod read;
mod schema;
mod write;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use schema::{BuiltinTool, builtin_tools};

/// The name of the one tool that is not here.
pub(crate) const BASH: &str = "bash";

/// The tool that makes what the server fetched into text. It is not offered: no name of a model's tool has the sign.
pub const PAGE: &str = "web:page";

/// Content blocks, or a message of what went wrong.
pub(crate) type ToolResult = Result<Vec<Value>, String>;

/// Runs a file tool.
pub(crate) fn run(tool: &str, input: &Value) -> ToolResult {
    match tool {
        "read" => read::run(&parse(input)?),
        "write" => write::run(&parse(input)?),
        "edit" => edit::run(&parse(input)?),
        "glob" => glob::run(&parse(input)?),
        "grep" => grep::run(&parse(input)?),
        PAGE => page::run(&parse(input)?),
        other => Err(format!("There is no tool {other:?}.")),
    }
}

fn parse<T: DeserializeOwned>(input: &Value) -> Result<T, String> {
    T::deserialize(input).map_err(|error| format!("Invalid input: {error}"))
}

fn text(text: impl Into<String>) -> Vec<Value> {
    vec![json!({"type": "text", "text": text.into()})]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offered_file_tool_runs_and_refuses_input_that_is_none() {
        for tool in builtin_tools().iter().filter(|tool| tool.name != BASH) {
            assert!(run(tool.name, &json!({})).unwrap_err().starts_with("Invalid input"), "{}", tool.name);
        }
        assert!(run("web_search", &json!({})).is_err());
    }
}
