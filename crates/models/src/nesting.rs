//! How deep a value is nested. What is nested too deeply could be written into the journal and
//! never be read again.

use serde_json::Value;

/// Whether a value is nested at most this deep.
pub(crate) fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|field| is_within(field, depth - 1)),
        _ => true,
    }
}
