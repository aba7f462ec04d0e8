//! What must hold in every history, checked with every batch that is committed and every call
//! that is executed. Knows the records and the events, not how the engine came to them.

use std::collections::{BTreeMap, BTreeSet};

use ostler_core::call::CallEnd;
use ostler_core::cost::Cost;
use ostler_core::events::client::Confirmation;
use ostler_core::events::wire::{EvaluatedPermission, Event};
use ostler_core::ids::{EventId, IncarnationId};
use ostler_core::model::{BlockKind, Fragment, ModelStop};
use ostler_core::session::record::{CallTarget, Record, RecordBody};
use ostler_core::session::state::State;
use serde_json::Value;

use super::grammar::Grammar;
use super::script::NEVER_RUN;

/// A rule that was broken.
pub(crate) type Broken = String;

macro_rules! rule {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+).into());
        }
    };
}
pub(crate) use rule;

/// What is known of a call from the committed records, and from the sandbox.
#[derive(Debug)]
pub(crate) struct Facts {
    custom: bool,
    read_only: bool,
    permission: EvaluatedPermission,
    /// Cut, incomplete, disabled or unknown.
    forbidden: bool,
    confirmed: Option<Confirmation>,
    answered: bool,
    end: Option<CallEnd>,
    executions: Vec<IncarnationId>,
}

impl Facts {
    pub(crate) fn is_closed(&self) -> bool {
        self.answered || self.end.is_some()
    }

    fn waits(&self) -> bool {
        !self.is_closed() && (self.custom || (self.permission == EvaluatedPermission::Ask && self.confirmed.is_none()))
    }

    fn may_run(&self) -> bool {
        let allowed = match self.permission {
            EvaluatedPermission::Allow => true,
            EvaluatedPermission::Ask => self.confirmed == Some(Confirmation::Allow),
            EvaluatedPermission::Deny => false,
        };
        !self.custom && !self.forbidden && allowed
    }
}

#[derive(Default)]
pub(crate) struct Checker {
    grammar: Grammar,
    calls: BTreeMap<EventId, Facts>,
    /// The calls of the last answer, in order.
    last: Vec<EventId>,
    /// Accepted inputs that are no events yet.
    pending: BTreeSet<EventId>,
    /// Interrupts that have not taken effect.
    interrupts: i32,
    ids: BTreeSet<EventId>,
    money: Money,
}

/// What may be spent and what was, told from the records alone.
#[derive(Debug, Default)]
struct Money {
    cap: Option<Cost>,
    spent: Cost,
    /// Of the request under way.
    reserved: Option<Cost>,
}

impl Money {
    fn record(&mut self, body: &RecordBody) -> Result<(), Broken> {
        match body {
            RecordBody::Created { budget: Some(budget), .. } => self.cap = budget.cap("budget").ok(),
            RecordBody::Updated { change, .. } => {
                if let Some(budget) = &change.budget {
                    self.cap = budget.as_ref().and_then(|budget| budget.cap("budget").ok());
                    rule!(self.cap.is_none_or(|cap| cap > self.spent), "a budget of {:?} below what was spent, {:?}", self.cap, self.spent);
                }
            }
            RecordBody::RequestStarted { ask, .. } => {
                rule!(self.cap.is_none_or(|cap| self.spent < cap), "a request at {:?} of {:?}", self.spent, self.cap);
                rule!(self.reserved.is_none(), "two requests at once");
                rule!(ask.reserved.is_some(), "a request without a reservation");
                self.reserved = ask.reserved;
            }
            RecordBody::RequestAnswered { cost, usage, .. } => self.charge(*cost, usage.is_unknown())?,
            RecordBody::RequestFailed { cost, error, .. } => self.charge(*cost, error.billed)?,
            _ => {}
        }
        Ok(())
    }

    fn charge(&mut self, cost: Option<Cost>, uncounted: bool) -> Result<(), Broken> {
        let reserved = self.reserved.take().ok_or("a charge without a request")?;
        let cost = cost.ok_or("a request that costs nothing")?;
        rule!(!uncounted || cost >= reserved, "{cost:?} is charged for what nobody counted, and {reserved:?} was set aside");
        self.spent = self.spent.plus(cost);
        Ok(())
    }
}

impl Checker {
    /// The client was told that these were accepted.
    pub(crate) fn accepted(&mut self, echo: &[Event]) {
        self.pending.extend(echo.iter().map(|event| event.id.clone()).filter(|id| !self.ids.contains(id)));
    }

    /// A record of a batch, with its events.
    pub(crate) fn record(&mut self, record: &Record, events: &[Event]) -> Result<(), Broken> {
        self.facts(record)?;
        self.money.record(&record.body)?;
        self.grammar.record(&record.body);
        for event in events {
            rule!(self.ids.insert(event.id.clone()), "the event id {} is there twice", event.id);
            rule!(event.processed_at == Some(record.at), "an event has another time than its record");
            self.pending.remove(&event.id);
            let waiting = self.waiting();
            let open = self.calls.values().any(|call| !call.is_closed());
            self.grammar.event(event, &waiting, open)?;
        }
        Ok(())
    }

    fn waiting(&self) -> Vec<EventId> {
        self.last.iter().filter(|id| self.calls[*id].waits()).cloned().collect()
    }

    /// The end of a batch.
    pub(crate) fn batch(&self, state: &State) -> Result<(), Broken> {
        let queued: BTreeSet<EventId> =
            state.queue.iter().map(|input| input.event.clone()).chain(state.interrupts.iter().cloned()).collect();
        rule!(self.pending == queued, "accepted inputs that are no events yet are not those that wait: {:?} and {queued:?}", self.pending);
        rule!(state.cost.unwrap_or_default() == self.money.spent, "{:?} was spent, not {:?}", self.money.spent, state.cost);
        rule!(state.reserved() == self.money.reserved, "{:?} is set aside, not {:?}", self.money.reserved, state.reserved());
        self.grammar.batch(state, &self.waiting())
    }

    /// The end of a history.
    pub(crate) fn end(&self) -> Result<(), Broken> {
        for (id, call) in &self.calls {
            rule!(call.is_closed(), "the call {id} never got a result");
        }
        rule!(self.pending.is_empty(), "accepted inputs never became events: {:?}", self.pending);
        Ok(())
    }

    /// A sandbox begins to run a call.
    pub(crate) fn executed(&mut self, id: &EventId, incarnation: &IncarnationId) -> Result<(), Broken> {
        let read_only = self.calls.get(id).ok_or_else(|| format!("the call {id} runs and is in no journal"))?.read_only;
        let mut earlier = self
            .last
            .iter()
            .take_while(|other| *other != id)
            .map(|other| &self.calls[other])
            .filter(|other| !other.custom && !other.is_closed());
        rule!(
            !self.last.contains(id) || earlier.all(|other| read_only && other.read_only),
            "the call {id} runs before one that it must wait for"
        );
        let call = self.calls.get_mut(id).ok_or("no such call")?;
        rule!(call.may_run(), "the call {id} runs without permission: {call:?}");
        rule!(call.end != Some(CallEnd::NotRun), "the call {id} was reported as not run and runs");
        rule!(!call.executions.contains(incarnation), "the call {id} runs twice in one life");
        rule!(call.read_only || call.executions.is_empty(), "the call {id} runs twice and is not read-only");
        call.executions.push(incarnation.clone());
        Ok(())
    }

    fn facts(&mut self, record: &Record) -> Result<(), Broken> {
        match &record.body {
            RecordBody::RequestStarted { .. } => {
                rule!(self.calls.values().all(Facts::is_closed), "a request starts while a call has no result");
            }
            RecordBody::InterruptRequested { .. } => self.interrupts += 1,
            RecordBody::Interrupted { .. } => self.interrupts -= 1,
            RecordBody::RequestAnswered { blocks, calls, stop, .. } => {
                rule!(self.interrupts == 0, "an answer is taken in spite of an interrupt");
                let cut = matches!(stop, ModelStop::MaxTokens | ModelStop::Refusal { .. });
                let incomplete = |id: &EventId| {
                    blocks.iter().any(|block| &block.event_id == id && matches!(block.kind, BlockKind::ToolCall { complete: false, .. }))
                };
                self.last = calls.iter().map(|call| call.event.clone()).collect();
                for call in calls {
                    let (custom, read_only, permission) = match &call.target {
                        CallTarget::Custom => (true, false, EvaluatedPermission::Ask),
                        CallTarget::Builtin { read_only, permission, .. } => (false, *read_only, *permission),
                        CallTarget::Mcp { permission, .. } => (false, false, *permission),
                    };
                    let forbidden = cut || incomplete(&call.event) || NEVER_RUN.contains(&call.name.as_str());
                    let facts = Facts {
                        custom,
                        read_only,
                        permission,
                        forbidden,
                        confirmed: None,
                        answered: false,
                        end: None,
                        executions: Vec::new(),
                    };
                    rule!(self.calls.insert(call.event.clone(), facts).is_none(), "a call's id is there twice");
                }
            }
            RecordBody::CallSettled { call, event, outcome, .. } => {
                let facts = self.calls.get_mut(call).ok_or("a result of no call")?;
                rule!(!facts.is_closed(), "the call {call} gets two results");
                rule!(event.is_none() == facts.custom, "only results of built-in tools have events");
                // A read-only call that was lost and then interrupted changed nothing.
                rule!(
                    outcome.end != CallEnd::NotRun || facts.read_only || facts.executions.is_empty(),
                    "the call {call} ran and is reported as not run"
                );
                rule!(
                    !matches!(outcome.end, CallEnd::Finished | CallEnd::TimedOut) || !facts.executions.is_empty(),
                    "the call {call} never ran and is reported as finished"
                );
                facts.end = Some(outcome.end);
            }
            RecordBody::CustomResult { call, .. } => {
                let facts = self.calls.get_mut(call).ok_or("a result of no call")?;
                rule!(facts.custom && !facts.is_closed(), "the call {call} takes no answer");
                facts.answered = true;
            }
            RecordBody::Confirmed { call, result, .. } => {
                let facts = self.calls.get_mut(call).ok_or("a confirmation of no call")?;
                rule!(facts.waits() && !facts.custom, "the call {call} takes no confirmation");
                facts.confirmed = Some(*result);
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a model is sent begins and ends with the user, and answers each call exactly
/// once in the message behind it.
pub(crate) fn context(messages: &[Fragment]) -> Result<(), Broken> {
    let mut open: Vec<String> = Vec::new();
    let mut last = "assistant";
    for message in messages {
        let message: Value = serde_json::from_str(message.text()).map_err(|error| error.to_string())?;
        let blocks = message["content"].as_array().ok_or("a message without content")?;
        rule!(!blocks.is_empty(), "an empty message");
        let ids = |kind: &str, field: &str| -> Vec<String> {
            blocks.iter().filter(|block| block["type"] == kind).filter_map(|block| Some(block[field].as_str()?.to_owned())).collect()
        };
        if message["role"] == "user" {
            rule!(ids("tool_result", "tool_use_id") == open, "results do not match the calls before them");
            open.clear();
            last = "user";
        } else {
            rule!(last == "user", "two messages of the assistant in a row");
            open = ids("tool_use", "id");
            last = "assistant";
        }
    }
    rule!(last == "user" && open.is_empty(), "the conversation does not end with the user");
    Ok(())
}
