//! What schemas say beyond the types of fields: constants, limits, patterns, what is always there.
//! The limits are those that the handlers check.

use ostler_core::ids::{AgentId, ApiKeyId, ConfirmationId, CredentialId, EnvironmentId, EventId, SessionId, ThreadId, VaultId};
use ostler_core::limits::{
    ALLOWED_HOSTS, CONTENT_BLOCKS, CREDENTIAL_HOSTS, CUSTOM_TOOL_NAME_CHARS, DENY_MESSAGE_CHARS, DESCRIPTION_CHARS, DISPLAY_NAME_CHARS,
    EGRESS_RULES, EVENTS_PER_REQUEST, INITIAL_EVENTS, MCP_SERVER_NAME_CHARS, MCP_SERVERS, METHOD_CHARS, MODEL_ID_CHARS, NAME_CHARS,
    PACKAGE_CHARS, PACKAGES_PER_MANAGER, RULE_METHODS, RULE_PATH_CHARS, RULE_PORTS, SECRET_BYTES, SECRET_NAME_CHARS, SYSTEM_CHARS,
    TITLE_CHARS, TOOL_DESCRIPTION_CHARS, TOOL_ENTRIES, URL_CHARS, VAULTS_PER_SESSION,
};
use ostler_core::resources::egress::EgressSettings;
use ostler_core::resources::sandbox::SandboxSettings;
use serde_json::{Value, json};

/// Completes the schemas of the description.
pub(super) fn complete(schemas: &mut Value) {
    let Value::Object(schemas) = schemas else { return };
    for (name, schema) in schemas.iter_mut() {
        for (_, prefix, what) in IDS.iter().filter(|(id, ..)| id == name) {
            merge(schema, id(prefix, what));
        }
        for (_, kind) in CONSTANTS.iter().filter(|(constant, _)| constant == name) {
            rule(schema, "type", &json!({"const": kind}));
        }
        for (_, names) in ALWAYS_THERE.iter().filter(|(answer, _)| answer == name) {
            require(schema, names);
        }
        for (_, kinds) in NOT_SERVED.iter().filter(|(request, _)| request == name) {
            leave_out(schema, kinds);
        }
        for (_, field, keywords) in rules().iter().filter(|(ruled, ..)| ruled == name) {
            rule(schema, field, keywords);
        }
    }
    name_rows(schemas);
    if let Some(schema) = schemas.get_mut("Timestamp") {
        merge(schema, json!({"description": "A point in time, RFC 3339.", "examples": ["2026-01-02T03:04:05.678901Z"]}));
    }
}

/// Rows of pages are the schemas of their names, not copies of them.
fn name_rows(schemas: &mut serde_json::Map<String, Value>) {
    let names: Vec<String> = schemas.keys().cloned().collect();
    for (name, page) in schemas.iter_mut() {
        let row = name.split_once("Page_").map(|(_, row)| row.to_owned()).filter(|row| names.contains(row));
        if let (Some(row), Some(items)) = (row, page.pointer_mut("/properties/data/items")) {
            *items = json!({"$ref": format!("#/components/schemas/{row}")});
        }
    }
}

/// Ids: schema, prefix, of what.
const IDS: [(&str, &str, &str); 9] = [
    ("AgentId", AgentId::PREFIX, "The id of an agent."),
    ("EnvironmentId", EnvironmentId::PREFIX, "The id of an environment."),
    ("SessionId", SessionId::PREFIX, "The id of a session."),
    ("ThreadId", ThreadId::PREFIX, "The id of a thread."),
    ("EventId", EventId::PREFIX, "The id of an event, and with it of a tool call."),
    ("ConfirmationId", ConfirmationId::PREFIX, "The id of a question about a request."),
    ("ApiKeyId", ApiKeyId::PREFIX, "The id of an API key; not the key."),
    ("VaultId", VaultId::PREFIX, "The id of a vault."),
    ("CredentialId", CredentialId::PREFIX, "The id of a credential; not its secret."),
];

fn id(prefix: &str, what: &str) -> Value {
    json!({
        "description": what,
        "pattern": format!("^{prefix}[A-Za-z0-9-]+$"),
        "maxLength": 64,
        "examples": [format!("{prefix}01k9x3v5q8r2m4t6w8y0z2b4d6")],
    })
}

/// Schemas whose `type` always says the same.
const CONSTANTS: [(&str, &str); 21] = [
    ("Agent", "agent"),
    ("ApiKey", "api_key"),
    ("Budget", "workspace_budget"),
    ("Credential", "vault_credential"),
    ("CredentialValidation", "vault_credential_validation"),
    ("DeletedCredential", "vault_credential_deleted"),
    ("DeletedEnvironment", "environment_deleted"),
    ("DeletedSession", "session_deleted"),
    ("DeletedVault", "vault_deleted"),
    ("Environment", "environment"),
    ("EnvironmentPackages", "environment_packages"),
    ("ErrorEnvelope", "error"),
    ("McpServer", "url"),
    ("KilledSandbox", "sandbox_killed"),
    ("ModelInfo", "model"),
    ("NetworkConfirmation", "confirmation"),
    ("Sandbox", "sandbox"),
    ("Session", "session"),
    ("SessionThread", "session_thread"),
    ("SessionAgent", "agent"),
    ("Vault", "vault"),
];

/// Fields of answers that can be null and are never absent.
const ALWAYS_THERE: [(&str, &[&str]); 29] = [
    ("Agent", &["archived_at"]),
    ("AgentBody", &["description", "multiagent", "system"]),
    ("ApiKey", &["revoked_at"]),
    ("Budget", &["max_list_cost"]),
    ("Credential", &["archived_at"]),
    ("CredentialValidation", &["mcp_probe", "refresh"]),
    ("Environment", &["archived_at"]),
    ("EnvironmentBody", &["description"]),
    ("EnvironmentPackages", &["built_at", "digest", "error", "retry_seconds", "size_bytes", "step"]),
    ("Event", &["processed_at"]),
    ("ListPage_Agent", &["next_page"]),
    ("ListPage_ApiKey", &["next_page"]),
    ("ListPage_Credential", &["next_page"]),
    ("ListPage_Environment", &["next_page"]),
    ("ListPage_Event", &["next_page"]),
    ("ListPage_NetworkConfirmation", &["next_page"]),
    ("ListPage_NetworkLogLine", &["next_page"]),
    ("ListPage_SessionThread", &["next_page"]),
    ("ListPage_Vault", &["next_page"]),
    ("McpProbe", &["http_response"]),
    ("ModelPage", &["first_id", "last_id"]),
    ("NetworkConfirmation", &["answer"]),
    ("NetworkRequest", &["path", "status", "tool_use_id"]),
    ("RefusalDetails", &["category", "explanation"]),
    ("Session", &["archived_at", "budget", "title"]),
    ("SessionAgent", &["description", "multiagent", "system"]),
    ("SessionThread", &["archived_at", "parent_thread_id"]),
    ("TwoWayPage_Session", &["next_page", "prev_page"]),
    ("Vault", &["archived_at"]),
];

/// Variants that the protocol has and this server refuses, so that nobody builds on them.
const NOT_SERVED: [(&str, &[&str]); 3] =
    [("ClientEvent", &["user.tool_result", "user.define_outcome"]), ("ImageSource", &["file"]), ("DocumentSource", &["file"])];

/// Text that is not blank.
fn named(most: usize) -> Value {
    json!({"minLength": 1, "maxLength": most, "pattern": "\\S"})
}

/// Can be left out, cannot be cleared.
fn never_null(mut keywords: Value) -> Value {
    merge(&mut keywords, json!({"type": "string"}));
    keywords
}

fn at_most(chars: usize) -> Value {
    json!({"maxLength": chars})
}

fn items(most: usize) -> Value {
    json!({"maxItems": most})
}

fn no_items() -> Value {
    json!({"maxItems": 0})
}

/// What is not built yet: null, or left out.
fn only_null() -> Value {
    json!({"type": "null"})
}

fn url() -> Value {
    json!({"pattern": "^https?://", "maxLength": URL_CHARS})
}

fn model_id() -> Value {
    named(MODEL_ID_CHARS)
}

fn packages() -> Value {
    json!({"maxItems": PACKAGES_PER_MANAGER, "items": {"type": "string", "maxLength": PACKAGE_CHARS, "pattern": "^[^-\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"}})
}

/// Schema, field, keywords that are added to the field.
fn rules() -> Vec<(&'static str, &'static str, Value)> {
    let mut rules = agents();
    rules.extend(environments());
    rules.extend(sessions());
    rules.extend(events());
    rules.extend(vaults());
    let numbers = SandboxSettings::default().numbers().into_iter().filter(|(name, ..)| *name != "command_seconds");
    rules.extend(numbers.map(|(name, ..)| ("SandboxSettings", name, json!({"maximum": u32::MAX}))));
    let caps = EgressSettings::default().numbers();
    rules.extend(caps.map(|(name, ..)| ("EgressSettings", name, json!({"maximum": u32::MAX}))));
    rules.extend(egress());
    rules
}

fn egress() -> Vec<(&'static str, &'static str, Value)> {
    let method = json!({"type": "string", "pattern": format!("^[A-Z-]{{1,{METHOD_CHARS}}}$"), "not": {"const": "CONNECT"}});
    vec![
        ("EgressSettings", "rules", items(EGRESS_RULES)),
        (
            "EgressRule",
            "ports",
            json!({"minItems": 1, "maxItems": RULE_PORTS, "items": {"type": "integer", "minimum": 1, "maximum": u16::MAX}}),
        ),
        ("EgressRule", "methods", json!({"minItems": 1, "maxItems": RULE_METHODS, "items": method})),
        ("EgressRule", "path", json!({"pattern": "^/", "maxLength": RULE_PATH_CHARS})),
    ]
}

fn secret() -> Value {
    json!({"minLength": 1, "maxLength": SECRET_BYTES, "pattern": "^[^\\u0000\\r\\n]*$", "writeOnly": true})
}

fn vaults() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("VaultCreateParams", "display_name", named(DISPLAY_NAME_CHARS)),
        ("VaultUpdateParams", "display_name", named(DISPLAY_NAME_CHARS)),
        ("CredentialCreateParams", "display_name", named(DISPLAY_NAME_CHARS)),
        ("CredentialUpdateParams", "display_name", named(DISPLAY_NAME_CHARS)),
        ("AuthCreateParams", "mcp_server_url", url()),
        ("AuthCreateParams", "secret_name", json!({"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": SECRET_NAME_CHARS})),
        ("RefreshCreateParams", "token_endpoint", url()),
        ("RefreshCreateParams", "client_id", json!({"minLength": 1, "maxLength": URL_CHARS})),
        ("RefreshCreateParams", "scope", at_most(URL_CHARS)),
        ("RefreshCreateParams", "resource", at_most(URL_CHARS)),
        ("RefreshUpdateParams", "scope", at_most(URL_CHARS)),
        ("CredentialNetworking", "allowed_hosts", json!({"minItems": 1, "maxItems": CREDENTIAL_HOSTS})),
        ("SecretText", "", secret()),
    ]
}

fn agents() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("AgentBody", "multiagent", only_null()),
        ("AgentBody", "skills", no_items()),
        ("AgentCreateParams", "description", at_most(DESCRIPTION_CHARS)),
        ("AgentCreateParams", "mcp_servers", items(MCP_SERVERS)),
        ("AgentCreateParams", "multiagent", only_null()),
        ("AgentCreateParams", "name", named(NAME_CHARS)),
        ("AgentCreateParams", "skills", no_items()),
        ("AgentCreateParams", "system", at_most(SYSTEM_CHARS)),
        ("AgentCreateParams", "tools", items(TOOL_ENTRIES)),
        ("AgentUpdateParams", "description", at_most(DESCRIPTION_CHARS)),
        ("AgentUpdateParams", "mcp_servers", items(MCP_SERVERS)),
        ("AgentUpdateParams", "multiagent", only_null()),
        ("AgentUpdateParams", "name", never_null(named(NAME_CHARS))),
        ("AgentUpdateParams", "skills", no_items()),
        ("AgentUpdateParams", "system", at_most(SYSTEM_CHARS)),
        ("AgentUpdateParams", "tools", items(TOOL_ENTRIES)),
        ("McpServer", "name", json!({"minLength": 1, "maxLength": MCP_SERVER_NAME_CHARS})),
        ("McpServer", "url", url()),
        ("ModelConfigParams", "id", model_id()),
        ("ModelParams", "", model_id()),
        ("ToolConfigParams", "name", at_most(CUSTOM_TOOL_NAME_CHARS)),
        ("ToolParams", "configs", items(TOOL_ENTRIES)),
        ("ToolParams", "description", named(TOOL_DESCRIPTION_CHARS)),
        ("ToolParams", "input_schema", input_schema()),
        ("ToolParams", "name", json!({"pattern": format!("^[A-Za-z0-9_-]{{1,{CUSTOM_TOOL_NAME_CHARS}}}$")})),
    ]
}

fn input_schema() -> Value {
    json!({
        "description": "JSON Schema of the input; without `$ref`.",
        "required": ["type"],
        "properties": {
            "type": {"const": "object"},
            "properties": {"type": "object", "propertyNames": {"pattern": "^[A-Za-z0-9_.-]{1,64}$"}},
            "oneOf": false,
            "anyOf": false,
            "allOf": false,
        },
    })
}

fn environments() -> Vec<(&'static str, &'static str, Value)> {
    let mut rules = vec![
        ("BudgetLimit", "max_list_cost", json!({"properties": {"amount": {"pattern": "^[1-9][0-9]{0,9}$"}}})),
        ("EnvironmentCreateParams", "description", at_most(DESCRIPTION_CHARS)),
        ("EnvironmentCreateParams", "name", named(NAME_CHARS)),
        ("EnvironmentUpdateParams", "description", at_most(DESCRIPTION_CHARS)),
        ("EnvironmentUpdateParams", "name", named(NAME_CHARS)),
        ("NetworkingParams", "allowed_hosts", json!({"maxItems": ALLOWED_HOSTS, "items": {"type": "string", "minLength": 1}})),
        ("ApiKeyCreateParams", "name", named(NAME_CHARS)),
        ("MonetaryAmount", "amount", json!({"pattern": "^(0|[1-9][0-9]*)$", "examples": ["2500"]})),
    ];
    rules.extend(["apt", "cargo", "gem", "go", "npm", "pip"].map(|manager| ("PackagesParams", manager, packages())));
    rules
}

fn sessions() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("AgentOverrides", "mcp_servers", items(MCP_SERVERS)),
        ("AgentOverrides", "skills", no_items()),
        ("AgentOverrides", "system", at_most(SYSTEM_CHARS)),
        ("AgentOverrides", "tools", items(TOOL_ENTRIES)),
        ("Session", "outcome_evaluations", no_items()),
        ("Session", "resources", no_items()),
        ("Session", "vault_ids", items(VAULTS_PER_SESSION)),
        ("SessionAgent", "multiagent", only_null()),
        ("SessionAgent", "skills", no_items()),
        ("SessionAgentUpdateParams", "mcp_servers", items(MCP_SERVERS)),
        ("SessionAgentUpdateParams", "tools", items(TOOL_ENTRIES)),
        ("SessionCreateParams", "initial_events", initial_events()),
        ("SessionCreateParams", "resources", no_items()),
        ("SandboxSettings", "image", json!({"pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", "maxLength": NAME_CHARS})),
        ("SessionCreateParams", "title", at_most(TITLE_CHARS)),
        ("SessionCreateParams", "vault_ids", json!({"maxItems": VAULTS_PER_SESSION, "uniqueItems": true})),
        ("SessionUpdateParams", "title", at_most(TITLE_CHARS)),
    ]
}

fn initial_events() -> Value {
    json!({"description": "Messages that start it at once; `user.message` only.", "maxItems": INITIAL_EVENTS, "items": {"$ref": "#/components/schemas/ClientEvent"}})
}

fn events() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("ClientEvent", "content", items(CONTENT_BLOCKS)),
        ("ClientEvent", "deny_message", at_most(DENY_MESSAGE_CHARS)),
        ("SendParams", "events", json!({"minItems": 1, "maxItems": EVENTS_PER_REQUEST})),
    ]
}

/// Adds keywords to a field wherever a schema declares it.
fn rule(schema: &mut Value, field: &str, keywords: &Value) {
    for found in fields(schema, field) {
        merge(found, keywords.clone());
    }
}

/// A field in a schema and in all parts of which the schema is made; without a name, the parts that
/// are text.
fn fields<'a>(schema: &'a mut Value, name: &str) -> Vec<&'a mut Value> {
    if name.is_empty() && schema["type"] == "string" {
        return vec![schema];
    }
    let mut found = Vec::new();
    for (key, value) in schema.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "properties" => found.extend(value.get_mut(name)),
            "allOf" | "oneOf" => found.extend(value.as_array_mut().into_iter().flatten().flat_map(|part| fields(part, name))),
            _ => {}
        }
    }
    found
}

/// Sets the keywords.
fn merge(schema: &mut Value, keywords: Value) {
    if let (Value::Object(schema), Value::Object(keywords)) = (schema, keywords) {
        schema.extend(keywords);
    }
}

/// Makes fields required in the part of a schema that declares them.
fn require(schema: &mut Value, names: &[&str]) {
    let Value::Object(object) = schema else { return };
    let own: Vec<&str> =
        names.iter().copied().filter(|name| object.get("properties").is_some_and(|all| all.get(*name).is_some())).collect();
    if !own.is_empty() {
        let required = object.entry("required").or_insert_with(|| json!([]));
        if let Value::Array(required) = required {
            required.extend(own.into_iter().map(Value::from));
        }
    }
    for part in object.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        require(part, names);
    }
}

/// Removes variants by the constant of their `type`.
fn leave_out(schema: &mut Value, kinds: &[&str]) {
    let is_left_out = |variant: &Value| variant["properties"]["type"]["enum"][0].as_str().is_some_and(|kind| kinds.contains(&kind));
    if let Some(variants) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        variants.retain(|variant| !is_left_out(variant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_meets_a_field() {
        let mut written = serde_json::to_value(super::super::described().into_openapi()).unwrap();
        let schemas = &mut written["components"]["schemas"];
        let fields_of_ids = IDS.iter().map(|(schema, ..)| (*schema, ""));
        let constants = CONSTANTS.iter().filter(|(schema, _)| *schema != "ErrorEnvelope").map(|(schema, _)| (*schema, "type"));
        let there = ALWAYS_THERE.iter().flat_map(|(schema, names)| names.iter().map(|name| (*schema, *name)));
        let ruled = rules().into_iter().map(|(schema, field, _)| (schema, field));
        for (schema, field) in fields_of_ids.chain(constants).chain(there).chain(ruled).collect::<Vec<_>>() {
            let found = schemas.get_mut(schema).map(|schema| fields(schema, field).len());
            assert!(found.is_some_and(|found| found > 0), "{schema}.{field}");
        }
        for (schema, kinds) in NOT_SERVED {
            for kind in kinds {
                assert!(schemas[schema].to_string().contains(&format!("[\"{kind}\"]")), "{schema} {kind}");
            }
        }
    }

    #[test]
    fn what_is_always_there_is_required_and_what_is_not_served_is_gone() {
        let schemas = super::super::openapi()["components"]["schemas"].take();
        assert!(schemas["Agent"]["allOf"][1]["required"].as_array().unwrap().contains(&json!("archived_at")));
        assert_eq!(schemas["Agent"]["allOf"][1]["properties"]["type"]["const"], "agent");
        assert!(!schemas["ClientEvent"].to_string().contains("user.define_outcome"));
        assert!(schemas.get("BTreeMap").is_none() && schemas["Metadata"]["maxProperties"] == 16);
    }
}
