//! Tables for what `tools` may hold and what it resolves to.

use super::*;
use serde_json::json;

fn resolved(value: Value, servers: &[&str]) -> Result<Vec<Tool>, String> {
    let params: Vec<ToolParams> = serde_json::from_value(value).map_err(|error| error.to_string())?;
    resolve(params, servers).map_err(|refusal| refusal.message)
}

#[test]
fn toolset_defaults_are_filled_in() {
    let tools =
        resolved(json!([{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "enabled": false}, {"name": "web_fetch"}]}]), &[])
            .unwrap();
    assert_eq!(
        serde_json::to_value(&tools).unwrap(),
        json!([{"type": "agent_toolset_20260401",
            "default_config": {"enabled": true, "permission_policy": {"type": "always_allow"}},
            "configs": [
                {"enabled": false, "name": "bash", "type": "bash", "permission_policy": {"type": "always_allow"}},
                {"enabled": true, "name": "web_fetch", "type": "web_fetch", "permission_policy": {"type": "always_allow"}, "url_sources": null}]}])
    );
    assert_eq!(builtin_policy(&tools, "bash"), None);
    assert_eq!(builtin_policy(&tools, "read"), Some(PermissionPolicy::AlwaysAllow));
    assert_eq!(builtin_policy(&tools, "rm"), None);
}

#[test]
fn an_allow_list_is_a_disabled_default() {
    let tools = resolved(
        json!([{"type": "agent_toolset_20260401", "default_config": {"enabled": false}, "configs": [{"name": "read", "enabled": true}]}]),
        &[],
    )
    .unwrap();
    assert!(builtin_policy(&tools, "read").is_some() && builtin_policy(&tools, "bash").is_none());
}

#[test]
fn mcp_toolsets_ask_by_default_and_must_match_the_servers() {
    let set = json!([{"type": "mcp_toolset", "mcp_server_name": "srv"}]);
    let tools = resolved(set.clone(), &["srv"]).unwrap();
    let Tool::McpToolset { default_config, .. } = &tools[0] else { panic!() };
    assert_eq!(default_config.permission_policy, PermissionPolicy::AlwaysAsk);
    assert!(resolved(set, &[]).is_err());
    assert!(resolved(json!([]), &["srv"]).is_err(), "a server without a toolset");
}

#[test]
fn odd_tools_are_refused() {
    let custom = |name: &str| json!({"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object"}});
    for tools in [
        json!([custom("bash")]),
        json!([custom("mcp__x")]),
        json!([custom("a b")]),
        json!([custom("")]),
        json!([custom("t"), custom("t")]),
        json!([{"type": "custom", "name": "t", "description": " ", "input_schema": {"type": "object"}}]),
        json!([{"type": "agent_toolset_20260401", "configs": [{"name": "rm"}]}]),
        json!([{"type": "agent_toolset_20260401", "configs": [{"name": "bash"}, {"name": "bash"}]}]),
        json!([{"type": "agent_toolset_20260401"}, {"type": "agent_toolset_20260401"}]),
        json!([{"type": "agent_toolset_20260401", "configs": [{"name": "web_search", "allowed_domains": []}]}]),
        json!([{"type": "agent_toolset_20260401", "configs": [{"name": "web_search", "allowed_domains": ["a.com"], "blocked_domains": ["b.com"]}]}]),
        json!([{"type": "agent_toolset_20260401", "configs": [{"name": "web_fetch", "allowed_domains": ["a.com/x"]}]}]),
        json!([{"type": "nope"}]),
    ] {
        assert!(resolved(tools.clone(), &[]).is_err(), "{tools}");
    }
}

#[test]
fn host_names_are_plain_and_public() {
    for good in ["example.com", "a.b-c.example.org"] {
        assert!(is_public_hostname(good), "{good}");
    }
    for bad in ["localhost", "com", "10.0.0.1", "a..b", "x.local", "x.internal", "-a.com", "https://a.com", "a.com:80", "ä.com", ""] {
        assert!(!is_public_hostname(bad), "{bad}");
    }
}
