//! Telling sessions of credentials that they cannot use. Sandboxes are introduced where no session can be asked, so what was found is
//! noted there and told from here.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ostler_core::egress::Unusable;
use ostler_core::ids::{CredentialId, SessionId};
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::fault::CredentialFault;
use ostler_core::session::step::Input;
use tokio::sync::Notify;

use crate::limits;
use crate::router::SessionRouter;

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: Mutex<Vec<(SessionId, Vec<CredentialFault>)>>,
    came: Notify,
    /// Those that the log has.
    logged: Mutex<HashSet<CredentialId>>,
}

impl Notices {
    /// Notes what a session is to be told.
    pub(crate) fn add(&self, session: &SessionId, faults: Vec<CredentialFault>) {
        if faults.is_empty() {
            return;
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((session.clone(), faults));
        self.came.notify_one();
    }

    fn take(&self) -> Vec<(SessionId, Vec<CredentialFault>)> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Logs a credential that cannot be used, once.
    pub(crate) fn log(&self, session: &SessionId, unusable: &Unusable) {
        let Unusable { credential, reason } = unusable;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() >= limits::UNUSABLE_LOGGED {
            logged.clear();
        }
        if logged.insert(credential.clone()) {
            tracing::warn!(%session, %credential, reason, "a credential cannot be used; bring back the key that it was sealed for, or update it with its secret");
        }
    }
}

impl SessionRouter {
    /// Tells what is noted until the server stops.
    pub(crate) async fn watch_notices(&self) {
        let deps = self.deps();
        loop {
            tokio::select! {
                () = deps.stopping.cancelled() => return,
                () = deps.networks.notices().came.notified() => {}
            }
            for (session, faults) in deps.networks.notices().take() {
                let router = self.clone();
                // Each by itself: a session that does not answer keeps nobody else waiting.
                tokio::spawn(async move {
                    let scope = Scope::System(SystemReason::Recovery);
                    let told = router.ask(&scope, &session, Input::CredentialsFaulted { faults });
                    match tokio::time::timeout(limits::COMMAND_TIMEOUT, told).await {
                        Ok(Ok(_)) => {}
                        // It is told at the next life of its sandbox.
                        Ok(Err(error)) => tracing::warn!(%session, %error, "a session was not told of credentials that it cannot use"),
                        Err(_) => tracing::warn!(%session, "a session was not told in time of credentials that it cannot use"),
                    }
                });
            }
        }
    }
}
