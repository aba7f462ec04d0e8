//! What a custom tool's input schema may look like.

use serde_json::{Map, Value};

use crate::error::Refusal;
use crate::limits;

/// Refuses schemas that models or the protocol cannot take: not an object, `$ref` anywhere,
/// combinators at the top, odd property names.
pub fn check(tool: &str, schema: &Value) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("tools: input_schema of {tool:?} {why}")));
    let Value::Object(top) = schema else { return refuse("must be an object") };
    if top.get("type").and_then(Value::as_str) != Some("object") {
        return refuse("must have \"type\": \"object\"");
    }
    if ["oneOf", "anyOf", "allOf"].iter().any(|key| top.contains_key(*key)) {
        return refuse("must not have oneOf, anyOf or allOf at its top");
    }
    match top.get("properties") {
        None => {}
        Some(Value::Object(properties)) if properties.keys().all(|name| is_property_name(name)) => {}
        Some(Value::Object(_)) => return refuse("has a property whose name is not 1 to 64 of [A-Za-z0-9_.-]"),
        Some(_) => return refuse("must have an object as its properties"),
    }
    match has_ref(top, 0) {
        Some(false) => Ok(()),
        Some(true) => refuse("must not contain $ref"),
        None => refuse("is nested too deeply"),
    }
}

fn is_property_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// `None` when the nesting is beyond the limit.
fn has_ref(object: &Map<String, Value>, depth: usize) -> Option<bool> {
    if object.contains_key("$ref") {
        return Some(true);
    }
    object.values().try_fold(false, |found, value| Some(found || value_has_ref(value, depth + 1)?))
}

fn value_has_ref(value: &Value, depth: usize) -> Option<bool> {
    if depth > limits::SCHEMA_DEPTH {
        return None;
    }
    match value {
        Value::Object(object) => has_ref(object, depth),
        Value::Array(items) => items.iter().try_fold(false, |found, item| Some(found || value_has_ref(item, depth + 1)?)),
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ordinary_schemas_pass() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string", "enum": ["a"]}}, "required": ["city"], "additionalProperties": false});
        assert!(check("t", &schema).is_ok());
    }

    #[test]
    fn what_models_cannot_take_is_refused() {
        for schema in [
            json!("object"),
            json!({"type": "string"}),
            json!({"type": "object", "anyOf": []}),
            json!({"type": "object", "properties": {"a b": {}}}),
            json!({"type": "object", "properties": [{}]}),
            json!({"type": "object", "properties": {"a": {"items": [{"$ref": "#/x"}]}}}),
        ] {
            assert!(check("t", &schema).is_err(), "{schema}");
        }
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"a": deep});
        }
        assert!(check("t", &json!({"type": "object", "properties": {"a": deep}})).is_err());
    }
}
