//! Answers and failures of models.

use super::Stepper;
use crate::call::{CallEnd, CallOutcome};
use crate::events::wire::{
    AutoPermission, AutoReason, EvaluatedPermission, Evaluation, RefusalDetails, RefusalDetailsKind, RetryStatus, SessionError, StopReason,
};
use crate::ids::EffectId;
use crate::limits;
use crate::model::{BlockKind, ModelError, ModelErrorKind, ModelResponse, ModelStop};
use crate::resources::tools::{self, PermissionPolicy};
use crate::resources::web::WEB_FETCH;
use crate::session::record::{CallTarget, NewCall, RecordBody, RescheduledEvents, Try};
use crate::session::state::Phase;

impl Stepper<'_> {
    pub(super) fn model_answered(&mut self, id: &EffectId, response: ModelResponse) {
        let Phase::Requesting { effect, span, ask, .. } = self.state.phase.clone() else { return };
        if effect != *id {
            return;
        }
        if !self.state.interrupts.is_empty() {
            self.fail_request(ModelError {
                kind: ModelErrorKind::Cancelled,
                message: "interrupted".into(),
                retry_after_ms: None,
                usage: response.usage,
                billed: response.usage.is_unknown(),
            });
            return self.advance();
        }
        let cut = matches!(response.stop, ModelStop::MaxTokens | ModelStop::Refusal { .. });
        let judged = self.judge(&response, cut);
        let calls: Vec<NewCall> = judged.iter().map(|(call, _)| call.clone()).collect();
        let (has_calls, stop, span_end) = (!calls.is_empty(), response.stop.clone(), self.event_id());
        let cost = self.cost_of_answer(&ask, &response.usage);
        self.emit(RecordBody::RequestAnswered {
            effect,
            span,
            span_end,
            blocks: response.blocks,
            calls,
            stop: response.stop,
            usage: response.usage,
            model: response.model,
            cost,
        });
        for (call, refused) in judged {
            if let Some(why) = refused {
                let custom = call.target == CallTarget::Custom;
                self.settle(call.event, custom, CallOutcome::text(why, true, CallEnd::NotRun));
            }
        }
        match stop {
            ModelStop::Refusal { category, explanation } => {
                let details = RefusalDetails { kind: RefusalDetailsKind::Refusal, category, explanation };
                self.idle(StopReason::Refusal {}, Some(details), None);
            }
            _ if cut || !has_calls => self.idle(StopReason::EndTurn {}, None, None),
            _ => {}
        }
        self.advance();
    }

    /// The calls of an answer, each with the reason why it is not run, if there is one.
    fn judge(&self, response: &ModelResponse, cut: bool) -> Vec<(NewCall, Option<String>)> {
        let mut judged = Vec::new();
        for block in &response.blocks {
            let BlockKind::ToolCall { id, name, input, complete } = &block.kind else { continue };
            let refused = if cut {
                Some("Not run: the answer was cut off, so that this call may be incomplete.".to_owned())
            } else if !complete {
                Some("Not run: the arguments are not a complete JSON object.".to_owned())
            } else if judged.len() >= limits::CALLS_PER_ANSWER {
                Some(format!("Not run: at most {} calls of one answer are run.", limits::CALLS_PER_ANSWER))
            } else {
                None
            };
            let (target, refused) = self.target(name, refused);
            let call = NewCall {
                event: block.event_id.clone(),
                provider_id: id.clone(),
                name: name.clone(),
                input: input.as_object().cloned().unwrap_or_default(),
                target,
            };
            judged.push((call, refused));
        }
        judged
    }

    fn target(&self, name: &str, refused: Option<String>) -> (CallTarget, Option<String>) {
        if tools::has_custom(&self.state.agent.tools, name) {
            return (CallTarget::Custom, refused);
        }
        if let Some(target) = self.mcp_target(name) {
            return (target, refused);
        }
        let read_only = tools::READ_ONLY_TOOLS.contains(&name);
        let policy = tools::builtin_policy(&self.state.agent.tools, name).filter(|_| tools::AVAILABLE_TOOLS.contains(&name));
        let Some(policy) = policy else {
            let why = refused.unwrap_or_else(|| format!("Permission to use {name} has been denied: the agent does not have this tool."));
            return (CallTarget::Builtin { read_only, permission: EvaluatedPermission::Deny, evaluation: None }, Some(why));
        };
        if refused.is_some() {
            return (CallTarget::Builtin { read_only, permission: EvaluatedPermission::Deny, evaluation: None }, refused);
        }
        // It changes nothing, but an address can carry something out.
        let (permission, evaluation) = evaluate(policy, read_only && name != WEB_FETCH);
        (CallTarget::Builtin { read_only, permission, evaluation: Some(evaluation) }, None)
    }

    pub(super) fn model_failed(&mut self, id: &EffectId, error: ModelError, delay_ms: u64) {
        let Phase::Requesting { effect, attempt, ask, .. } = self.state.phase.clone() else { return };
        if effect != *id {
            return;
        }
        self.fail_request(error.clone());
        if !self.state.interrupts.is_empty() {
            return self.advance();
        }
        match self.next_try(attempt, ask.attempt, error.kind) {
            NextTry::Here(next) => self.schedule(attempt, next, delay_ms, &error),
            NextTry::NextTarget(next) => {
                let instead = self.plan.targets.get(next.target as usize).map_or_else(String::new, |target| target.at.to_string());
                let event = self.event_id();
                let passed = ModelError { message: format!("{}; asking {instead} instead of {}", error.message, ask.at), ..error };
                self.emit(RecordBody::Faulted { event, error: session_error(&passed, RetryStatus::Retrying {}) });
                self.request(attempt + 1, next);
            }
            NextTry::Never => self.give_up(session_error(&error, RetryStatus::Exhausted {})),
        }
        self.advance();
    }

    /// What is tried after a failure: the same model while that makes sense, then the others in
    /// their order, then all of them again.
    fn next_try(&self, attempt: u32, failed: Try, kind: ModelErrorKind) -> NextTry {
        let targets = u32::try_from(self.plan.targets.len()).unwrap_or(u32::MAX).max(1);
        let attempts = limits::MODEL_ATTEMPTS.max(targets.saturating_mul(limits::ATTEMPTS_PER_TARGET));
        let hopeful = failed.hopeful || kind.is_transient();
        let passes = kind.is_transient() && attempt < attempts;
        let at_once = targets > 1 && (failed.here >= limits::TRIES_PER_TARGET || kind == ModelErrorKind::Suspended);
        if passes && !at_once {
            return NextTry::Here(Try { here: failed.here.saturating_add(1), hopeful, ..failed });
        }
        if failed.target + 1 < targets && kind != ModelErrorKind::Cancelled {
            return NextTry::NextTarget(Try { target: failed.target + 1, here: 1, hopeful });
        }
        if targets > 1 && hopeful && attempt < attempts { NextTry::Here(Try::FIRST) } else { NextTry::Never }
    }

    /// Tries again after a wait, of which clients are told unless it is one of the first.
    fn schedule(&mut self, attempt: u32, next: Try, delay_ms: u64, error: &ModelError) {
        let timer = self.effect_id();
        let rescheduled = (attempt >= limits::QUICK_ATTEMPTS).then(|| RescheduledEvents {
            error_event: self.event_id(),
            error: session_error(error, RetryStatus::Retrying {}),
            thread: self.event_id(),
            session: self.event_id(),
        });
        let delay_ms = delay_ms.min(limits::MODEL_RETRY_DELAY_MS);
        self.emit(RecordBody::RetryScheduled { timer, attempt, delay_ms, next, rescheduled });
    }

    pub(super) fn fail_request(&mut self, error: ModelError) {
        let Phase::Requesting { effect, span, ask, .. } = self.state.phase.clone() else { return };
        let (span_end, cost) = (self.event_id(), self.cost_of_failure(&ask, &error));
        self.emit(RecordBody::RequestFailed { effect, span, span_end, error, cost });
    }

    pub(super) fn timer_fired(&mut self, id: &EffectId) {
        let Phase::Backoff { timer, attempt, rescheduled, next, .. } = self.state.phase.clone() else { return };
        if timer != *id {
            return;
        }
        if rescheduled {
            let running = self.running_events();
            self.emit(RecordBody::Resumed { running });
        }
        self.request(attempt + 1, next);
    }
}

/// What follows a failed request.
enum NextTry {
    /// A wait, then this.
    Here(Try),
    /// The next model, at once.
    NextTarget(Try),
    /// The end of the turn.
    Never,
}

/// `auto` allows only tools that are declared read-only; it never judges a command by its text.
pub(super) fn evaluate(policy: PermissionPolicy, read_only: bool) -> (EvaluatedPermission, Evaluation) {
    match policy {
        PermissionPolicy::AlwaysAllow => (EvaluatedPermission::Allow, Evaluation::AlwaysAllow {}),
        PermissionPolicy::AlwaysAsk => (EvaluatedPermission::Ask, Evaluation::AlwaysAsk {}),
        PermissionPolicy::Auto if read_only => {
            (EvaluatedPermission::Allow, Evaluation::Auto { evaluated_permission: AutoPermission::Allow {} })
        }
        PermissionPolicy::Auto => (
            EvaluatedPermission::Ask,
            Evaluation::Auto { evaluated_permission: AutoPermission::Ask { reason_code: AutoReason::Indeterminate } },
        ),
    }
}

/// A model's failure as clients are told of it.
fn session_error(error: &ModelError, retry_status: RetryStatus) -> SessionError {
    let message: String = error.message.chars().take(limits::ERROR_MESSAGE_CHARS).collect();
    match error.kind {
        ModelErrorKind::Overloaded | ModelErrorKind::Suspended => SessionError::ModelOverloadedError { message, retry_status },
        ModelErrorKind::RateLimited => SessionError::ModelRateLimitedError { message, retry_status },
        ModelErrorKind::Billing => SessionError::BillingError { message, retry_status },
        ModelErrorKind::Unavailable
        | ModelErrorKind::Authentication
        | ModelErrorKind::Rejected
        | ModelErrorKind::ContextOverflow
        | ModelErrorKind::Protocol
        | ModelErrorKind::Cancelled => SessionError::ModelRequestFailedError { message, retry_status },
    }
}
