//! What the agent, the model and the clients of a history are like.

use std::sync::{Arc, LazyLock};

use ostler_core::cost::Price;
use ostler_core::events::client::{ClientEvent, Confirmation};
use ostler_core::events::content::ContentBlock;
use ostler_core::ids::{AgentId, IdSource};
use ostler_core::model::{BlockKind, ModelError, ModelErrorKind, ModelResponse, ModelStop, ResponseBlock, TokenUsage};
use ostler_core::resources::agent::{AgentBody, AgentCreateParams};
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::metadata::Metadata;
use ostler_core::resources::session::{SessionAgent, SessionUpdateParams};
use ostler_core::session::calls::CallState;
use ostler_core::session::fault::{CredentialFault, FaultKind};
use ostler_core::session::mcp::McpTool;
use ostler_core::session::plan::{ModelPlan, ModelTarget, TargetName};
use ostler_core::session::record::RecordBody;
use ostler_core::session::state::State;
use serde_json::{Value, json};

use super::chance::Chance;

/// Tools that no call of a history may ever run, whatever the session is told.
pub(crate) const NEVER_RUN: [&str; 2] = ["glob", "nonesuch"];
const NAMES: [&str; 11] =
    ["mcp__far__touch", "bash", "write", "read", "grep", "edit", "lookup", "glob", "web_fetch", "web_search", "nonesuch"];

/// One model, or several that stand in for each other; a cent is a few answers.
pub(crate) static PLANS: LazyLock<[ModelPlan; 3]> = LazyLock::new(|| [1, 2, 3].map(plan));

fn plan(models: u64) -> ModelPlan {
    let target = |n: u64| {
        let price = 20_000_000 * n;
        let price = Price { input: price, output: 2 * price, cache_read: price, cache_write: price, cache_write_1h: price };
        ModelTarget { at: TargetName { provider: format!("p{n}"), model: "m".into() }, price: Some(price) }
    };
    ModelPlan { targets: (1..=models).map(target).collect(), problem: None, max_tokens: 2_000, overhead_tokens: 100 }
}

fn tools(chance: &mut Chance) -> Value {
    let policy = |chance: &mut Chance| json!({"type": *chance.pick(&["always_allow", "always_ask", "auto"])});
    json!([
        {"type": "agent_toolset_20260401", "configs": [
            {"name": "bash", "permission_policy": policy(chance)},
            {"name": "read", "permission_policy": policy(chance)},
            {"name": "grep", "permission_policy": {"type": "auto"}},
            {"name": "edit", "permission_policy": {"type": "always_ask"}},
            {"name": "web_search", "permission_policy": policy(chance)},
            {"name": "glob", "enabled": false}
        ]},
        {"type": "custom", "name": "lookup", "description": "d", "input_schema": {"type": "object"}},
        {"type": "mcp_toolset", "mcp_server_name": "far", "default_config": {"permission_policy": policy(chance)}}
    ])
}

/// Credentials that are of no use, perhaps ones that were told of before.
pub(crate) fn faults(chance: &mut Chance) -> Vec<CredentialFault> {
    let fault = |chance: &mut Chance| CredentialFault {
        credential: format!("vcrd_{}", chance.below(3)).parse().unwrap(),
        vault: "vlt_1".parse().unwrap(),
        name: "TOKEN".into(),
        kind: *chance.pick(&[FaultKind::Unreachable, FaultKind::Unusable]),
    };
    (0..chance.below(3)).map(|_| fault(chance)).collect()
}

pub(crate) fn created(chance: &mut Chance) -> RecordBody {
    let params: AgentCreateParams = serde_json::from_value(json!({"name": "a", "model": "m", "tools": tools(chance), "mcp_servers": [{"type": "url", "name": "far", "url": "https://far.test"}]})).unwrap();
    let body = AgentBody::create(params).unwrap();
    let agent = SessionAgent::new(AgentId::mint(&mut IdSource::new(1, 1)), 1, body);
    let budget = chance.one_in(3).then(|| BudgetLimit::of_cents(1 + chance.below(10) as u64));
    RecordBody::Created {
        thread: chance.thread(),
        agent: Arc::new(agent),
        title: None,
        metadata: Metadata::new(),
        budget,
        vaults: Vec::new(),
    }
}

pub(crate) fn update(chance: &mut Chance) -> SessionUpdateParams {
    let value = match chance.below(5) {
        0 => json!({"title": format!("t{}", chance.below(3))}),
        1 => json!({"metadata": {"k": format!("v{}", chance.below(3))}}),
        2 => json!({"budget": BudgetLimit::of_cents(1 + chance.below(40) as u64)}),
        3 if chance.one_in(4) => json!({"budget": null}),
        _ => json!({"agent": {"tools": tools(chance)}}),
    };
    serde_json::from_value(value).unwrap()
}

fn block(chance: &mut Chance, kind: BlockKind, raw: Value) -> ResponseBlock {
    ResponseBlock { event_id: chance.event(), kind, raw }
}

fn text(chance: &mut Chance, text: &str) -> ResponseBlock {
    block(chance, BlockKind::Text { text: text.into() }, json!({"type": "text", "text": text}))
}

fn call(chance: &mut Chance) -> ResponseBlock {
    let (id, name) = (format!("toolu_{:x}", chance.next()), *chance.pick(&NAMES));
    let input = json!({"command": "x", "n": chance.below(9), "x": f64::from_bits(chance.next())});
    let complete = !chance.one_in(12);
    let raw = json!({"type": "tool_use", "id": id, "name": name, "input": input});
    block(chance, BlockKind::ToolCall { id, name: name.into(), input, complete }, raw)
}

/// The plainest answer, which ends the turn.
pub(crate) fn plain_answer(chance: &mut Chance) -> ModelResponse {
    ModelResponse { blocks: vec![text(chance, "bye")], stop: ModelStop::EndTurn, usage: usage(chance), model: "m".into() }
}

fn usage(chance: &mut Chance) -> TokenUsage {
    TokenUsage { input_tokens: chance.below(100) as u64, output_tokens: chance.below(100) as u64, ..TokenUsage::default() }
}

/// Texts, reasoning, calls of all kinds, cuts and refusals.
pub(crate) fn answer(chance: &mut Chance) -> ModelResponse {
    let mut blocks = Vec::new();
    if chance.one_in(4) {
        blocks.push(block(chance, BlockKind::Thinking, json!({"type": "thinking", "thinking": "hm", "signature": "s"})));
    }
    if chance.one_in(2) {
        let words = *chance.pick(&["hello", ""]);
        blocks.push(text(chance, words));
    }
    let calls = *chance.pick(&[0, 1, 1, 2, 2, 3, 5]);
    blocks.extend((0..calls).map(|_| call(chance)));
    let stop = match chance.below(12) {
        0 => ModelStop::MaxTokens,
        1 => ModelStop::Refusal { category: None, explanation: Some("no".into()) },
        2 => ModelStop::Other { reason: "odd".into() },
        _ if calls > 0 => ModelStop::ToolUse,
        _ => ModelStop::EndTurn,
    };
    ModelResponse { blocks, stop, usage: usage(chance), model: "m".into() }
}

pub(crate) fn model_error(chance: &mut Chance) -> ModelError {
    let kinds = [
        ModelErrorKind::Overloaded,
        ModelErrorKind::RateLimited,
        ModelErrorKind::Unavailable,
        ModelErrorKind::Protocol,
        ModelErrorKind::Suspended,
        ModelErrorKind::Rejected,
        ModelErrorKind::Billing,
    ];
    error(*chance.pick(&kinds))
}

pub(crate) fn error(kind: ModelErrorKind) -> ModelError {
    ModelError {
        kind,
        message: "failed".into(),
        retry_after_ms: None,
        usage: TokenUsage::default(),
        billed: kind == ModelErrorKind::Unavailable,
    }
}

/// What the MCP server lists: now and then in other words.
pub(crate) fn listed(chance: &mut Chance) -> Vec<McpTool> {
    let description = (*chance.pick(&["touches", "touches", "touches it"])).to_owned();
    vec![McpTool { name: "touch".into(), description, input_schema: json!({"type": "object"}) }]
}

fn message() -> ClientEvent {
    ClientEvent::UserMessage { content: vec![ContentBlock::text("do it")] }
}

fn system() -> ClientEvent {
    ClientEvent::SystemMessage { content: vec![ContentBlock::text("be kind")] }
}

/// What a client posts. Often it makes no sense in the present state, and must then be refused whole.
pub(crate) fn request(chance: &mut Chance, state: &State) -> Vec<ClientEvent> {
    let mut events = match chance.below(10) {
        0..=2 => vec![message()],
        3 => vec![message(), system()],
        4 => vec![ClientEvent::UserInterrupt { session_thread_id: None }],
        5 => vec![ClientEvent::UserInterrupt { session_thread_id: None }, message()],
        _ => answers(chance, state, false),
    };
    match chance.below(12) {
        0 => events.push(message()),
        1 => events.push(ClientEvent::UserInterrupt { session_thread_id: None }),
        2 if matches!(events.last(), Some(ClientEvent::UserCustomToolResult { .. })) => events.push(system()),
        3 => events.extend(events.first().cloned()),
        _ => {}
    }
    events
}

/// Answers to some or all of the calls that wait, sometimes to one that does not.
pub(crate) fn answers(chance: &mut Chance, state: &State, all: bool) -> Vec<ClientEvent> {
    let wanted = |chance: &mut Chance, state: CallState| state.waits() && (all || !chance.one_in(3)) || (!all && chance.one_in(30));
    let mut events = Vec::new();
    for call in &state.calls {
        if !wanted(chance, call.state) {
            continue;
        }
        let id = call.id.as_str().to_owned();
        events.push(if call.custom {
            ClientEvent::UserCustomToolResult {
                custom_tool_use_id: id,
                content: Some(vec![ContentBlock::text("42")]),
                is_error: Some(chance.one_in(4)),
            }
        } else if chance.one_in(3) {
            ClientEvent::UserToolConfirmation { tool_use_id: id, result: Confirmation::Deny, deny_message: Some("no".into()) }
        } else {
            ClientEvent::UserToolConfirmation { tool_use_id: id, result: Confirmation::Allow, deny_message: None }
        });
    }
    events
}
