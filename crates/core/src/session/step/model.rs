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
use crate::session::record::{CallTarget, NewCall, RecordBody, RescheduledEvents};
use crate::session::state::Phase;

impl Stepper {
    pub(super) fn model_answered(&mut self, id: &EffectId, response: ModelResponse) {
        let Phase::Requesting { effect, span, .. } = self.state.phase.clone() else { return };
        if effect != *id {
            return;
        }
        if !self.state.interrupts.is_empty() {
            let error =
                ModelError { kind: ModelErrorKind::Cancelled, message: "interrupted".into(), retry_after_ms: None, usage: response.usage };
            self.fail_request(error);
            return self.advance();
        }
        let cut = matches!(response.stop, ModelStop::MaxTokens | ModelStop::Refusal { .. });
        let judged = self.judge(&response, cut);
        let calls: Vec<NewCall> = judged.iter().map(|(call, _)| call.clone()).collect();
        let (has_calls, stop, span_end) = (!calls.is_empty(), response.stop.clone(), self.event_id());
        self.emit(RecordBody::RequestAnswered {
            effect,
            span,
            span_end,
            blocks: response.blocks,
            calls,
            stop: response.stop,
            usage: response.usage,
            model: response.model,
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
        let read_only = tools::READ_ONLY_TOOLS.contains(&name);
        let policy = tools::builtin_policy(&self.state.agent.tools, name).filter(|_| tools::AVAILABLE_TOOLS.contains(&name));
        let Some(policy) = policy else {
            let why = refused.unwrap_or_else(|| format!("Permission to use {name} has been denied: the agent does not have this tool."));
            return (CallTarget::Builtin { read_only, permission: EvaluatedPermission::Deny, evaluation: None }, Some(why));
        };
        if refused.is_some() {
            return (CallTarget::Builtin { read_only, permission: EvaluatedPermission::Deny, evaluation: None }, refused);
        }
        let (permission, evaluation) = evaluate(policy, read_only);
        (CallTarget::Builtin { read_only, permission, evaluation: Some(evaluation) }, None)
    }

    pub(super) fn model_failed(&mut self, id: &EffectId, error: ModelError, delay_ms: u64) {
        let Phase::Requesting { effect, attempt, .. } = self.state.phase.clone() else { return };
        if effect != *id {
            return;
        }
        self.fail_request(error.clone());
        if !self.state.interrupts.is_empty() {
            return self.advance();
        }
        if error.kind.is_transient() && attempt < limits::MODEL_ATTEMPTS {
            let timer = self.effect_id();
            let rescheduled = (attempt >= limits::QUICK_ATTEMPTS).then(|| RescheduledEvents {
                error_event: self.event_id(),
                error: session_error(&error, RetryStatus::Retrying {}),
                thread: self.event_id(),
                session: self.event_id(),
            });
            let delay_ms = delay_ms.min(limits::MODEL_RETRY_DELAY_MS);
            self.emit(RecordBody::RetryScheduled { timer, attempt, delay_ms, rescheduled });
            return;
        }
        self.give_up(session_error(&error, RetryStatus::Exhausted {}));
        self.advance();
    }

    pub(super) fn fail_request(&mut self, error: ModelError) {
        let Phase::Requesting { effect, span, .. } = self.state.phase.clone() else { return };
        let span_end = self.event_id();
        self.emit(RecordBody::RequestFailed { effect, span, span_end, error });
    }

    pub(super) fn timer_fired(&mut self, id: &EffectId) {
        let Phase::Backoff { timer, attempt, rescheduled, .. } = self.state.phase.clone() else { return };
        if timer != *id {
            return;
        }
        if rescheduled {
            let running = self.running_events();
            self.emit(RecordBody::Resumed { running });
        }
        self.request(attempt + 1);
    }
}

/// `auto` allows only tools that are declared read-only; it never judges a command by its text.
fn evaluate(policy: PermissionPolicy, read_only: bool) -> (EvaluatedPermission, Evaluation) {
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
        ModelErrorKind::Overloaded => SessionError::ModelOverloadedError { message, retry_status },
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
