//! Examples of requests. The server takes every one of them; a test sends them.

use serde_json::{Value, json};

/// An id of a request.
pub(super) const REQUEST_ID: &str = "req_01k9x3v5q8r2m4t6w8y0z2b4d6";
/// The agent of the examples.
pub(crate) const AGENT: &str = "agent_01k9x3v5q8r2m4t6w8y0z2b4d6";
/// The environment of the examples.
pub(crate) const ENVIRONMENT: &str = "env_01k9x3v5q8r2m4t6w8y0z2b4d6";
/// The call of the examples.
const CALL: &str = "sevt_01k9x3v5q8r2m4t6w8y0z2b4d6";

/// The examples of an operation's body: name to example.
pub(super) fn of(operation: &str) -> Value {
    match operation {
        "create_agent" => {
            json!({"minimal": example("The least.", json!({"name": "helper", "model": "claude-sonnet-5"})), "tools": with_tools()})
        }
        "update_agent" => {
            json!({"prompt": example("Another system prompt, for the version that was read.", json!({"version": 1, "system": "Answer in one sentence."}))})
        }
        "create_environment" => {
            json!({"minimal": example("The least.", json!({"name": "default"})), "limited": limited(), "rules": ruled()})
        }
        "update_environment" => {
            json!({"metadata": example("Sets one key and deletes another.", json!({"metadata": {"team": "research", "old": null}}))})
        }
        "create_session" => {
            json!({"idle": example("Waits for its first message.", json!({"agent": AGENT, "environment_id": ENVIRONMENT})), "started": started()})
        }
        "update_session" => json!({"title": example("Another title.", json!({"title": "Quarterly report"}))}),
        "answer_confirmation" => {
            json!({"once": example("One request may go.", json!({"result": "allow"})),
                   "session": example("None may for as long as the session lives.", json!({"result": "deny", "remember": "session"}))})
        }
        "send_events" => events(),
        "create_api_key" => json!({"named": example("A key for a program.", json!({"name": "nightly job"}))}),
        "create_vault" => json!({"minimal": example("A vault of one user.", json!({"display_name": "Ada", "metadata": {"user": "u_17"}}))}),
        "update_vault" => json!({"name": example("Another name.", json!({"display_name": "Ada L."}))}),
        "create_credential" => credentials(),
        "update_credential" => {
            json!({"rotated": example("A new secret.", json!({"auth": {"type": "environment_variable", "secret_value": "ghp_new"}}))})
        }
        "set_budget" => json!({"dollars": example("25 dollars.", limit("2500"))}),
        _ => json!({}),
    }
}

fn ruled() -> Value {
    let rules = json!([
        {"host": "api.github.com", "methods": ["GET"], "action": "allow"},
        {"host": "api.github.com", "methods": ["POST"], "path": "/repos/*/*/issues", "action": "ask"},
        {"host": "api.github.com", "action": "deny"},
    ]);
    example(
        "Reads from one host, a person allows each new issue there, and at most 1 GiB goes in and out.",
        json!({"name": "ruled", "egress": {"rules": rules, "transfer_mib": 1024}}),
    )
}

fn example(summary: &str, value: Value) -> Value {
    json!({"summary": summary, "value": value})
}

fn limit(cents: &str) -> Value {
    json!({"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}})
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn with_tools() -> Value {
    let weather = json!({
        "type": "custom",
        "name": "get_weather",
        "description": "The weather of a city, now.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    });
    let builtin = json!({
        "type": "agent_toolset_20260401",
        "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
    });
    example(
        "Built-in tools, a person confirms each command; and a tool of the client.",
        json!({"name": "helper", "model": {"id": "claude-sonnet-5", "effort": "high"}, "system": "Be brief.", "tools": [builtin, weather]}),
    )
}

fn credentials() -> Value {
    let networking = json!({"type": "limited", "allowed_hosts": ["api.github.com"]});
    let variable =
        json!({"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "secret_value": "ghp_example", "networking": networking});
    let refresh = json!({
        "token_endpoint": "https://mcp.example.com/token",
        "client_id": "ostler",
        "refresh_token": "rt_example",
        "token_endpoint_auth": {"type": "none"},
    });
    let oauth =
        json!({"type": "mcp_oauth", "mcp_server_url": "https://mcp.example.com/mcp", "access_token": "at_example", "refresh": refresh});
    let bearer = json!({"type": "static_bearer", "mcp_server_url": "https://docs.example.com/mcp", "token": "example"});
    json!({
        "variable": example("A variable of the sandbox; its value is put in on the way to one host.", json!({"auth": variable})),
        "bearer": example("A token for an MCP server.", json!({"auth": bearer})),
        "oauth": example("An OAuth grant that is renewed by itself.", json!({"display_name": "Example", "auth": oauth})),
    })
}

fn limited() -> Value {
    let networking = json!({"type": "limited", "allowed_hosts": ["api.example.com"], "allow_package_managers": true});
    let config = json!({"type": "cloud", "networking": networking, "packages": {"pip": ["numpy"]}});
    example("Few hosts, one package.", json!({"name": "numbers", "description": "For calculations.", "config": config}))
}

fn started() -> Value {
    let message = json!({"type": "user.message", "content": text("What is in /workspace?")});
    example(
        "Starts at once, in a version of the agent, and may cost five dollars.",
        json!({
            "agent": {"type": "agent", "id": AGENT, "version": 1},
            "environment_id": ENVIRONMENT,
            "title": "A look around",
            "budget": limit("500"),
            "initial_events": [message],
        }),
    )
}

fn events() -> Value {
    let send = |event: Value| json!({"events": [event]});
    json!({
        "message": example("Something to do.", send(json!({"type": "user.message", "content": text("What is in /workspace?")}))),
        "interrupt": example("Ends the running turn.", send(json!({"type": "user.interrupt"}))),
        "confirmation": example("A person allows a call.", send(json!({"type": "user.tool_confirmation", "tool_use_id": CALL, "result": "allow"}))),
        "result": example(
            "The result of a tool of the client.",
            send(json!({"type": "user.custom_tool_result", "custom_tool_use_id": CALL, "content": text("Sunny, 21 degrees.")})),
        ),
    })
}
