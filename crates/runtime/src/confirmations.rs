//! Requests of sandboxes about which a person is asked: fetched from egress, which holds them meanwhile, journalled with their
//! session, answered, and given back. What counts for the session goes to egress with all that a sandbox may; what counts once is
//! journalled as used before egress hears of it, so that it is never used twice.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ostler_core::egress::Question;
use ostler_core::error::Refusal;
use ostler_core::events::client::Confirmation;
use ostler_core::ids::{ConfirmationId, SessionId};
use ostler_core::limits::OPEN_CONFIRMATIONS;
use ostler_core::resources::confirmation::{Asked, ConfirmationAnswer, Remember};
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::step::Input;

use crate::error::RuntimeError;
use crate::limits;
use crate::network::Changed;
use crate::router::SessionRouter;
use crate::view;

/// The sessions whose questions are being looked at.
#[derive(Debug, Default)]
pub(crate) struct Asking(Mutex<HashSet<SessionId>>);

impl Asking {
    fn begin(&self, session: &SessionId) -> Option<Turn<'_>> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(session.clone());
        is_first.then(|| Turn { asking: self, session: session.clone() })
    }
}

struct Turn<'a> {
    asking: &'a Asking,
    session: SessionId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.asking.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.session);
    }
}

impl SessionRouter {
    /// The questions of a session that wait for a person, and those whose answers still count, the oldest first.
    pub async fn confirmations(&self, scope: &Scope, session: &SessionId) -> Result<Vec<Asked>, RuntimeError> {
        let row = self.deps().store.session(scope, session).await?.ok_or_else(|| RuntimeError::no_session(session.as_str()))?;
        view::confirmations(&row)
    }

    /// Answers such a question. The answer is on disk when this returns, and egress has heard of it if it can be reached.
    pub async fn answer_confirmation(
        &self,
        scope: &Scope,
        session: &SessionId,
        id: &ConfirmationId,
        result: Confirmation,
        remember: Remember,
    ) -> Result<Asked, RuntimeError> {
        let (router, scope, session, id) = (self.clone(), scope.clone(), session.clone(), id.clone());
        self.whole(async move { router.answer_whole(&scope, &session, id, result, remember).await }).await
    }

    async fn answer_whole(
        &self,
        scope: &Scope,
        session: &SessionId,
        id: ConfirmationId,
        result: Confirmation,
        remember: Remember,
    ) -> Result<Asked, RuntimeError> {
        let known = self.confirmations(scope, session).await?;
        let Some(asked) = known.into_iter().find(|asked| asked.id == id) else {
            return Err(Refusal::not_found(format!("no confirmation {:?} waits in this session", id.as_str())).into());
        };
        let input = Input::NetworkAnswered { confirmation: id, result, remember, principal: scope.principal() };
        let answered = tokio::time::timeout(limits::COMMAND_TIMEOUT, self.ask(scope, session, input));
        answered.await.map_err(|_| RuntimeError::TimedOut)??;
        if remember == Remember::Session {
            self.changed(Changed::Session(session)).await;
        }
        let at = self.deps().ambient.now();
        Ok(Asked { answer: Some(ConfirmationAnswer { result, remember, at }), ..asked })
    }

    /// Fetches the requests that wait, and has each session look at its own. Nobody waits for another one's.
    pub(crate) async fn attend_questions(&self) {
        let waiting = match self.deps().egress.questions().await {
            Ok(waiting) => waiting,
            Err(error) => return tracing::warn!(%error, "which requests wait for a person is not known; it is asked again"),
        };
        for (session, questions) in waiting {
            let router = self.clone();
            tokio::spawn(async move {
                let deps = router.deps();
                let Some(_turn) = deps.asking.begin(&session) else { return };
                if let Err(error) = router.attend(&session, questions).await {
                    tracing::warn!(%session, %error, "a question about a request was not kept; it is asked again");
                }
            });
        }
    }

    async fn attend(&self, session: &SessionId, questions: Vec<Question>) -> Result<(), RuntimeError> {
        let scope = Scope::System(SystemReason::Recovery);
        let known = self.confirmations(&scope, session).await?;
        let mut new = Vec::new();
        for question in questions {
            match known.iter().find(|asked| asked.question == question) {
                None => new.push(question),
                Some(asked) => {
                    if let Some(result) = asked.for_once() {
                        self.use_once(session, asked, question, result).await?;
                    }
                }
            }
        }
        let has_room = known.iter().filter(|asked| asked.answer.is_none()).count() < OPEN_CONFIRMATIONS;
        if has_room && !new.is_empty() {
            self.ask(&scope, session, Input::NetworkAsked { questions: new }).await?;
        }
        Ok(())
    }

    /// Gives an answer that counts once to the request that waits for it. Should egress not hear of it, or should the answer be an old one,
    /// the request is asked about again.
    async fn use_once(&self, session: &SessionId, asked: &Asked, question: Question, result: Confirmation) -> Result<(), RuntimeError> {
        let scope = Scope::System(SystemReason::Recovery);
        self.ask(&scope, session, Input::NetworkUsed { confirmation: asked.id.clone() }).await?;
        let now = self.deps().ambient.now();
        let age = asked.answer.as_ref().map_or(0, |answer| now.micros_since(answer.at));
        if u128::try_from(age).unwrap_or_default() > limits::ONCE_COUNTS.as_micros() {
            return Ok(());
        }
        if let Err(error) = self.deps().egress.settle(session, question, result == Confirmation::Allow).await {
            tracing::warn!(%session, %error, "egress did not hear an answer about a request; it is asked about again");
        }
        Ok(())
    }
}
