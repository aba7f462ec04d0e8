//! What clients see of a record: none, one or several events, in order.

use super::record::{CallTarget, IdleEvents, InputRole, NewCall, QueuedInput, Record, RecordBody, RescheduledEvents, RunningEvents};
use crate::events::content::ContentBlock;
use crate::events::wire::{Event, EventBody, RefusalDetails, SessionError, SpanUsage, StopReason};
use crate::ids::{EventId, ThreadId};
use crate::model::{BlockKind, ResponseBlock, TokenUsage};
use crate::resources::budget::BudgetLimit;
use crate::resources::session::SessionUsage;
use crate::time::Timestamp;

/// What all events of a session share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The thread.
    pub thread: ThreadId,
    /// The agent's name.
    pub agent_name: String,
}

/// The events of a record.
pub fn project(record: &Record, shared: &Shared) -> Vec<Event> {
    let mut out = Projection { at: record.at, shared, events: Vec::new() };
    match &record.body {
        RecordBody::TurnStarted { inputs, running } => {
            out.inputs(inputs);
            out.running(running);
        }
        RecordBody::InputsFlushed { inputs } => out.inputs(inputs),
        RecordBody::Instructed { event, content } => out.push(event, EventBody::SystemMessage { content: content.clone() }),
        RecordBody::Resumed { running } | RecordBody::Retried { running, .. } => out.running(running),
        RecordBody::Faulted { event, error } | RecordBody::McpUnavailable { event, error, .. } => out.error(event, error),
        RecordBody::CredentialFaulted { event, fault } => out.error(event, &fault.error()),
        RecordBody::SetAside { event, error, events, usage, budget } => {
            out.error(event, error);
            out.idle(events, &StopReason::RetriesExhausted {}, None, usage, budget.as_ref());
        }
        RecordBody::RequestStarted { span, .. } => out.push(span, EventBody::ModelRequestStart {}),
        RecordBody::RequestAnswered { span, span_end, blocks, calls, usage, .. } => {
            out.answer(blocks, calls);
            out.span_end(span_end, span, false, usage);
        }
        RecordBody::RequestFailed { span, span_end, error, .. } => out.span_end(span_end, span, true, &error.usage),
        RecordBody::RetryScheduled { rescheduled: Some(events), .. } => out.rescheduled(events),
        RecordBody::CallSettled { call, event: Some(event), outcome, mcp } => {
            let (call, content, is_error) = (call.clone(), outcome.content.clone(), outcome.is_error);
            out.push(
                event,
                if *mcp {
                    EventBody::AgentMcpToolResult { mcp_tool_use_id: call, content, is_error }
                } else {
                    EventBody::AgentToolResult { tool_use_id: call, content, is_error }
                },
            );
        }
        RecordBody::CustomResult { event, call, content, is_error, .. } => {
            out.push(
                event,
                EventBody::UserCustomToolResult { custom_tool_use_id: call.clone(), content: content.clone(), is_error: *is_error },
            );
        }
        RecordBody::Confirmed { event, call, result, deny_message, .. } => {
            out.push(
                event,
                EventBody::UserToolConfirmation { tool_use_id: call.clone(), result: *result, deny_message: deny_message.clone() },
            );
        }
        RecordBody::Interrupted { event } => out.push(event, EventBody::UserInterrupt {}),
        RecordBody::Idled { events, error, stop, details, usage, budget } => {
            if let Some((event, error)) = error {
                out.error(event, error);
            }
            out.idle(events, stop, details.as_ref(), usage, budget.as_ref());
        }
        RecordBody::Updated { event, change } => {
            out.push(
                event,
                EventBody::SessionUpdated {
                    agent: change.agent.clone(),
                    metadata: change.metadata.clone(),
                    title: change.title.clone(),
                    budget: change.budget.clone(),
                },
            );
        }
        RecordBody::Archived { thread, session } => {
            out.push(
                thread,
                EventBody::ThreadStatusTerminated { agent_name: shared.agent_name.clone(), session_thread_id: shared.thread.clone() },
            );
            out.push(session, EventBody::SessionStatusTerminated {});
        }
        RecordBody::Created { .. }
        | RecordBody::InputsQueued { .. }
        | RecordBody::RetryScheduled { rescheduled: None, .. }
        | RecordBody::SandboxStarted { .. }
        | RecordBody::SandboxLost { .. }
        | RecordBody::CallRetried { .. }
        | RecordBody::CallSettled { event: None, .. }
        | RecordBody::NetworkAsked { .. }
        | RecordBody::NetworkAnswered { .. }
        | RecordBody::NetworkUsed { .. }
        | RecordBody::InterruptRequested { .. }
        | RecordBody::McpListed { .. }
        | RecordBody::Unknown => {}
    }
    out.events
}

struct Projection<'a> {
    at: Timestamp,
    shared: &'a Shared,
    events: Vec<Event>,
}

impl Projection<'_> {
    fn push(&mut self, id: &EventId, body: EventBody) {
        self.events.push(Event { id: id.clone(), processed_at: Some(self.at), body });
    }

    fn inputs(&mut self, inputs: &[QueuedInput]) {
        for input in inputs {
            let content = input.content.clone();
            self.push(
                &input.event,
                match input.role {
                    InputRole::User => EventBody::UserMessage { content },
                    InputRole::System => EventBody::SystemMessage { content },
                },
            );
        }
    }

    fn running(&mut self, events: &RunningEvents) {
        self.push(&events.session, EventBody::SessionStatusRunning {});
        let (agent_name, session_thread_id) = (self.shared.agent_name.clone(), self.shared.thread.clone());
        self.push(&events.thread, EventBody::ThreadStatusRunning { agent_name, session_thread_id });
    }

    fn error(&mut self, event: &EventId, error: &SessionError) {
        self.push(event, EventBody::SessionError { error: error.clone() });
    }

    fn rescheduled(&mut self, events: &RescheduledEvents) {
        self.error(&events.error_event, &events.error);
        let (agent_name, session_thread_id) = (self.shared.agent_name.clone(), self.shared.thread.clone());
        self.push(&events.thread, EventBody::ThreadStatusRescheduled { agent_name, session_thread_id });
        self.push(&events.session, EventBody::SessionStatusRescheduled {});
    }

    /// Neighbouring text blocks are one message, under the id of the first.
    fn answer(&mut self, blocks: &[ResponseBlock], calls: &[NewCall]) {
        let mut message: Option<(&EventId, Vec<ContentBlock>)> = None;
        for block in blocks {
            if let BlockKind::Text { text } = &block.kind {
                if !text.is_empty() {
                    message.get_or_insert_with(|| (&block.event_id, Vec::new())).1.push(ContentBlock::text(text));
                }
                continue;
            }
            self.message(message.take());
            match &block.kind {
                BlockKind::Thinking | BlockKind::RedactedThinking => self.push(&block.event_id, EventBody::AgentThinking {}),
                BlockKind::ToolCall { .. } => {
                    if let Some(call) = calls.iter().find(|call| call.event == block.event_id) {
                        self.push(&block.event_id, call_event(call));
                    }
                }
                BlockKind::Text { .. } | BlockKind::Other => {}
            }
        }
        self.message(message);
    }

    fn message(&mut self, message: Option<(&EventId, Vec<ContentBlock>)>) {
        if let Some((id, content)) = message {
            self.push(id, EventBody::AgentMessage { content });
        }
    }

    fn span_end(&mut self, id: &EventId, start: &EventId, is_error: bool, usage: &TokenUsage) {
        self.push(id, EventBody::ModelRequestEnd { is_error, model_request_start_id: start.clone(), model_usage: SpanUsage::from(usage) });
    }

    fn idle(
        &mut self,
        events: &IdleEvents,
        stop: &StopReason,
        details: Option<&RefusalDetails>,
        usage: &SessionUsage,
        budget: Option<&BudgetLimit>,
    ) {
        let (agent_name, session_thread_id) = (self.shared.agent_name.clone(), self.shared.thread.clone());
        self.push(
            &events.thread,
            EventBody::ThreadStatusIdle { agent_name, session_thread_id, stop_details: details.cloned(), stop_reason: stop.clone() },
        );
        self.push(&events.usage, EventBody::SessionUsage { usage: usage.clone(), budget: budget.cloned() });
        self.push(&events.session, EventBody::SessionStatusIdle { stop_details: details.cloned(), stop_reason: stop.clone() });
    }
}

fn call_event(call: &NewCall) -> EventBody {
    match &call.target {
        CallTarget::Custom => EventBody::AgentCustomToolUse { input: call.input.clone(), name: call.name.clone() },
        CallTarget::Mcp { server, tool, permission, evaluation } => EventBody::AgentMcpToolUse {
            input: call.input.clone(),
            mcp_server_name: server.clone(),
            name: tool.clone(),
            evaluated_permission: *permission,
            evaluation: *evaluation,
        },
        CallTarget::Builtin { permission, evaluation, .. } => EventBody::AgentToolUse {
            input: call.input.clone(),
            name: call.name.clone(),
            evaluated_permission: *permission,
            evaluation: *evaluation,
        },
    }
}
