//! Ids and parts that the examples share.

use std::sync::Arc;

use ostler_core::events::content::ContentBlock;
use ostler_core::ids::{AgentId, ApiKeyId, EffectId, EventId, IncarnationId, ThreadId};
use ostler_core::model::TokenUsage;
use ostler_core::resources::agent::AgentBody;
use ostler_core::resources::metadata::Metadata;
use ostler_core::resources::session::{SessionAgent, SessionUsage};
use ostler_core::scope::Principal;
use ostler_core::session::record::IdleEvents;
use ostler_core::time::Timestamp;
use serde_json::{Map, Value, json};

pub(crate) fn at() -> Timestamp {
    Timestamp(1_767_323_045_678_901)
}

pub(crate) fn event(n: u32) -> EventId {
    format!("sevt_{n:026}").parse().unwrap()
}

pub(crate) fn effect() -> EffectId {
    "eff_00000000000000000000000001".parse().unwrap()
}

pub(crate) fn thread() -> ThreadId {
    "sthr_00000000000000000000000001".parse().unwrap()
}

pub(crate) fn incarnation() -> IncarnationId {
    "inc_00000000000000000000000001".parse().unwrap()
}

pub(crate) fn principal() -> Principal {
    let id: ApiKeyId = "apikey_00000000000000000000000001".parse().unwrap();
    Principal::ApiKey { id }
}

pub(crate) fn content() -> Vec<ContentBlock> {
    vec![ContentBlock::text("hello")]
}

pub(crate) fn input() -> Map<String, Value> {
    json!({"command": "ls", "timeout_ms": 1000}).as_object().cloned().unwrap()
}

pub(crate) fn metadata() -> Metadata {
    Metadata::from([("key".into(), "value".into())])
}

pub(crate) fn tokens() -> TokenUsage {
    TokenUsage {
        input_tokens: 10,
        output_tokens: 5,
        cache_read_input_tokens: 3,
        cache_creation_input_tokens: 4,
        cache_creation_1h_input_tokens: 1,
    }
}

pub(crate) fn usage() -> SessionUsage {
    SessionUsage::new(
        &tokens(),
        ostler_core::resources::session::ServerToolUsage::default(),
        Some(ostler_core::cost::Cost::from_cents(12)),
        1_500_000,
    )
}

pub(crate) fn idle_events() -> IdleEvents {
    IdleEvents { thread: event(1), usage: event(2), session: event(3) }
}

pub(crate) fn agent() -> Arc<SessionAgent> {
    let params = json!({
        "name": "helper", "model": {"id": "m", "effort": "high"}, "system": "Be brief.", "description": "Helps.",
        "mcp_servers": [{"type": "url", "name": "far", "url": "https://far.test"}],
        "tools": [
            {"type": "agent_toolset_20260401", "configs": [{"name": "edit", "permission_policy": {"type": "always_ask"}}, {"name": "web_fetch", "enabled": false}]},
            {"type": "custom", "name": "lookup", "description": "Looks up.", "input_schema": {"type": "object"}},
            {"type": "mcp_toolset", "mcp_server_name": "far"}
        ]
    });
    let id: AgentId = "agent_00000000000000000000000001".parse().unwrap();
    Arc::new(SessionAgent::new(id, 2, AgentBody::create(serde_json::from_value(params).unwrap()).unwrap()))
}
