//! What clients and administrators ask for.

use super::Stepper;
use crate::call::{CallEnd, CallOutcome};
use crate::error::Refusal;
use crate::events::client::{ClientEvent, Confirmation};
use crate::events::content::ContentBlock;
use crate::events::wire::{Event, EventBody, RetryStatus, SessionError, StopReason};
use crate::ids::EventId;
use crate::limits;
use crate::model::{ModelError, ModelErrorKind, TokenUsage};
use crate::resources::session::{Changeable, SessionStatus, SessionUpdateParams};
use crate::scope::Principal;
use crate::session::calls::CallState;
use crate::session::record::{Ask, InputRole, QueuedInput, RecordBody, Try};
use crate::session::state::Phase;

impl Stepper<'_> {
    pub(super) fn send(&mut self, events: Vec<ClientEvent>, principal: &Principal) -> Result<(), Refusal> {
        self.check_open()?;
        self.check_budget(&events)?;
        let was_paused = self.state.phase == (Phase::Acting { paused: true });
        let mut inputs: Vec<QueuedInput> = Vec::new();
        let mut answered = false;
        let mut behind_result = false;
        for event in events {
            let is_result = matches!(event, ClientEvent::UserCustomToolResult { .. });
            match event {
                ClientEvent::UserMessage { content } => inputs.push(self.input(InputRole::User, content, principal)),
                ClientEvent::SystemMessage { content } if behind_result => self.instruct(content),
                ClientEvent::SystemMessage { .. } if was_paused && !self.state.waiting().is_empty() => {
                    return Err(Refusal::invalid(
                        "system.message: while the session waits for answers, it only goes directly behind a tool result",
                    ));
                }
                ClientEvent::SystemMessage { content } => inputs.push(self.input(InputRole::System, content, principal)),
                ClientEvent::UserInterrupt { session_thread_id } => {
                    self.accept(std::mem::take(&mut inputs))?;
                    self.interrupt(session_thread_id.as_deref(), principal)?;
                }
                ClientEvent::UserToolConfirmation { tool_use_id, result, deny_message } => {
                    self.confirm(&tool_use_id, result, deny_message, principal)?;
                    answered = true;
                }
                ClientEvent::UserCustomToolResult { custom_tool_use_id, content, is_error } => {
                    self.custom_result(&custom_tool_use_id, content.unwrap_or_default(), is_error.unwrap_or(false), principal)?;
                    answered = true;
                }
                ClientEvent::UserToolResult { .. } | ClientEvent::UserDefineOutcome { .. } => {
                    return Err(Refusal::invalid("this kind of event is not supported by this server yet"));
                }
            }
            behind_result = is_result;
        }
        if answered && was_paused && self.state.phase == (Phase::Acting { paused: true }) {
            self.answer_pause();
        }
        self.accept(inputs)?;
        self.advance();
        Ok(())
    }

    fn check_open(&self) -> Result<(), Refusal> {
        if matches!(self.state.phase, Phase::Archived { .. }) {
            return Err(Refusal::invalid("the session is archived and takes no more events; create another one"));
        }
        if self.state.set_aside {
            return Err(Refusal::invalid(
                "the session was set aside because it failed repeatedly; an administrator can let it go on with a retry",
            ));
        }
        Ok(())
    }

    /// An input with its event's id; the echo tells the client this id.
    fn input(&mut self, role: InputRole, content: Vec<ContentBlock>, principal: &Principal) -> QueuedInput {
        let event = self.event_id();
        let body = match role {
            InputRole::User => EventBody::UserMessage { content: content.clone() },
            InputRole::System => EventBody::SystemMessage { content: content.clone() },
        };
        self.echo.push(Event { id: event.clone(), processed_at: None, body });
        QueuedInput { event, role, content, principal: principal.clone() }
    }

    /// Starts a turn with the inputs, or lets them wait for the next one.
    fn accept(&mut self, inputs: Vec<QueuedInput>) -> Result<(), Refusal> {
        if inputs.is_empty() {
            return Ok(());
        }
        if matches!(self.state.phase, Phase::Idle) && self.state.interrupts.is_empty() {
            self.start_turn(inputs);
            self.advance();
            return Ok(());
        }
        let bytes = |inputs: &mut dyn Iterator<Item = &QueuedInput>| -> usize {
            inputs.map(|input| serde_json::to_vec(&input.content).map_or(0, |text| text.len())).sum()
        };
        let total = bytes(&mut self.state.queue.iter()) + bytes(&mut inputs.iter());
        if self.state.queue.len() + inputs.len() > limits::QUEUED_INPUTS || total > limits::QUEUED_BYTES {
            return Err(Refusal::unavailable(format!(
                "too much waits in this session (at most {} messages or {} MiB); wait until it is idle",
                limits::QUEUED_INPUTS,
                limits::QUEUED_BYTES >> 20
            )));
        }
        self.emit(RecordBody::InputsQueued { inputs });
        Ok(())
    }

    fn instruct(&mut self, content: Vec<ContentBlock>) {
        let event = self.event_id();
        self.echo.push(Event {
            id: event.clone(),
            processed_at: Some(self.at),
            body: EventBody::SystemMessage { content: content.clone() },
        });
        self.emit(RecordBody::Instructed { event, content });
    }

    fn interrupt(&mut self, thread: Option<&str>, principal: &Principal) -> Result<(), Refusal> {
        if thread.is_some_and(|thread| thread != self.state.thread.as_str()) {
            return Err(Refusal::not_found("session_thread_id: the session has no such thread"));
        }
        if self.state.interrupts.len() >= limits::PENDING_INTERRUPTS {
            return Err(Refusal::unavailable("user.interrupt: the session is being interrupted already; wait until it is idle"));
        }
        let event = self.event_id();
        self.echo.push(Event { id: event.clone(), processed_at: None, body: EventBody::UserInterrupt {} });
        // Without budget nothing runs that could be interrupted: it is taken and changes nothing.
        if self.rests_without_budget() {
            return Ok(());
        }
        self.emit(RecordBody::InterruptRequested { event, principal: principal.clone() });
        self.advance();
        Ok(())
    }

    /// The answer is bound to the call's event and to the hash of exactly that input; it counts once.
    fn confirm(&mut self, id: &str, result: Confirmation, deny_message: Option<String>, principal: &Principal) -> Result<(), Refusal> {
        let (call, input_sha256, name) = match id.parse::<EventId>().ok().and_then(|id| self.state.call(&id)) {
            Some(call) if call.state == CallState::AwaitingConfirmation => (call.id.clone(), call.input_sha256(), call.name.clone()),
            Some(_) => return Err(Refusal::invalid(format!("tool_use_id: the call {id:?} does not wait for a confirmation (any more)"))),
            None => return Err(Refusal::invalid(format!("tool_use_id: no call {id:?} waits for a confirmation"))),
        };
        let event = self.event_id();
        self.echo.push(Event {
            id: event.clone(),
            processed_at: None,
            body: EventBody::UserToolConfirmation { tool_use_id: call.clone(), result, deny_message: deny_message.clone() },
        });
        self.emit(RecordBody::Confirmed {
            event,
            call: call.clone(),
            input_sha256,
            result,
            deny_message: deny_message.clone(),
            principal: principal.clone(),
        });
        if result == Confirmation::Deny {
            let reason = deny_message.map_or_else(String::new, |message| format!(" The user said: {message}"));
            self.settle(
                call,
                false,
                CallOutcome::text(format!("The user rejected this use of {name}; it was not run.{reason}"), true, CallEnd::NotRun),
            );
        }
        Ok(())
    }

    fn custom_result(&mut self, id: &str, content: Vec<ContentBlock>, is_error: bool, principal: &Principal) -> Result<(), Refusal> {
        let call = match id.parse::<EventId>().ok().and_then(|id| self.state.call(&id)) {
            Some(call) if call.state == CallState::AwaitingResult => call.id.clone(),
            Some(_) => return Err(Refusal::invalid(format!("custom_tool_use_id: the call {id:?} does not wait for a result (any more)"))),
            None => return Err(Refusal::invalid(format!("custom_tool_use_id: no call {id:?} waits for a result"))),
        };
        let event = self.event_id();
        self.echo.push(Event {
            id: event.clone(),
            processed_at: Some(self.at),
            body: EventBody::UserCustomToolResult { custom_tool_use_id: call.clone(), content: content.clone(), is_error },
        });
        self.emit(RecordBody::CustomResult { event, call, content, is_error, principal: principal.clone() });
        Ok(())
    }

    /// After answers: goes on when all are there, says what is still missing otherwise.
    fn answer_pause(&mut self) {
        let waiting = self.state.waiting();
        if waiting.is_empty() {
            let running = self.running_events();
            self.emit(RecordBody::Resumed { running });
        } else {
            self.pause(waiting);
        }
    }

    pub(super) fn update(&mut self, params: SessionUpdateParams) -> Result<(), Refusal> {
        if matches!(self.state.phase, Phase::Archived { .. }) {
            return Err(Refusal::invalid("the session is archived and cannot change"));
        }
        if params.touches_agent() && self.state.status() != SessionStatus::Idle {
            return Err(Refusal::invalid("agent: can only change while the session is idle; interrupt it or wait"));
        }
        let change = params.change(&Changeable {
            agent: &self.state.agent,
            title: self.state.title.as_deref(),
            metadata: &self.state.metadata,
            budget: self.state.budget.as_ref(),
            cost: self.state.cost.unwrap_or_default(),
        })?;
        let moves_budget = change.budget.is_some();
        if let Some(agent) = &change.agent {
            self.grown_overhead = serde_json::to_string(agent).map_or(0, |text| u64::try_from(text.len()).unwrap_or(u64::MAX));
        }
        if change != crate::resources::session::SessionChange::default() {
            let event = self.event_id();
            self.emit(RecordBody::Updated { event, change });
        }
        if moves_budget {
            self.resume_if_budget();
        }
        Ok(())
    }

    pub(super) fn archive(&mut self) -> Result<(), Refusal> {
        match self.state.status() {
            SessionStatus::Terminated => Ok(()),
            SessionStatus::Running | SessionStatus::Rescheduling => {
                Err(Refusal::invalid("the session is running; send user.interrupt and wait until it is idle"))
            }
            SessionStatus::Idle => {
                let gone = ModelError {
                    kind: ModelErrorKind::Cancelled,
                    message: "the session was archived".into(),
                    retry_after_ms: None,
                    usage: TokenUsage::default(),
                    billed: true,
                };
                self.fail_request(gone);
                self.close("Not run: the session was archived.");
                let (thread, session) = (self.event_id(), self.event_id());
                self.emit(RecordBody::Archived { thread, session });
                Ok(())
            }
        }
    }

    pub(super) fn set_aside(&mut self, deaths: u32) {
        if self.state.set_aside || matches!(self.state.phase, Phase::Archived { .. }) {
            return;
        }
        let message = format!(
            "the session failed {deaths} times in a row without getting on and was set aside; an administrator can let it go on with a retry"
        );
        // Nobody waits for its request any more, and what was set aside for it is free again.
        self.fail_request(ModelError {
            kind: ModelErrorKind::Unavailable,
            message: "the request was lost when the session failed".to_owned(),
            retry_after_ms: None,
            usage: TokenUsage::default(),
            billed: true,
        });
        let (event, events, usage, budget) = (self.event_id(), self.idle_events(), self.usage(), self.state.budget.clone());
        self.emit(RecordBody::SetAside {
            event,
            error: SessionError::UnknownError { message, retry_status: RetryStatus::Exhausted {} },
            events,
            usage,
            budget,
        });
    }

    pub(super) fn retry(&mut self, principal: Principal) -> Result<(), Refusal> {
        if !self.state.set_aside {
            return Err(Refusal::invalid("the session was not set aside; there is nothing to retry"));
        }
        let running = self.running_events();
        self.emit(RecordBody::Retried { principal, running });
        // Clients were told that it runs, so they are told as well if there is nothing to run.
        match self.state.phase {
            Phase::Idle => self.idle(StopReason::EndTurn {}, None, None),
            Phase::Acting { paused: true } => self.pause(self.state.waiting()),
            Phase::Backoff { attempt, next, .. } => self.request(attempt + 1, next),
            Phase::Capped => self.request(1, Try::FIRST),
            Phase::Requesting { .. } | Phase::Acting { paused: false } | Phase::Archived { .. } => self.recover(),
        }
        Ok(())
    }

    /// What the last process had under way is gone, except for what runs in the sandbox.
    pub(super) fn recover(&mut self) {
        if self.state.set_aside {
            return;
        }
        if let Phase::Requesting { attempt, ask: Ask { attempt: lost, .. }, .. } = self.state.phase {
            let message = "the request was lost when the server stopped".to_owned();
            self.fail_request(ModelError {
                kind: ModelErrorKind::Unavailable,
                message,
                retry_after_ms: None,
                usage: TokenUsage::default(),
                billed: true,
            });
            if self.state.interrupts.is_empty() {
                return self.request(attempt, lost);
            }
        }
        self.lose_remote();
        self.advance();
    }
}
