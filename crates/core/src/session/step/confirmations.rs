//! Requests of the sandbox about which a person is asked.

use super::Stepper;
use crate::egress::Question;
use crate::error::Refusal;
use crate::events::client::Confirmation;
use crate::ids::ConfirmationId;
use crate::limits;
use crate::resources::confirmation::{Asked, Remember};
use crate::scope::Principal;
use crate::session::record::RecordBody;
use crate::session::state::Phase;

impl Stepper<'_> {
    /// Keeps questions that are not kept yet. What is too much is asked when there is room and it is still wanted.
    pub(super) fn network_asked(&mut self, questions: Vec<Question>) {
        if matches!(self.state.phase, Phase::Archived { .. }) {
            return;
        }
        for question in questions {
            let waiting = self.state.confirmations.iter().filter(|asked| asked.answer.is_none()).count();
            let is_known = self.state.confirmations.iter().any(|asked| asked.question == question);
            if !is_known && waiting < limits::OPEN_CONFIRMATIONS {
                let confirmation = ConfirmationId::mint(&mut self.ids);
                self.emit(RecordBody::NetworkAsked { confirmation, question });
            }
        }
    }

    /// The answer is to exactly that question; it counts once.
    pub(super) fn network_answered(
        &mut self,
        id: &ConfirmationId,
        result: Confirmation,
        remember: Remember,
        principal: &Principal,
    ) -> Result<(), Refusal> {
        match self.state.confirmations.iter().find(|asked| asked.id == *id) {
            Some(Asked { answer: None, .. }) => {}
            Some(_) => return Err(Refusal::invalid(format!("the confirmation {:?} has its answer already", id.as_str()))),
            None => return Err(Refusal::not_found(format!("no confirmation {:?} waits in this session", id.as_str()))),
        }
        let remembered = self.state.confirmations.iter().filter(|asked| asked.is_remembered()).count();
        if remember == Remember::Session && remembered >= limits::REMEMBERED_CONFIRMATIONS {
            return Err(Refusal::invalid(format!(
                "remember: the session remembers {remembered} answers already; answer with \"once\", or add a rule to `egress.rules` of the environment"
            )));
        }
        let unused: Vec<ConfirmationId> =
            self.state.confirmations.iter().filter(|asked| asked.for_once().is_some()).map(|asked| asked.id.clone()).collect();
        if let Some(oldest) = unused.into_iter().rev().nth(limits::REMEMBERED_CONFIRMATIONS - 1) {
            // Nobody sent that request again for long.
            self.emit(RecordBody::NetworkUsed { confirmation: oldest });
        }
        self.emit(RecordBody::NetworkAnswered { confirmation: id.clone(), result, remember, principal: principal.clone() });
        Ok(())
    }

    /// Uses up the answer for one request. Refused where there is none to be used, so that it is used once.
    pub(super) fn network_used(&mut self, id: &ConfirmationId) -> Result<(), Refusal> {
        let is_there = self.state.confirmations.iter().any(|asked| asked.id == *id && asked.for_once().is_some());
        if !is_there {
            return Err(Refusal::invalid(format!("the confirmation {:?} has no answer that could be used", id.as_str())));
        }
        self.emit(RecordBody::NetworkUsed { confirmation: id.clone() });
        Ok(())
    }
}
