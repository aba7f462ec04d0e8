//! What is the same for many operations: the errors that they can answer, headers of answers,
//! values of parameters.

use ostler_core::events::wire::LISTABLE_KINDS;
use serde_json::{Map, Value, json};

use super::examples;
use crate::limits;

/// An error as it is described.
struct ErrorText {
    status: &'static str,
    means: &'static str,
    class: &'static str,
    message: &'static str,
    /// A header that goes with it.
    header: Option<&'static str>,
}

const fn error(
    status: &'static str,
    class: &'static str,
    means: &'static str,
    message: &'static str,
    header: Option<&'static str>,
) -> ErrorText {
    ErrorText { status, means, class, message, header }
}

const ERRORS: [ErrorText; 11] = [
    error("400", "invalid_request_error", "The request is wrong, or not possible in the present state.", "name: must not be empty", None),
    error(
        "401",
        "authentication_error",
        "The key is missing or not valid.",
        "a valid API key is needed: send it as \"Authorization: Bearer <key>\" or \"x-api-key: <key>\"",
        Some("www-authenticate"),
    ),
    error("404", "not_found_error", "There is no such thing, or not for this key.", "no session \"sesn_unknown\"", None),
    error("408", "timeout_error", "The body did not arrive in time.", "the request body did not arrive in time", None),
    error(
        "409",
        "conflict_error",
        "Somebody else was faster, or something refers to it. Repeating cannot help.",
        "version: the agent has version 2, not 1; read it again and repeat the change",
        Some("x-should-retry"),
    ),
    error("413", "request_too_large", "The body is too large.", "the request body is larger than 32 MiB", None),
    error(
        "421",
        "invalid_request_error",
        "The server does not answer under this host name.",
        "this server does not answer under that host name",
        None,
    ),
    error("429", "rate_limit_error", "Too many streams at once.", "the server has no room for another stream", Some("retry-after")),
    error(
        "500",
        "api_error",
        "An error of the server; its log has the details under the request id.",
        "an internal error; the server's log has the details under this request id",
        Some("x-should-retry"),
    ),
    error(
        "503",
        "api_error",
        "Not now: the server is stopping, or lacks something that comes back.",
        "the store cannot answer now; try again in a moment",
        Some("retry-after"),
    ),
    error(
        "504",
        "timeout_error",
        "The session did not answer in time; the request may still take effect.",
        "the session did not answer in time; read its events before repeating the command",
        Some("x-should-retry"),
    ),
];

/// Operations that can lose a race, or whose object others refer to.
const CONFLICTS: [&str; 10] = [
    "update_agent",
    "archive_agent",
    "update_environment",
    "archive_environment",
    "delete_environment",
    "update_vault",
    "archive_vault",
    "create_credential",
    "update_credential",
    "archive_credential",
];
/// Operations that a session's actor answers.
const COMMANDS: [&str; 4] = ["update_session", "archive_session", "send_events", "retry_session"];
/// Operations whose bodies name other resources.
const NAME_OTHERS: [&str; 1] = ["create_session"];
/// Operations that answer under any host name.
const PROBES: [&str; 2] = ["alive", "ready"];
/// The name of what the HTTP library answers by itself, before there is an operation.
const BROKEN: &str = "4XX";
/// Operations that hold a stream open.
const STREAMS: [&str; 2] = ["stream_events", "stream_thread_events"];

/// Completes every operation.
pub(super) fn complete(paths: &mut Value) {
    for item in paths.as_object_mut().into_iter().flat_map(|paths| paths.values_mut()) {
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            let name = operation["operationId"].as_str().unwrap_or_default().to_owned();
            parameters(operation);
            answers(operation, &name);
            if let Some(content) = operation.pointer_mut("/requestBody/content/application~1json") {
                content["examples"] = examples::of(&name);
            }
        }
    }
}

/// The errors, as components.
pub(super) fn errors() -> Value {
    let described = ERRORS.iter().map(|error| {
        let mut headers = request_id();
        headers.extend(error.header.map(|name| (name.to_owned(), header(name))));
        let envelope =
            json!({"type": "error", "error": {"type": error.class, "message": error.message}, "request_id": examples::REQUEST_ID});
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}, "example": envelope}});
        (component(error.status), json!({"description": error.means, "headers": headers, "content": content}))
    });
    Value::Object(described.collect())
}

fn component(status: &str) -> String {
    format!("Error{status}")
}

/// The errors that an operation can answer.
fn statuses(operation: &Value, name: &str) -> Vec<&'static str> {
    let has_path = operation["parameters"].as_array().into_iter().flatten().any(|parameter| parameter["in"] == "path");
    let has_body = operation.get("requestBody").is_some();
    let is_open = operation.get("security").is_some();
    let answers = |status: &str| match status {
        "400" | "421" => !PROBES.contains(&name),
        "500" => true,
        _ if is_open => false,
        "401" | "503" => true,
        "404" => has_path || NAME_OTHERS.contains(&name),
        "408" | "413" => has_body,
        "409" => CONFLICTS.contains(&name),
        "429" => STREAMS.contains(&name),
        "504" => COMMANDS.contains(&name),
        _ => false,
    };
    ERRORS.iter().map(|error| error.status).filter(|status| answers(status)).collect()
}

/// A word on success, the header of every answer, and the errors.
fn answers(operation: &mut Value, name: &str) {
    let statuses = statuses(operation, name);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses.iter_mut() {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = if status == "200" { "It is done." } else { "It is not." }.into();
        }
        response["headers"] = Value::Object(request_id());
    }
    if PROBES.contains(&name) {
        responses.insert(
            BROKEN.to_owned(),
            json!({"description": "The request is no HTTP that this server takes, such as one with too many headers."}),
        );
    }
    for status in statuses {
        let reference = format!("#/components/responses/{}", component(status));
        responses.entry(status).or_insert_with(|| json!({"$ref": reference}));
    }
}

fn request_id() -> Map<String, Value> {
    Map::from_iter([("request-id".to_owned(), header("request-id"))])
}

fn header(name: &str) -> Value {
    match name {
        "request-id" => {
            json!({"description": "The request's id, as in the server's log.", "schema": {"type": "string"}, "example": examples::REQUEST_ID})
        }
        "www-authenticate" => json!({"description": "Always `Bearer`.", "schema": {"type": "string"}, "example": "Bearer"}),
        "retry-after" => {
            json!({"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}, "example": 5})
        }
        _ => json!({"description": "`false` where repeating the request cannot help.", "schema": {"const": "false"}, "example": "false"}),
    }
}

/// Values of parameters that types do not say, and the other bounds of spans of time.
fn parameters(operation: &mut Value) {
    let needs_beta = operation["tags"][0] == "threads";
    let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return };
    let mut more = Vec::new();
    if needs_beta {
        more.push(json!({
            "name": "anthropic-beta",
            "in": "header",
            "required": true,
            "description": "Names a `managed-agents` beta, perhaps beside others.",
            "schema": {"type": "string", "pattern": "managed-agents-"},
            "example": "managed-agents-2026-04-01",
        }));
    }
    for parameter in parameters.iter_mut() {
        // A parameter can be left out; there is no null in URLs and headers.
        if let Some(kinds) = parameter["schema"]["type"].as_array() {
            parameter["schema"]["type"] = kinds.iter().find(|kind| **kind != "null").cloned().unwrap_or_default();
        }
        match parameter["name"].as_str().unwrap_or_default() {
            "order" => parameter["schema"]["enum"] = json!(["asc", "desc"]),
            "decision" => parameter["schema"]["enum"] = json!(["allowed", "denied"]),
            "types[]" => parameter["schema"]["items"]["enum"] = json!(LISTABLE_KINDS.as_slice()),
            "event_deltas[]" => {
                parameter["schema"]["items"]["enum"] = json!(["agent.message", "agent.thinking"]);
                parameter["schema"]["maxItems"] = json!(limits::EVENT_DELTAS);
            }
            "page" => {
                parameter["schema"]["pattern"] = json!("^[A-Za-z0-9_-]*$");
                parameter["schema"]["maxLength"] = json!(limits::CURSOR_BYTES);
            }
            "created_at[gte]" => {
                for (side, word) in [("gt", "After"), ("lte", "At or before"), ("lt", "Before")] {
                    let mut bound = parameter.clone();
                    bound["name"] = json!(format!("created_at[{side}]"));
                    bound["description"] = json!(format!("{word} this time."));
                    more.push(bound);
                }
                parameter["description"] = json!("At or after this time.");
            }
            _ => {}
        }
    }
    parameters.extend(more);
}
