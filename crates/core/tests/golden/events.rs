//! One example of each event.

use ostler_core::events::client::Confirmation;
use ostler_core::events::wire::{
    AutoPermission, AutoReason, EvaluatedPermission, Evaluation, EventBody, RefusalDetails, RefusalDetailsKind, RetryStatus, SessionError,
    SpanUsage, StopReason,
};
use ostler_core::resources::budget::BudgetLimit;
use serde_json::json;

use super::examples::{agent, content, event, input, metadata, thread, tokens, usage};

fn details() -> RefusalDetails {
    RefusalDetails { kind: RefusalDetailsKind::Refusal, category: Some("bio".into()), explanation: None }
}

super::one_of_each!(
    bodies,
    EventBody {
        UserMessage: EventBody::UserMessage { content: content() },
        UserInterrupt: EventBody::UserInterrupt {},
        UserToolConfirmation: EventBody::UserToolConfirmation {
            tool_use_id: event(1),
            result: Confirmation::Deny,
            deny_message: Some("no".into())
        },
        UserCustomToolResult: EventBody::UserCustomToolResult { custom_tool_use_id: event(1), content: content(), is_error: false },
        SystemMessage: EventBody::SystemMessage { content: content() },
        AgentMessage: EventBody::AgentMessage { content: content() },
        AgentThinking: EventBody::AgentThinking {},
        AgentToolUse: EventBody::AgentToolUse {
            input: input(),
            name: "bash".into(),
            evaluated_permission: EvaluatedPermission::Ask,
            evaluation: Some(Evaluation::Auto { evaluated_permission: AutoPermission::Ask { reason_code: AutoReason::Indeterminate } }),
        },
        AgentToolResult: EventBody::AgentToolResult {
            tool_use_id: event(1),
            content: vec![json!({"type": "text", "text": "out"})],
            is_error: true
        },
        AgentMcpToolUse: EventBody::AgentMcpToolUse {
            input: input(),
            mcp_server_name: "far".into(),
            name: "touch".into(),
            evaluated_permission: EvaluatedPermission::Allow,
            evaluation: Evaluation::AlwaysAllow {},
        },
        AgentMcpToolResult: EventBody::AgentMcpToolResult {
            mcp_tool_use_id: event(1),
            content: vec![json!({"type": "text", "text": "out"})],
            is_error: false
        },
        AgentCustomToolUse: EventBody::AgentCustomToolUse { input: input(), name: "lookup".into() },
        SessionStatusRunning: EventBody::SessionStatusRunning {},
        SessionStatusIdle: EventBody::SessionStatusIdle {
            stop_details: None,
            stop_reason: StopReason::RequiresAction { event_ids: vec![event(1), event(2)] }
        },
        SessionStatusRescheduled: EventBody::SessionStatusRescheduled {},
        SessionStatusTerminated: EventBody::SessionStatusTerminated {},
        SessionError: EventBody::SessionError {
            error: SessionError::ModelOverloadedError { message: "no capacity".into(), retry_status: RetryStatus::Retrying {} }
        },
        SessionUpdated: EventBody::SessionUpdated {
            agent: Some(Box::new(agent().as_ref().clone())),
            metadata: Some(metadata()),
            title: Some(None),
            budget: Some(Some(BudgetLimit::of_cents(500)))
        },
        SessionUsage: EventBody::SessionUsage { usage: usage(), budget: Some(BudgetLimit::of_cents(250)) },
        SessionDeleted: EventBody::SessionDeleted {},
        ThreadStatusRunning: EventBody::ThreadStatusRunning { agent_name: "helper".into(), session_thread_id: thread() },
        ThreadStatusIdle: EventBody::ThreadStatusIdle {
            agent_name: "helper".into(),
            session_thread_id: thread(),
            stop_details: Some(details()),
            stop_reason: StopReason::Refusal {}
        },
        ThreadStatusRescheduled: EventBody::ThreadStatusRescheduled { agent_name: "helper".into(), session_thread_id: thread() },
        ThreadStatusTerminated: EventBody::ThreadStatusTerminated { agent_name: "helper".into(), session_thread_id: thread() },
        ModelRequestStart: EventBody::ModelRequestStart {},
        ModelRequestEnd: EventBody::ModelRequestEnd {
            is_error: false,
            model_request_start_id: event(1),
            model_usage: SpanUsage::from(&tokens())
        },
    }
);
