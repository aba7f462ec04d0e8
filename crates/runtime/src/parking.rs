//! Putting sandboxes away that have nothing to do. A session that fell asleep beside a living one is
//! woken in its time, gives the sandbox up in its journal, and only then ends it.

use std::collections::HashMap;
use std::time::Duration;

use ostler_core::ids::SessionId;
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::step::Input;

use crate::error::RuntimeError;
use crate::limits;
use crate::router::SessionRouter;

/// When what nobody uses is put away.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// How long an idle session stays in memory.
    pub awake: Duration,
    /// How long its sandbox lives on after that; `None`: until the session ends.
    pub sandbox: Option<Duration>,
}

impl Default for Rest {
    fn default() -> Self {
        Self { awake: limits::SESSION_AWAKE, sandbox: Some(limits::SANDBOX_IDLE) }
    }
}

/// The sleeps of sessions beside a living sandbox, by number: a timer of an earlier one means nothing.
#[derive(Debug, Default)]
pub(crate) struct Sleeps {
    current: HashMap<SessionId, u64>,
    count: u64,
}

impl Sleeps {
    fn begin(&mut self, session: &SessionId) -> u64 {
        self.count += 1;
        self.current.insert(session.clone(), self.count);
        self.count
    }

    pub(crate) fn woke(&mut self, session: &SessionId) {
        self.current.remove(session);
    }

    fn sleeps(&self, session: &SessionId) -> bool {
        self.current.contains_key(session)
    }

    /// Whether the session still sleeps this one, which is over then.
    fn end(&mut self, session: &SessionId, sleep: u64) -> bool {
        let is_same = self.current.get(session) == Some(&sleep);
        if is_same {
            self.woke(session);
        }
        is_same
    }
}

impl SessionRouter {
    /// The same for a session that may sleep already, whose time then goes on.
    pub(crate) fn park_in_time(&self, session: &SessionId) {
        if !self.maps().sleeps.sleeps(session) {
            self.park_later(session);
        }
    }

    /// Ends the sandbox of a sleeping session unless the session wakes before its time.
    pub(crate) fn park_later(&self, session: &SessionId) {
        let Some(idle) = self.deps().rest.sandbox else { return };
        let sleep = {
            let mut maps = self.maps();
            if maps.is_awake(session) {
                return;
            }
            maps.sleeps.begin(session)
        };
        let (router, session) = (self.clone(), session.clone());
        self.tasks().spawn(async move {
            tokio::select! {
                () = router.deps().stopping.cancelled() => return,
                () = tokio::time::sleep(idle) => {}
            }
            if !router.maps().sleeps.end(&session, sleep) {
                return;
            }
            match router.park(&session).await {
                // One that was deleted meanwhile has no sandbox any more.
                Ok(()) | Err(RuntimeError::Refused(_)) => {}
                Err(error) => tracing::warn!(%session, %error, "a sandbox without work is left alive"),
            }
        });
    }

    /// Ends the sandbox of a session if no call needs it; its files stay, and the next call starts it
    /// again. What runs in its background ends.
    ///
    /// # Errors
    /// When the session is not there, or cannot be written.
    pub async fn park(&self, session: &SessionId) -> Result<(), RuntimeError> {
        self.ask(&Scope::System(SystemReason::Recovery), session, Input::Park).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::ids::IdSource;

    #[test]
    fn the_timer_of_an_earlier_sleep_means_nothing() {
        let session = SessionId::mint(&mut IdSource::new(1, 1));
        let mut sleeps = Sleeps::default();
        let first = sleeps.begin(&session);
        sleeps.woke(&session);
        assert!(!sleeps.end(&session, first), "it woke");
        let second = sleeps.begin(&session);
        assert!(!sleeps.end(&session, first) && sleeps.end(&session, second) && !sleeps.end(&session, second));
    }
}
