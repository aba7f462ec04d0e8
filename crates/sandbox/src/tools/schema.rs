//! The built-in tools as the model sees them.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// A tool that every sandbox has.
#[derive(Debug, Clone)]
pub struct BuiltinTool {
    /// Its name.
    pub name: &'static str,
    /// What the model is told of it.
    pub description: &'static str,
    /// The JSON schema of its input.
    pub input_schema: Value,
    /// Whether it changes nothing, so that neighbouring calls may overlap.
    pub read_only: bool,
}

/// The built-in tools, in the order in which they are offered.
pub fn builtin_tools() -> &'static [BuiltinTool] {
    static TOOLS: LazyLock<Vec<BuiltinTool>> = LazyLock::new(|| vec![bash(), read(), write(), edit(), glob(), grep()]);
    &TOOLS
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn bash() -> BuiltinTool {
    BuiltinTool {
        name: super::BASH,
        description: "Runs a command in bash and returns its standard output and error together. The shell keeps its state between calls: directory, variables, functions, \
             options. Standard input is empty. Background processes (`cmd &`) go on after the call. Long output is cut to its end; the full output is then in a file that the result names.",
        input_schema: object(
            json!({
                "command": {"type": "string", "description": "The command. May be left out if restart is true."},
                "restart": {"type": "boolean", "description": "Start with a fresh shell state."},
                "timeout_ms": {"type": "integer", "minimum": 1, "maximum": crate::limits::BASH_TIMEOUT_MAX_MS, "description": "After this many milliseconds the command and all its processes are stopped; 120000 if left out."},
            }),
            &[],
        ),
        read_only: false,
    }
}

fn read() -> BuiltinTool {
    BuiltinTool {
        name: "read",
        description: "Reads a file: text, an image (PNG, JPEG, GIF, WebP) or a PDF. Text files over 256 KiB are read in parts with view_range.",
        input_schema: object(
            json!({
                "file_path": {"type": "string", "description": "The file; relative paths start at /workspace."},
                "view_range": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "description": "First and last line, counted from 1; a last line of 0 or less means the end of the file."},
            }),
            &["file_path"],
        ),
        read_only: true,
    }
}

fn write() -> BuiltinTool {
    BuiltinTool {
        name: "write",
        description: "Writes a whole file; what it contained is replaced. Missing directories are made.",
        input_schema: object(
            json!({
                "file_path": {"type": "string", "description": "The file; relative paths start at /workspace."},
                "content": {"type": "string", "description": "The new content."},
            }),
            &["file_path", "content"],
        ),
        read_only: false,
    }
}

fn edit() -> BuiltinTool {
    BuiltinTool {
        name: "edit",
        description: "Replaces text in a file. old_string must occur exactly once, unless replace_all is true.",
        input_schema: object(
            json!({
                "file_path": {"type": "string", "description": "The file; relative paths start at /workspace."},
                "old_string": {"type": "string", "description": "The text to replace, exactly as it is in the file."},
                "new_string": {"type": "string", "description": "The text to put there."},
                "replace_all": {"type": "boolean", "description": "Replace every occurrence."},
            }),
            &["file_path", "old_string", "new_string"],
        ),
        read_only: false,
    }
}

fn glob() -> BuiltinTool {
    BuiltinTool {
        name: "glob",
        description: "Finds files by a pattern such as `src/**/*.rs`; newest first, at most 200. Does not follow links to directories.",
        input_schema: object(
            json!({
                "pattern": {"type": "string", "description": "The pattern: `*` within one level, `**` across levels, `{a,b}`, `[abc]`."},
                "path": {"type": "string", "description": "The directory to search; /workspace if left out."},
            }),
            &["pattern"],
        ),
        read_only: true,
    }
}

fn grep() -> BuiltinTool {
    BuiltinTool {
        name: "grep",
        description: "Searches files for a regular expression; returns lines as path:line:text. Skips binary files and .git directories.",
        input_schema: object(
            json!({
                "pattern": {"type": "string", "description": "The regular expression (Rust syntax, without look-around and back-references)."},
                "path": {"type": "string", "description": "The file or directory to search; /workspace if left out."},
            }),
            &["pattern"],
        ),
        read_only: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_tools_are_there_with_schemas_whose_required_properties_exist() {
        let names: Vec<&str> = builtin_tools().iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["bash", "read", "write", "edit", "glob", "grep"]);
        for tool in builtin_tools() {
            for required in tool.input_schema["required"].as_array().unwrap() {
                assert!(tool.input_schema["properties"].get(required.as_str().unwrap()).is_some());
            }
        }
    }
}
