//! The order of events that clients rely on, as an automaton.

use ostler_core::events::wire::{Event, EventBody, StopReason};
use ostler_core::ids::EventId;
use ostler_core::resources::session::SessionStatus;
use ostler_core::session::record::RecordBody;
use ostler_core::session::state::State;

use super::check::{Broken, rule};

pub(crate) struct Grammar {
    status: SessionStatus,
    /// Idle only until calls are answered.
    paused: bool,
    /// The calls that clients were told to answer.
    listed: Vec<EventId>,
    span: Option<EventId>,
    /// The kind that must come next.
    next: Option<&'static str>,
    set_aside: bool,
}

impl Default for Grammar {
    fn default() -> Self {
        Self { status: SessionStatus::Idle, paused: false, listed: Vec::new(), span: None, next: None, set_aside: false }
    }
}

impl Grammar {
    pub(crate) fn record(&mut self, body: &RecordBody) {
        match body {
            RecordBody::SetAside { .. } => self.set_aside = true,
            RecordBody::Retried { .. } => self.set_aside = false,
            _ => {}
        }
    }

    /// `waiting`: the calls that wait for answers; `open`: whether any call has no result yet.
    pub(crate) fn event(&mut self, event: &Event, waiting: &[EventId], open: bool) -> Result<(), Broken> {
        let kind = event.body.kind();
        rule!(self.status != SessionStatus::Terminated, "{kind} after the end");
        match self.next.take() {
            Some(next) => rule!(kind == next, "{kind} instead of {next}"),
            None => rule!(!follows(kind), "{kind} out of its place"),
        }
        match &event.body {
            EventBody::SessionStatusRunning {} => {
                rule!(matches!(self.status, SessionStatus::Idle | SessionStatus::Rescheduling), "running twice");
                (self.status, self.paused, self.next) = (SessionStatus::Running, false, Some("session.thread_status_running"));
            }
            EventBody::ThreadStatusIdle { .. } => self.next = Some("session.usage"),
            EventBody::SessionUsage { .. } => self.next = Some("session.status_idle"),
            EventBody::SessionStatusIdle { stop_reason, .. } => self.idle(stop_reason, waiting, open)?,
            EventBody::ThreadStatusRescheduled { .. } => self.next = Some("session.status_rescheduled"),
            EventBody::SessionStatusRescheduled {} => {
                rule!(self.status == SessionStatus::Running && self.span.is_none(), "rescheduled out of its place");
                self.status = SessionStatus::Rescheduling;
            }
            EventBody::ThreadStatusTerminated { .. } => self.next = Some("session.status_terminated"),
            EventBody::SessionStatusTerminated {} => {
                rule!(self.status == SessionStatus::Idle && self.span.is_none() && !open, "the end leaves something open");
                (self.status, self.paused) = (SessionStatus::Terminated, false);
            }
            EventBody::ModelRequestStart {} => {
                rule!(self.status == SessionStatus::Running && self.span.is_none(), "a request out of its place");
                self.span = Some(event.id.clone());
            }
            EventBody::ModelRequestEnd { model_request_start_id, .. } => {
                rule!(self.span.take().as_ref() == Some(model_request_start_id), "the end of another request");
            }
            EventBody::AgentMessage { .. }
            | EventBody::AgentThinking {}
            | EventBody::AgentToolUse { .. }
            | EventBody::AgentMcpToolUse { .. }
            | EventBody::AgentCustomToolUse { .. } => {
                rule!(self.span.is_some(), "{kind} outside of a request");
            }
            EventBody::AgentToolResult { .. } | EventBody::AgentMcpToolResult { .. } => {
                rule!(self.span.is_none(), "a result within a request")
            }
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self, stop: &StopReason, waiting: &[EventId], open: bool) -> Result<(), Broken> {
        rule!(self.status != SessionStatus::Idle || self.paused, "idle twice");
        rule!(self.set_aside || self.span.is_none(), "idle within a request");
        self.paused = match stop {
            StopReason::RequiresAction { event_ids } => {
                rule!(!waiting.is_empty() && event_ids == waiting, "requires_action lists {event_ids:?}, and {waiting:?} wait");
                self.listed.clone_from(event_ids);
                true
            }
            _ => {
                rule!(self.set_aside || !open, "the turn ends while a call has no result");
                false
            }
        };
        self.status = SessionStatus::Idle;
        Ok(())
    }

    /// The end of a batch: what clients were told is what is.
    pub(crate) fn batch(&self, state: &State, waiting: &[EventId]) -> Result<(), Broken> {
        rule!(!self.paused || self.set_aside || self.listed == waiting, "clients were told of {:?}, and {waiting:?} wait", self.listed);
        rule!(self.next.is_none(), "{:?} is missing", self.next);
        rule!(state.status() == self.status, "clients were told {:?}, and it is {:?}", self.status, state.status());
        rule!(
            (state.running_since.is_some()) == matches!(self.status, SessionStatus::Running | SessionStatus::Rescheduling),
            "the clock of active time is wrong"
        );
        Ok(())
    }
}

/// Kinds that only come directly behind another.
fn follows(kind: &str) -> bool {
    matches!(
        kind,
        "session.thread_status_running"
            | "session.usage"
            | "session.status_idle"
            | "session.status_rescheduled"
            | "session.status_terminated"
    )
}
