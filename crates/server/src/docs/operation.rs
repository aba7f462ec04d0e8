//! Operations as HTML: parameters, body with examples, answers.

use serde_json::Value;

use super::html::{code, escaped, paragraph};
use super::schema;

/// The anchor of an operation.
pub(super) fn anchor(operation: &Value) -> String {
    format!("op-{}", escaped(operation["operationId"].as_str().unwrap_or_default()))
}

/// The method and the path, as a label.
pub(super) fn label(method: &str, path: &str) -> String {
    let method = escaped(method);
    format!("<span class=\"method {method}\">{}</span> {}", method.to_uppercase(), code(path))
}

/// An operation, whole. `document` is where references lead.
pub(super) fn article(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let anchor = anchor(operation);
    let open = if operation.get("security").is_some() { "<p><small>Needs no key.</small></p>\n" } else { "" };
    format!(
        "<article id=\"{anchor}\">\n<h3><a href=\"#{anchor}\">{}</a></h3>\n<p class=\"path\">{}</p>\n{}{open}{}{}{}{}</article>\n",
        escaped(operation["summary"].as_str().unwrap_or_default().trim_end_matches('.')),
        label(method, path),
        paragraph(operation["description"].as_str()),
        parameters(operation),
        body(operation),
        calls(method, path, operation),
        answers(document, operation),
    )
}

fn parameters(operation: &Value) -> String {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let rows: String = all
        .map(|parameter| {
            let place = parameter["in"].as_str().unwrap_or_default();
            let needed = if parameter["required"] == true && place != "path" { ", required" } else { "" };
            let name = parameter["name"].as_str().unwrap_or_default();
            schema::row(name, &format!("{place}{needed}"), &parameter["schema"], parameter["description"].as_str())
        })
        .collect();
    schema::table("Parameter", &rows)
}

fn body(operation: &Value) -> String {
    let content = &operation["requestBody"]["content"]["application/json"];
    if content.is_null() { String::new() } else { format!("<p>Body: {}</p>\n", schema::kind(&content["schema"])) }
}

/// Commands that do it, one for each example.
fn calls(method: &str, path: &str, operation: &Value) -> String {
    let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
    let headers = required_headers(operation);
    let Some(examples) = examples.as_object() else {
        return example("Example", &command(method, path, operation, &headers, None));
    };
    let shown = examples.values().map(|one| {
        let summary = one["summary"].as_str().unwrap_or_default();
        example(&format!("Example: {}", summary.trim_end_matches('.')), &command(method, path, operation, &headers, Some(&one["value"])))
    });
    shown.collect()
}

fn example(title: &str, command: &str) -> String {
    format!("<details><summary>{}</summary>\n<pre>{}</pre></details>\n", escaped(title), escaped(command))
}

fn required_headers(operation: &Value) -> Vec<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let needed = all.filter(|parameter| parameter["in"] == "header" && parameter["required"] == true);
    needed
        .map(|parameter| {
            format!("{}: {}", parameter["name"].as_str().unwrap_or_default(), parameter["example"].as_str().unwrap_or_default())
        })
        .collect()
}

/// A command for a shell in which `OSTLER_URL`, `OSTLER_API_KEY` and the ids of the path are set.
fn command(method: &str, path: &str, operation: &Value, headers: &[String], body: Option<&Value>) -> String {
    let mut filled = String::new();
    for part in path.split_inclusive(['{', '}']) {
        match part.strip_suffix('}') {
            Some(name) => filled.push_str(&format!("${{{}}}", name.to_uppercase())),
            None => filled.push_str(part.trim_end_matches('{')),
        }
    }
    let mut command = format!("curl -X {} \"$OSTLER_URL{filled}\"", method.to_uppercase());
    if operation.get("security").is_none() {
        command.push_str(" \\\n  -H \"x-api-key: $OSTLER_API_KEY\"");
    }
    for header in headers {
        command.push_str(&format!(" \\\n  -H \"{header}\""));
    }
    if let Some(body) = body {
        let text = serde_json::to_string_pretty(body).unwrap_or_default().replace('\'', "'\\''");
        command.push_str(&format!(" \\\n  -H \"content-type: application/json\" \\\n  -d '{text}'"));
    }
    command
}

fn answers(document: &Value, operation: &Value) -> String {
    let rows: String =
        operation["responses"].as_object().into_iter().flatten().map(|(status, answer)| answer_row(document, status, answer)).collect();
    format!(
        "<table>\n<thead><tr><th scope=\"col\">Answer</th><th scope=\"col\">Body</th><th scope=\"col\">Meaning</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )
}

fn answer_row(document: &Value, status: &str, answer: &Value) -> String {
    let pointed = answer["$ref"].as_str().and_then(|reference| document.pointer(reference.trim_start_matches('#')));
    let answer = pointed.unwrap_or(answer);
    let bodies = answer["content"].as_object().into_iter().flatten().map(|(kind, content)| match kind.as_str() {
        "application/json" => schema::kind(&content["schema"]),
        other => code(other),
    });
    let bodies = bodies.collect::<Vec<_>>().join(" or ");
    let meaning = super::html::prose(answer["description"].as_str().unwrap_or_default());
    format!("<tr><th scope=\"row\">{}</th><td>{bodies}</td><td>{meaning}</td></tr>\n", escaped(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_command_is_complete_and_quoted() {
        let said = command("post", "/v1/agents/{agent_id}/x", &json!({}), &["a: b".into()], Some(&json!({"text": "it's"})));
        let expected = "curl -X POST \"$OSTLER_URL/v1/agents/${AGENT_ID}/x\" \\\n  -H \"x-api-key: $OSTLER_API_KEY\" \\\n  -H \"a: b\" \\\n  \
                        -H \"content-type: application/json\" \\\n  -d '{\n  \"text\": \"it'\\''s\"\n}'";
        assert_eq!(said, expected);
        assert!(!command("get", "/healthz", &json!({"security": [{}]}), &[], None).contains("x-api-key"));
    }
}
