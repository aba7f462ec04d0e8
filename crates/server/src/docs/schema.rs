//! Schemas as HTML: what a value is in a few words, and the tables of what is in it.

use serde_json::Value;

use super::html::{code, escaped, paragraph, prose};

/// The part of a reference behind its last slash.
pub(super) fn target(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

/// A link to a schema.
pub(super) fn link(name: &str) -> String {
    format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name))
}

/// What a value is, in a few words.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return link(target(reference));
    }
    if let Some(constant) = schema.get("const") {
        return code(&constant.to_string());
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| code(&value.to_string())).collect::<Vec<_>>().join(" or ");
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(variants) = schema[key].as_array() {
            return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any value"],
    };
    types.iter().map(|name| typed(name, schema)).collect::<Vec<_>>().join(" or ")
}

fn typed(name: &str, schema: &Value) -> String {
    match name {
        "array" if schema["maxItems"] == 0 => "empty list".to_owned(),
        "array" => format!("list of {}", kind(&schema["items"])),
        "string" if schema["format"] == "date-time" => "RFC 3339 time".to_owned(),
        "object" if schema["additionalProperties"].is_object() => format!("object of {}", kind(&schema["additionalProperties"])),
        other => escaped(other),
    }
}

/// The limits of a value, in words.
fn limits(schema: &Value) -> String {
    const WORDS: [(&str, &str, &str); 8] = [
        ("minLength", "at least ", " characters"),
        ("maxLength", "at most ", " characters"),
        ("minItems", "at least ", " entries"),
        ("maxItems", "at most ", " entries"),
        ("maxProperties", "at most ", " pairs"),
        ("minimum", "from ", ""),
        ("maximum", "to ", ""),
        ("pattern", "matches ", ""),
    ];
    let said = WORDS.iter().filter_map(|(key, before, after)| {
        let limit = schema.get(*key).filter(|limit| **limit != 0)?;
        let shown = limit.as_str().map_or_else(|| escaped(&limit.to_string()), code);
        Some(format!("{before}{shown}{after}"))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// A row of a table: a field or a parameter.
pub(super) fn row(name: &str, note: &str, schema: &Value, description: Option<&str>) -> String {
    let limits = limits(schema);
    let limits = if limits.is_empty() { limits } else { format!("<br><small>{limits}</small>") };
    let note = if note.is_empty() { String::new() } else { format!("<br><small>{}</small>", escaped(note)) };
    // A field that can be null says what it is beside the null.
    let inner = schema["oneOf"].as_array().into_iter().flatten().find_map(|variant| variant["description"].as_str());
    let text = prose(description.or(inner).unwrap_or_default());
    format!("<tr><th scope=\"row\">{}{note}</th><td>{}{limits}</td><td>{text}</td></tr>\n", code(name), kind(schema))
}

/// A table of rows; nothing where there are none.
pub(super) fn table(head: &str, rows: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<table>\n<thead><tr><th scope=\"col\">{}</th><th scope=\"col\">Value</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
        escaped(head)
    )
}

/// A schema with a name, whole.
pub(super) fn article(name: &str, schema: &Value) -> String {
    let id = escaped(name);
    let parts = if is_plain(schema) { plain(schema) } else { inside(schema) };
    format!(
        "<article id=\"schema-{id}\">\n<h3><a href=\"#schema-{id}\">{id}</a></h3>\n{}{parts}</article>\n",
        paragraph(schema["description"].as_str())
    )
}

fn is_plain(schema: &Value) -> bool {
    ["properties", "allOf", "oneOf"].iter().all(|key| schema.get(*key).is_none())
}

fn plain(schema: &Value) -> String {
    let (kind, limits) = (kind(schema), limits(schema));
    if limits.is_empty() { format!("<p>{kind}</p>\n") } else { format!("<p>{kind}, {limits}</p>\n") }
}

/// What is in a schema: its fields, its parts, its variants.
fn inside(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return format!("<p>With all of {}.</p>\n", link(target(reference)));
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().map(inside).collect();
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        return variants.iter().map(variant).collect();
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let rows: String = fields
        .map(|(name, field)| {
            let note = if required.contains(&name.as_str()) { "required" } else { "" };
            row(name, note, field, field["description"].as_str())
        })
        .collect();
    table("Field", &rows)
}

fn variant(schema: &Value) -> String {
    let title = match schema["properties"]["type"]["enum"][0].as_str() {
        Some(kind) => code(kind),
        None => kind(schema),
    };
    let more = if is_plain(schema) { String::new() } else { inside(schema) };
    format!("<section class=\"variant\">\n<h4>{title}</h4>\n{}{more}</section>\n", paragraph(schema["description"].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_said_in_a_few_words() {
        let table = [
            (json!({"$ref": "#/components/schemas/Agent"}), "<a href=\"#schema-Agent\">Agent</a>"),
            (json!({"type": ["string", "null"]}), "string or null"),
            (json!({"type": "array", "items": {"type": "integer"}}), "list of integer"),
            (json!({"type": "array", "maxItems": 0, "items": {}}), "empty list"),
            (json!({"const": "agent"}), "<code>&quot;agent&quot;</code>"),
            (json!({"oneOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}), "<a href=\"#schema-A\">A</a> or null"),
            (json!({"type": "object", "additionalProperties": {"type": "string"}}), "object of string"),
            (json!({}), "any value"),
        ];
        for (schema, words) in table {
            assert_eq!(kind(&schema), words);
        }
        assert_eq!(limits(&json!({"minLength": 1, "maxLength": 9, "minimum": 0})), "at least 1 characters, at most 9 characters");
    }
}
