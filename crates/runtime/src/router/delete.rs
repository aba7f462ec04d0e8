//! The end of a session, with all that hangs on it.

use ostler_core::error::Refusal;
use ostler_core::ids::{EventId, SessionId};
use ostler_core::scope::Scope;
use ostler_store::{OpenWork, SessionDeletion, StoreError};

use super::{SessionRouter, hub};
use crate::error::RuntimeError;
use crate::session::load::load;

impl SessionRouter {
    /// Deletes a session with all that hangs on it; refused while it runs.
    pub async fn delete(&self, scope: &Scope, session: &SessionId) -> Result<(), RuntimeError> {
        let (router, scope, session) = (self.clone(), scope.clone(), session.clone());
        self.whole(async move { router.delete_whole(&scope, &session).await }).await
    }

    async fn delete_whole(&self, scope: &Scope, session: &SessionId) -> Result<(), RuntimeError> {
        let deps = self.deps();
        match deps.store.delete_session(scope, deps.epoch, session, deps.ambient.now(), OpenWork::Kept).await? {
            SessionDeletion::Deleted => {}
            SessionDeletion::NotFound => return Err(RuntimeError::no_session(session.as_str())),
            SessionDeletion::Unfinished if self.is_unreadable(session).await => {
                deps.store.delete_session(scope, deps.epoch, session, deps.ambient.now(), OpenWork::Deleted).await?;
            }
            SessionDeletion::Unfinished => {
                return Err(Refusal::invalid("the session is running; send user.interrupt and wait until it is idle").into());
            }
        }
        let hub = hub(&mut self.maps(), session);
        hub.deleted(EventId::mint(&mut deps.ambient.ids()), deps.ambient.now());
        self.maps().actors.remove(session);
        // The session is gone whatever comes of this; what is left over goes at the next start.
        if let Err(why) = deps.sandboxes.remove(session).await {
            tracing::error!(%session, %why, "the sandbox of a deleted session cannot be removed now");
        }
        Ok(())
    }

    /// Whether nobody can ever end the work of this session, because its journal cannot be read.
    async fn is_unreadable(&self, session: &SessionId) -> bool {
        let awake = self.maps().actors.contains_key(session);
        !awake && matches!(load(self.deps(), session).await, Err(StoreError::Corrupt(_)))
    }
}
