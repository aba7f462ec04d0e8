//! What follows by itself once something happened: the next request, a pause, the end of a turn,
//! the next turn.

use super::Stepper;
use super::mcp::remote_unknown;
use super::tools::outcome_unknown;
use crate::call::{CallEnd, CallOutcome};
use crate::events::wire::{RefusalDetails, RetryStatus, SessionError, StopReason};
use crate::ids::EventId;
use crate::limits;
use crate::session::calls::{CallState, Place};
use crate::session::record::{QueuedInput, RecordBody, Try};
use crate::session::state::Phase;

impl Stepper<'_> {
    /// Goes on until something outside has to happen.
    pub(super) fn advance(&mut self) {
        loop {
            match &self.state.phase {
                Phase::Archived { .. } | Phase::Requesting { .. } | Phase::Capped => return,
                Phase::Backoff { .. } | Phase::Acting { paused: true } if self.state.interrupts.is_empty() => return,
                Phase::Backoff { .. } | Phase::Acting { paused: true } => self.apply_interrupts(),
                Phase::Acting { paused: false } => {
                    if !self.act() {
                        return;
                    }
                }
                Phase::Idle => {
                    for event in self.state.interrupts.clone() {
                        self.emit(RecordBody::Interrupted { event });
                    }
                    if self.state.queue.is_empty() {
                        return;
                    }
                    let inputs = self.state.queue.iter().cloned().collect();
                    self.start_turn(inputs);
                }
            }
        }
    }

    /// Between two requests. Whether there is more to do right now.
    fn act(&mut self) -> bool {
        if !self.state.interrupts.is_empty() {
            self.settle_open(|state| state != CallState::Running, "Interrupted by the user before it ran.");
            self.settle_undispatched();
            if self.any(CallState::Running) {
                return false;
            }
            self.apply_interrupts();
            return true;
        }
        if self.any(CallState::Running) {
            return false;
        }
        let waiting = self.state.waiting();
        if !waiting.is_empty() {
            self.pause(waiting);
            return false;
        }
        if self.state.steps == 0 && self.state.calls.is_empty() && self.state.mcp_due().next().is_some() {
            return false;
        }
        if self.state.steps >= limits::STEPS_PER_TURN {
            let message = format!("the turn took {} model requests, which is the limit; send a message to go on", limits::STEPS_PER_TURN);
            self.give_up(SessionError::ToolUseLimitReachedError { message, retry_status: RetryStatus::Exhausted {} });
            return true;
        }
        self.request(1, Try::FIRST);
        false
    }

    fn any(&self, wanted: CallState) -> bool {
        self.state.calls.iter().any(|call| call.state == wanted)
    }

    /// Begins a turn with these inputs; queued ones leave the queue.
    pub(super) fn start_turn(&mut self, inputs: Vec<QueuedInput>) {
        let running = self.running_events();
        self.emit(RecordBody::TurnStarted { inputs, running });
    }

    /// Tells clients what the session waits for.
    pub(super) fn pause(&mut self, event_ids: Vec<EventId>) {
        self.idle(StopReason::RequiresAction { event_ids }, None, None);
    }

    /// Ends the turn.
    pub(super) fn idle(&mut self, stop: StopReason, details: Option<RefusalDetails>, error: Option<SessionError>) {
        let error = error.map(|error| (self.event_id(), error));
        let events = self.idle_events();
        let (usage, budget) = (self.usage(), self.state.budget.clone());
        self.emit(RecordBody::Idled { events, error, stop, details, usage, budget });
    }

    /// Ends the turn because it cannot go on. What waited enters the conversation, so that nothing
    /// that was accepted is lost, but starts no turn.
    pub(super) fn give_up(&mut self, error: SessionError) {
        self.close("Not run: the turn was given up.");
        self.idle(StopReason::RetriesExhausted {}, None, Some(error));
    }

    /// Leaves nothing open: every call gets a result, every accepted input becomes an event.
    pub(super) fn close(&mut self, why: &str) {
        let dispatched: Vec<EventId> = self.state.calls.iter().filter(|call| call.is_under_way()).map(|call| call.id.clone()).collect();
        for call in dispatched {
            self.settle_unknown(call);
        }
        self.settle_open(|_| true, why);
        if !self.state.queue.is_empty() {
            let inputs = self.state.queue.iter().cloned().collect();
            self.emit(RecordBody::InputsFlushed { inputs });
        }
        for event in self.state.interrupts.clone() {
            self.emit(RecordBody::Interrupted { event });
        }
    }

    /// Everything the interrupt ended is gone: the turn is over.
    fn apply_interrupts(&mut self) {
        self.settle_open(|state| state != CallState::Running, "Interrupted by the user before it ran.");
        for event in self.state.interrupts.clone() {
            self.emit(RecordBody::Interrupted { event });
        }
        self.idle(StopReason::EndTurn {}, None, None);
    }

    /// Gives calls that never ran their result.
    pub(super) fn settle_open(&mut self, which: impl Fn(CallState) -> bool, why: &str) {
        let open: Vec<(EventId, bool)> = self
            .state
            .calls
            .iter()
            .filter(|call| call.state != CallState::Settled && which(call.state))
            .map(|call| (call.id.clone(), call.custom))
            .collect();
        for (call, custom) in open {
            self.settle(call, custom, CallOutcome::text(why, true, CallEnd::NotRun));
        }
    }

    /// The same for calls that would run but that no sandbox was given yet.
    fn settle_undispatched(&mut self) {
        let open: Vec<EventId> = self.state.calls.iter().filter(|call| call.waits_for_sandbox()).map(|call| call.id.clone()).collect();
        for call in open {
            self.settle(call, false, CallOutcome::text("Interrupted by the user before it ran.", true, CallEnd::NotRun));
        }
    }

    /// Journals a result; tools of the client have no event of ours.
    pub(super) fn settle(&mut self, call: EventId, custom: bool, outcome: CallOutcome) {
        let event = (!custom).then(|| self.event_id());
        let mcp = self.state.call(&call).is_some_and(|call| matches!(call.place, Place::Mcp { .. }));
        self.emit(RecordBody::CallSettled { call, event, outcome, mcp });
    }

    /// The same for a call that may have run.
    pub(super) fn settle_unknown(&mut self, call: EventId) {
        let outcome = match self.state.call(&call).map(|call| &call.place) {
            Some(Place::Mcp { .. }) => remote_unknown(),
            _ => outcome_unknown(None),
        };
        self.settle(call, false, outcome);
    }
}
