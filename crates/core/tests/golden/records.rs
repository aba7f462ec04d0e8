//! One example of each record, in an order in which a session could write them.

use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::cost::Cost;
use ostler_core::egress::Question;
use ostler_core::events::client::Confirmation;
use ostler_core::events::wire::{
    EvaluatedPermission, Evaluation, RefusalDetails, RefusalDetailsKind, RetryStatus, SessionError, StopReason,
};
use ostler_core::ids::ConfirmationId;
use ostler_core::model::{BlockKind, ModelError, ModelErrorKind, ModelStop, ResponseBlock};
use ostler_core::resources::budget::BudgetLimit;
use ostler_core::resources::confirmation::Remember;
use ostler_core::resources::session::SessionChange;
use ostler_core::session::fault::{CredentialFault, FaultKind};
use ostler_core::session::mcp::McpTool;
use ostler_core::session::plan::TargetName;
use ostler_core::session::record::{Ask, CallTarget, InputRole, NewCall, QueuedInput, RecordBody, RescheduledEvents, RunningEvents, Try};
use serde_json::{Value, json};

use super::examples::{agent, content, effect, event, idle_events, incarnation, input, metadata, principal, thread, tokens, usage};

fn inputs() -> Vec<QueuedInput> {
    let of = |n, role| QueuedInput { event: event(n), role, content: content(), principal: principal() };
    vec![of(1, InputRole::User), of(2, InputRole::System)]
}

fn confirmation() -> ConfirmationId {
    "conf_01".parse().unwrap()
}

fn running() -> RunningEvents {
    RunningEvents { session: event(3), thread: event(4) }
}

fn ask() -> Ask {
    let at = TargetName { provider: "openai".into(), model: "m".into() };
    Ask { attempt: Try { target: 1, here: 2, hopeful: true }, at, max_tokens: 1_024, reserved: Some(Cost(15_360_000)) }
}

fn failed() -> SessionError {
    SessionError::UnknownError { message: "failed".into(), retry_status: RetryStatus::Exhausted {} }
}

fn error() -> ModelError {
    ModelError { kind: ModelErrorKind::Overloaded, message: "no capacity".into(), retry_after_ms: Some(9), usage: tokens(), billed: true }
}

fn blocks() -> Vec<ResponseBlock> {
    let of = |n, kind, raw| ResponseBlock { event_id: event(n), kind, raw };
    let call = |name: &str, complete| BlockKind::ToolCall {
        id: format!("toolu_{name}"),
        name: name.into(),
        input: Value::Object(input()),
        complete,
    };
    let raw = |name: &str| json!({"type": "tool_use", "id": format!("toolu_{name}"), "name": name, "input": input()});
    vec![
        of(10, BlockKind::Thinking, json!({"type": "thinking", "thinking": "hm", "signature": "s"})),
        of(11, BlockKind::RedactedThinking, json!({"type": "redacted_thinking", "data": "x"})),
        of(12, BlockKind::Text { text: "hello".into() }, json!({"type": "text", "text": "hello"})),
        of(13, call("bash", true), raw("bash")),
        of(14, call("lookup", false), raw("lookup")),
        of(15, BlockKind::Other, json!({"type": "novelty", "x": 1})),
    ]
}

fn fault() -> CredentialFault {
    CredentialFault {
        credential: "vcrd_1".parse().unwrap(),
        vault: "vlt_1".parse().unwrap(),
        name: "TOKEN".into(),
        kind: FaultKind::Unreachable,
    }
}

fn calls() -> Vec<NewCall> {
    let of = |n, name: &str, target| NewCall {
        event: event(n),
        provider_id: format!("toolu_{name}"),
        name: name.into(),
        input: input(),
        target,
    };
    let builtin =
        CallTarget::Builtin { read_only: false, permission: EvaluatedPermission::Ask, evaluation: Some(Evaluation::AlwaysAsk {}) };
    vec![of(13, "bash", builtin), of(14, "lookup", CallTarget::Custom)]
}

super::one_of_each!(
    bodies,
    RecordBody {
        Created: RecordBody::Created {
            thread: thread(),
            agent: agent(),
            title: Some("title".into()),
            metadata: metadata(),
            budget: Some(BudgetLimit::of_cents(250)),
            vaults: vec!["vlt_1".parse().unwrap()]
        },
        InputsQueued: RecordBody::InputsQueued { inputs: inputs() },
        TurnStarted: RecordBody::TurnStarted { inputs: inputs(), running: running() },
        InputsFlushed: RecordBody::InputsFlushed { inputs: inputs() },
        Faulted: RecordBody::Faulted {
            event: event(5),
            error: SessionError::McpConnectionFailedError {
                mcp_server_name: "far".into(),
                message: "unreachable".into(),
                retry_status: RetryStatus::Retrying {}
            }
        },
        CredentialFaulted: RecordBody::CredentialFaulted { event: event(26), fault: fault() },
        RequestStarted: RecordBody::RequestStarted { effect: effect(), span: event(6), attempt: 1, ask: ask() },
        RequestFailed: RecordBody::RequestFailed {
            effect: effect(),
            span: event(6),
            span_end: event(7),
            error: error(),
            cost: Some(Cost(1))
        },
        RetryScheduled: RecordBody::RetryScheduled {
            timer: effect(),
            attempt: 3,
            delay_ms: 500,
            next: Try { target: 0, here: 4, hopeful: true },
            rescheduled: Some(RescheduledEvents { error_event: event(7), error: failed(), thread: event(8), session: event(9) })
        },
        Resumed: RecordBody::Resumed { running: running() },
        RequestAnswered: RecordBody::RequestAnswered {
            effect: effect(),
            span: event(6),
            span_end: event(7),
            blocks: blocks(),
            calls: calls(),
            stop: ModelStop::ToolUse,
            usage: tokens(),
            model: "m-1".into(),
            cost: Some(Cost(1_250_000)),
        },
        Confirmed: RecordBody::Confirmed {
            event: event(16),
            call: event(13),
            input_sha256: "ab".repeat(32),
            result: Confirmation::Allow,
            deny_message: None,
            principal: principal()
        },
        SandboxStarted: RecordBody::SandboxStarted { incarnation: incarnation() },
        SandboxLost: RecordBody::SandboxLost { incarnation: incarnation() },
        CallRetried: RecordBody::CallRetried { call: event(13) },
        CallSettled: RecordBody::CallSettled {
            call: event(13),
            event: Some(event(17)),
            outcome: CallOutcome::text("out", true, CallEnd::OutcomeUnknown),
            mcp: true,
        },
        CustomResult: RecordBody::CustomResult {
            event: event(18),
            call: event(14),
            content: content(),
            is_error: false,
            principal: principal()
        },
        Instructed: RecordBody::Instructed { event: event(19), content: content() },
        InterruptRequested: RecordBody::InterruptRequested { event: event(20), principal: principal() },
        Interrupted: RecordBody::Interrupted { event: event(20) },
        Idled: RecordBody::Idled {
            events: idle_events(),
            error: Some((event(21), failed())),
            stop: StopReason::RetriesExhausted {},
            details: Some(RefusalDetails { kind: RefusalDetailsKind::Refusal, category: None, explanation: Some("no".into()) }),
            usage: usage(),
            budget: Some(BudgetLimit::of_cents(250)),
        },
        Updated: RecordBody::Updated {
            event: event(22),
            change: SessionChange {
                agent: Some(Box::new(agent().as_ref().clone())),
                metadata: Some(metadata()),
                title: Some(None),
                budget: Some(None)
            }
        },
        SetAside: RecordBody::SetAside {
            event: event(23),
            error: failed(),
            events: idle_events(),
            usage: usage(),
            budget: Some(BudgetLimit::of_cents(250))
        },
        McpListed: RecordBody::McpListed {
            server: "far".into(),
            tools: Some(std::sync::Arc::new(vec![McpTool {
                name: "touch".into(),
                description: "touches".into(),
                input_schema: json!({"type": "object"})
            }]))
        },
        McpUnavailable: RecordBody::McpUnavailable { server: "far".into(), event: event(26), error: failed() },
        Retried: RecordBody::Retried { principal: principal(), running: running() },
        NetworkAsked: RecordBody::NetworkAsked {
            confirmation: confirmation(),
            question: Question {
                host: "api.example.com".into(),
                port: 443,
                method: "POST".into(),
                path: Some("/v1/things".into()),
                rule: "ask POST api.example.com".into()
            }
        },
        NetworkAnswered: RecordBody::NetworkAnswered {
            confirmation: confirmation(),
            result: Confirmation::Allow,
            remember: Remember::Session,
            principal: principal()
        },
        NetworkUsed: RecordBody::NetworkUsed { confirmation: confirmation() },
        Archived: RecordBody::Archived { thread: event(24), session: event(25) },
        Unknown: RecordBody::Unknown,
    }
);
