//! Requests and what they cost: whom to ask, what to set aside for it, and what happens without budget.

use super::{SharedBudget, Stepper};
use crate::cost::{Cost, Price};
use crate::error::Refusal;
use crate::events::client::ClientEvent;
use crate::events::wire::{RetryStatus, SessionError, StopReason};
use crate::limits;
use crate::model::{ModelError, TokenUsage};
use crate::session::record::{Ask, RecordBody, Try};
use crate::session::state::Phase;

impl Stepper<'_> {
    /// Asks the model, if there is one and the budgets allow it.
    pub(super) fn request(&mut self, attempt: u32, next: Try) {
        // A list that got shorter begins anew.
        let next = if (next.target as usize) < self.plan.targets.len() { next } else { Try::FIRST };
        let Some(target) = self.plan.targets.get(next.target as usize).cloned() else {
            let message = self.plan.problem.clone().unwrap_or_else(|| "no model is configured".to_owned());
            return self.give_up(SessionError::ModelRequestFailedError { message, retry_status: RetryStatus::Exhausted {} });
        };
        if self.state.is_at_cap() || self.shared_budget == SharedBudget::Reached {
            return self.idle(StopReason::BudgetReached {}, None, None);
        }
        let price = self.plan.dearest();
        if price.is_none() && (self.state.budget.is_some() || self.shared_budget == SharedBudget::Unpriced) {
            let message = format!(
                "there is a budget, but the price of {} or of one that stands in for it is not known; add it to the configuration or remove the budget",
                target.at
            );
            return self.give_up(SessionError::BillingError { message, retry_status: RetryStatus::Exhausted {} });
        }
        let (max_tokens, reserved) = match price {
            Some(price) => self.reservation(&price),
            None => (self.plan.max_tokens, None),
        };
        let (effect, span) = (self.effect_id(), self.event_id());
        let ask = Ask { attempt: next, at: target.at, max_tokens, reserved };
        self.emit(RecordBody::RequestStarted { effect, span, attempt, ask });
    }

    /// At most the tokens of a request. What a model counted holds for itself alone, so it is used where
    /// no other can be asked.
    fn input_tokens(&self) -> u64 {
        let conversation = match (self.plan.targets.as_slice(), &self.state.counted) {
            ([only], Some(counted)) if counted.by == only.at => counted.tokens,
            _ => self.state.context_tokens.saturating_add(self.plan.overhead_tokens),
        };
        conversation.saturating_add(self.grown_overhead)
    }

    /// The answer's limit, lowered to what the session's budget affords but not below a useful
    /// minimum, and the most that the request costs with it.
    fn reservation(&self, price: &Price) -> (u32, Option<Cost>) {
        let input = self.input_tokens();
        let max_tokens = match self.state.cap() {
            None => self.plan.max_tokens,
            Some(cap) => {
                let left = cap.minus(self.state.cost.unwrap_or_default()).minus(price.most(input, 0));
                let affordable = u32::try_from(price.output_tokens(left)).unwrap_or(u32::MAX);
                self.plan.max_tokens.min(affordable.max(limits::MIN_OUTPUT_TOKENS))
            }
        };
        (max_tokens, Some(price.most(input, u64::from(max_tokens))))
    }

    /// What an answer costs: what the provider counted, or all that was set aside if it said nothing.
    pub(super) fn cost_of_answer(&self, ask: &Ask, usage: &TokenUsage) -> Option<Cost> {
        let reserved = ask.reserved?;
        match self.price(ask) {
            Some(price) if usage.has_input() => Some(price.cost(usage)),
            // A server that counts its answers only.
            Some(price) if !usage.is_unknown() => Some(price.cost(usage).plus(price.most(self.input_tokens(), 0))),
            _ => Some(reserved),
        }
    }

    /// What a failure costs: all that was set aside where nobody says what the provider counts for it.
    pub(super) fn cost_of_failure(&self, ask: &Ask, error: &ModelError) -> Option<Cost> {
        let reserved = ask.reserved?;
        let counted = self.price(ask).map_or(Cost::ZERO, |price| price.cost(&error.usage));
        Some(if error.billed { counted.max(reserved) } else { counted })
    }

    fn price(&self, ask: &Ask) -> Option<Price> {
        self.plan.targets.iter().find(|target| target.at == ask.at).and_then(|target| target.price)
    }

    /// While the budget is used up only answers and interrupts are taken.
    pub(super) fn check_budget(&self, events: &[ClientEvent]) -> Result<(), Refusal> {
        let answers = |event: &ClientEvent| match event {
            ClientEvent::UserToolConfirmation { .. }
            | ClientEvent::UserToolResult { .. }
            | ClientEvent::UserCustomToolResult { .. }
            | ClientEvent::UserInterrupt { .. } => true,
            ClientEvent::UserMessage { .. } | ClientEvent::SystemMessage { .. } | ClientEvent::UserDefineOutcome { .. } => false,
        };
        if (self.state.is_at_cap() || self.state.phase == Phase::Capped) && !events.iter().all(answers) {
            return Err(Refusal::invalid(
                "the budget is reached: until it is raised or removed, the session takes only user.tool_confirmation, user.tool_result, user.custom_tool_result and user.interrupt",
            )
            .with_code("budget_reached"));
        }
        Ok(())
    }

    /// Whether nothing runs and nothing can start for want of budget.
    pub(super) fn rests_without_budget(&self) -> bool {
        self.state.phase == Phase::Capped || (self.state.phase == Phase::Idle && self.state.is_at_cap())
    }

    /// Goes on with a turn that stopped for want of budget.
    pub(super) fn resume_if_budget(&mut self) {
        if self.state.phase != Phase::Capped || self.state.is_at_cap() || self.state.set_aside {
            return;
        }
        let running = self.running_events();
        self.emit(RecordBody::Resumed { running });
        self.advance();
    }
}
