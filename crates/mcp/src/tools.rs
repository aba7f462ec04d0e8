//! Tools as a server lists them, made fit for models. What cannot be made fit is left out rather than sent: one bad schema would
//! have a provider refuse every request of the session.

use ostler_core::limits::TOOL_DESCRIPTION_CHARS;
use ostler_core::session::mcp::McpTool;
use rmcp::model::Tool;
use serde_json::{Map, Value, json};

use crate::limits;

/// The tools that can be offered, as far as they were listed.
#[derive(Default)]
pub(crate) struct List {
    fit: Vec<McpTool>,
    bytes: usize,
}

impl List {
    /// Takes a page; whether there is room for more.
    pub(crate) fn take(&mut self, page: Vec<Tool>) -> bool {
        for tool in page {
            let name: String = tool.name.chars().take(limits::NAME_CHARS).collect();
            let Some(tool) = one(tool) else {
                tracing::warn!(tool = name, "a tool of an MCP server cannot be offered to models");
                continue;
            };
            self.bytes += tool.name.len() + tool.description.len() + tool.input_schema.to_string().len();
            if self.fit.len() >= limits::TOOLS || self.bytes > limits::LIST_BYTES {
                tracing::warn!("an MCP server lists more than can be offered; the rest is left out");
                return false;
            }
            if !self.fit.iter().any(|known| known.name == tool.name) {
                self.fit.push(tool);
            }
        }
        true
    }

    /// All of them.
    pub(crate) fn into_tools(self) -> Vec<McpTool> {
        self.fit
    }
}

fn one(tool: Tool) -> Option<McpTool> {
    let name = tool.name.into_owned();
    if name.is_empty() || name.chars().count() > limits::NAME_CHARS {
        return None;
    }
    let description = tool.description.or_else(|| tool.title.map(Into::into)).unwrap_or_default();
    let description: String =
        description.chars().filter(|letter| !letter.is_control() || *letter == '\n').take(TOOL_DESCRIPTION_CHARS).collect();
    let input_schema = schema(tool.input_schema.as_ref().clone())?;
    // Models are told something, and providers refuse an empty text.
    let description = if description.trim().is_empty() { name.clone() } else { description };
    Some(McpTool { name, description, input_schema })
}

/// A schema as providers take it: an object without alternatives at its top.
fn schema(mut schema: Map<String, Value>) -> Option<Value> {
    if schema.get("type").is_some_and(|kind| kind != "object") {
        return None;
    }
    schema.insert("type".into(), json!("object"));
    for alternatives in ["oneOf", "anyOf", "allOf"] {
        schema.remove(alternatives);
    }
    let is_plain =
        |name: &String| (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    match schema.entry("properties").or_insert_with(|| json!({})) {
        Value::Object(properties) if properties.keys().all(is_plain) => {}
        _ => return None,
    }
    let schema = Value::Object(schema);
    (schema.to_string().len() <= limits::SCHEMA_BYTES).then_some(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(page: Vec<Tool>) -> Vec<McpTool> {
        let mut list = List::default();
        list.take(page);
        list.into_tools()
    }

    fn tool(value: Value) -> Tool {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_models_cannot_take_is_made_fit_or_left_out() {
        let of = |name: &str, schema: Value| tool(json!({"name": name, "description": "d\u{7}", "inputSchema": schema}));
        let listed = vec![
            of("plain", json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}})),
            of("bare", json!({})),
            of("either", json!({"type": "object", "anyOf": [{"required": ["a"]}]})),
            of("array", json!({"type": "array"})),
            of("odd", json!({"type": "object", "properties": {"a b": {}}})),
            of("large", json!({"type": "object", "description": "x".repeat(limits::SCHEMA_BYTES)})),
            of("plain", json!({"type": "object", "title": "again"})),
            of("", json!({"type": "object"})),
        ];
        let fit = fit(listed);
        let names: Vec<&str> = fit.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(names, ["plain", "bare", "either"]);
        assert_eq!(fit[0].description, "d");
        assert!(fit[0].input_schema["$defs"].is_object() && fit[0].input_schema.get("title").is_none(), "the first of a name counts");
        assert_eq!(fit[1].input_schema, json!({"type": "object", "properties": {}}));
        assert_eq!(fit[2].input_schema, json!({"type": "object", "properties": {}}));
    }

    #[test]
    fn a_list_has_an_end() {
        let many = (0..500).map(|n| tool(json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}}))).collect();
        assert_eq!(fit(many).len(), limits::TOOLS);
    }
}
