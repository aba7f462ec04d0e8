//! Sandboxes and results of calls.

use super::Stepper;
use crate::call::{CallEnd, CallOutcome};
use crate::events::wire::{RetryStatus, SessionError};
use crate::ids::{EventId, IncarnationId};
use crate::limits;
use crate::session::calls::{Call, CallState};
use crate::session::record::RecordBody;
use crate::session::state::Phase;

impl Stepper {
    pub(super) fn sandbox_started(&mut self, incarnation: IncarnationId) {
        if matches!(self.state.phase, Phase::Archived { .. }) || self.state.sandbox.is_some() {
            return;
        }
        self.emit(RecordBody::SandboxStarted { incarnation });
        self.advance();
    }

    pub(super) fn sandbox_failed(&mut self, message: &str) {
        let undispatched = |call: &Call| call.state == CallState::Running && call.incarnation.is_none();
        if !self.state.calls.iter().any(undispatched) {
            return;
        }
        let message: String = message.chars().take(limits::ERROR_MESSAGE_CHARS).collect();
        self.give_up(SessionError::UnknownError { message: format!("no sandbox: {message}"), retry_status: RetryStatus::Exhausted {} });
        self.advance();
    }

    pub(super) fn call_finished(&mut self, id: &EventId, outcome: CallOutcome) {
        if !self.runs(id) {
            return;
        }
        self.settle(id.clone(), false, outcome);
        self.advance();
    }

    pub(super) fn call_never_received(&mut self, id: &EventId, incarnation: IncarnationId) {
        if !self.runs_in(id, &incarnation) {
            return;
        }
        self.lose_sandbox(incarnation);
        self.emit(RecordBody::CallRetried { call: id.clone() });
        self.advance();
    }

    pub(super) fn call_lost(&mut self, id: &EventId, incarnation: IncarnationId) {
        if !self.runs_in(id, &incarnation) {
            return;
        }
        let read_only = self.state.call(id).is_some_and(|call| call.read_only);
        self.lose_sandbox(incarnation);
        if read_only && self.state.interrupts.is_empty() {
            self.emit(RecordBody::CallRetried { call: id.clone() });
        } else {
            let text = "Outcome unknown: the sandbox ended while this call ran. It may have run fully, in part, or not at all; check before repeating it. Files in /workspace are kept, processes and files in /tmp are gone.";
            self.settle(id.clone(), false, CallOutcome::text(text, true, CallEnd::OutcomeUnknown));
        }
        self.advance();
    }

    fn lose_sandbox(&mut self, incarnation: IncarnationId) {
        if self.state.sandbox.as_ref() == Some(&incarnation) {
            self.emit(RecordBody::SandboxLost { incarnation });
        }
    }

    fn runs(&self, id: &EventId) -> bool {
        self.state.call(id).is_some_and(|call| call.state == CallState::Running)
    }

    fn runs_in(&self, id: &EventId, incarnation: &IncarnationId) -> bool {
        self.runs(id) && self.state.call(id).is_some_and(|call| call.incarnation.as_ref() == Some(incarnation))
    }
}
