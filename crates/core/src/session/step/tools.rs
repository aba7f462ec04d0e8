//! Sandboxes and results of calls.

use super::Stepper;
use crate::call::{CallEnd, CallOutcome};
use crate::events::wire::{RetryStatus, SessionError};
use crate::ids::{EventId, IncarnationId};
use crate::limits;
use crate::session::calls::{Call, CallState};
use crate::session::fault::CredentialFault;
use crate::session::record::RecordBody;
use crate::session::state::Phase;

/// What is told of a call whose sandbox ended while it may have run.
pub(super) fn outcome_unknown(why: Option<&str>) -> CallOutcome {
    let because = why.map(|why| format!(", because {why}")).unwrap_or_default();
    let text = format!(
        "Outcome unknown: the sandbox ended while this call ran{because}. It may have run fully, in part, or not at all; check before repeating it. Files in /workspace are kept, processes and files in /tmp are gone."
    );
    CallOutcome::text(text, true, CallEnd::OutcomeUnknown)
}

impl Stepper<'_> {
    pub(super) fn sandbox_started(&mut self, incarnation: IncarnationId) {
        if matches!(self.state.phase, Phase::Archived { .. }) || self.state.sandbox.is_some() {
            return;
        }
        self.emit(RecordBody::SandboxStarted { incarnation });
        self.advance();
    }

    /// Tells of credentials that nobody was told of yet.
    pub(super) fn credentials_faulted(&mut self, faults: Vec<CredentialFault>) {
        if matches!(self.state.phase, Phase::Archived { .. }) {
            return;
        }
        for fault in faults {
            let has_room = self.state.credential_faults.len() < limits::CREDENTIAL_FAULTS;
            if has_room && !self.state.credential_faults.iter().any(|told| told.is_about(&fault)) {
                let event = self.event_id();
                self.emit(RecordBody::CredentialFaulted { event, fault });
            }
        }
    }

    /// Gives the sandbox up if no call may need it. The next call has the next life.
    pub(super) fn park(&mut self) {
        let is_needed = self.state.is_unfinished() || self.state.calls.iter().any(|call| call.state == CallState::Running);
        if let (false, Some(incarnation)) = (is_needed, self.state.sandbox.clone()) {
            self.emit(RecordBody::SandboxLost { incarnation });
        }
    }

    pub(super) fn sandbox_failed(&mut self, message: &str) {
        if !self.state.calls.iter().any(Call::waits_for_sandbox) {
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
        let retries = self.state.call(id).map_or(0, |call| call.retries);
        self.lose_sandbox(incarnation);
        if !self.state.interrupts.is_empty() {
            self.settle(id.clone(), false, CallOutcome::text("Interrupted by the user before it ran.", true, CallEnd::NotRun));
        } else if retries < limits::CALL_RETRIES {
            self.emit(RecordBody::CallRetried { call: id.clone() });
        } else {
            let text = format!("Not run: {} sandboxes in a row ended before they received this call.", retries + 1);
            self.settle(id.clone(), false, CallOutcome::text(text, true, CallEnd::NotRun));
        }
        self.advance();
    }

    pub(super) fn call_lost(&mut self, id: &EventId, incarnation: IncarnationId, why: Option<&str>) {
        if !self.runs_in(id, &incarnation) {
            return;
        }
        let repeatable = self.state.call(id).is_some_and(|call| call.read_only && call.retries < limits::CALL_RETRIES);
        self.lose_sandbox(incarnation);
        if repeatable && self.state.interrupts.is_empty() {
            self.emit(RecordBody::CallRetried { call: id.clone() });
        } else {
            self.settle(id.clone(), false, outcome_unknown(why));
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
