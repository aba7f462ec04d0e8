//! Lives of actors: from waking to sleep, death, and the next life.

use std::sync::Arc;

use ostler_core::ids::SessionId;
use ostler_core::limits::DEATHS_BEFORE_SET_ASIDE;
use ostler_core::scope::{Scope, SystemReason};
use ostler_store::{SessionRow, StoreError};
use tokio::sync::mpsc;

use super::{Handle, SessionRouter, hub};
use crate::error::RuntimeError;
use crate::limits;
use crate::session::actor::{Actor, Begin, Exit, Message, is_passing, needs_work};
use crate::session::load::load;
use crate::subscribe::Hub;

impl SessionRouter {
    /// Starts the actor of a session unless it is awake.
    pub(super) fn wake(&self, row: &SessionRow, begin: Begin) -> Handle {
        let mut maps = self.maps();
        if let Some(handle) = maps.actors.get(&row.id) {
            return handle.clone();
        }
        let (inbox, receiver) = mpsc::channel(limits::SESSION_INBOX);
        let handle = Handle { workspace: row.workspace.clone(), inbox };
        maps.actors.insert(row.id.clone(), handle.clone());
        maps.sleeps.woke(&row.id);
        let hub = hub(&mut maps, &row.id);
        drop(maps);
        let (router, id, mine) = (self.clone(), row.id.clone(), handle.clone());
        self.tasks().spawn(async move { router.keep(id, hub, mine, receiver, begin).await });
        handle
    }

    /// Runs an actor to its end, and takes the session up again if it died.
    async fn keep(self, id: SessionId, hub: Arc<Hub>, handle: Handle, mut inbox: mpsc::Receiver<Message>, begin: Begin) {
        let (deps, session) = (Arc::clone(self.deps()), id.clone());
        let life = tokio::spawn(async move {
            let loaded = match load(&deps, &session).await {
                Ok(Some(loaded)) => loaded,
                Ok(None) => return (Exit::NotOurs, refuse_all(&mut inbox, &RuntimeError::no_session(session.as_str()))),
                Err(error) => {
                    tracing::error!(%session, %error, "a session cannot be read");
                    let exit = if is_passing(&error) { Exit::Unreadable } else { Exit::Asleep { leaves_sandbox: false } };
                    return (exit, refuse_all(&mut inbox, &RuntimeError::Store(error)));
                }
            };
            let exit = Actor::new(deps, hub, loaded).run(&mut inbox, begin).await;
            inbox.close();
            (exit, inbox)
        });
        let ended = life.await;
        self.drop_handle(&id, &handle);
        match ended {
            Ok((Exit::Stopping, _)) => {}
            Ok((exit, mut inbox)) => {
                self.hand_over(&id, &mut inbox).await;
                match exit {
                    Exit::NotOurs => self.clean_up(&id).await,
                    Exit::Unreadable => self.again_later(&id).await,
                    Exit::Failed => self.take_up(&id, None, true).await,
                    Exit::Asleep { leaves_sandbox: true } => self.park_later(&id),
                    Exit::Asleep { .. } | Exit::Stopping => {}
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(session = %id, "a session died and is taken up again");
                self.take_up(&id, None, true).await;
            }
            Err(_) => {}
        }
    }

    /// The store could not give the session just now.
    async fn again_later(&self, id: &SessionId) {
        tokio::select! {
            () = self.deps().stopping.cancelled() => {}
            () = tokio::time::sleep(limits::STORE_RETRY) => self.take_up(id, None, false).await,
        }
    }

    /// The store says that the session is not where its actor left it. If it was deleted, a sandbox
    /// may have been started meanwhile. If it is still ours, a commit landed that was reported as
    /// failed: the journal is right, and is read again.
    async fn clean_up(&self, id: &SessionId) {
        let (scope, deps) = (Scope::System(SystemReason::Recovery), self.deps());
        match deps.store.session(&scope, id).await {
            Ok(Some(row)) if row.epoch == deps.epoch => self.take_up(id, None, true).await,
            Ok(None) => {
                if let Err(why) = deps.sandboxes.remove(id).await {
                    tracing::error!(session = %id, %why, "the sandbox of a deleted session cannot be removed");
                }
            }
            Ok(Some(_)) => {}
            Err(_) => self.again_later(id).await,
        }
    }

    /// Messages that came while the actor went to sleep go to the next one.
    async fn hand_over(&self, id: &SessionId, inbox: &mut mpsc::Receiver<Message>) {
        while let Some(message) = inbox.recv().await {
            let scope = Scope::System(SystemReason::Recovery);
            match self.handle(&scope, id).await {
                Ok(handle) => {
                    let _ = handle.inbox.send(message).await;
                }
                Err(error) => {
                    let _ = message.reply.send(Err(error));
                }
            }
        }
    }

    /// Takes a session up that a process or an actor left in the middle of its work. After a death
    /// the attempt is counted on disk before it starts.
    pub(crate) async fn take_up(&self, id: &SessionId, permit: Option<tokio::sync::OwnedSemaphorePermit>, after_death: bool) {
        let scope = Scope::System(SystemReason::Recovery);
        let store = &self.deps().store;
        loop {
            let noted = async {
                let deaths = if after_death { store.note_recovery(&scope, id).await? } else { 0 };
                Ok::<_, StoreError>((deaths, store.session(&scope, id).await?))
            };
            match noted.await {
                // Even setting it aside failed: it is left alone until somebody asks for it.
                Ok((deaths, _)) if deaths > DEATHS_BEFORE_SET_ASIDE + 1 => {
                    tracing::error!(session = %id, deaths, "a session dies whatever is done; it is left alone");
                    return;
                }
                Ok((deaths, Some(row))) if needs_work(&row) => {
                    self.wake(&row, Begin::TakenUp { deaths, permit });
                    return;
                }
                Ok(_) | Err(StoreError::NotFound) => return,
                Err(error) if is_passing(&error) => {
                    tracing::error!(session = %id, %error, "a session cannot be taken up; trying again");
                    tokio::select! {
                        () = self.deps().stopping.cancelled() => return,
                        () = tokio::time::sleep(limits::STORE_RETRY) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(session = %id, %error, "a session cannot be taken up");
                    return;
                }
            }
        }
    }

    pub(super) fn drop_handle(&self, id: &SessionId, handle: &Handle) {
        let mut maps = self.maps();
        if maps.actors.get(id).is_some_and(|known| known.inbox.same_channel(&handle.inbox)) {
            maps.actors.remove(id);
        }
        maps.hubs.retain(|_, hub| hub.strong_count() > 0);
    }
}

/// Answers everything that waits and closes the inbox.
fn refuse_all(inbox: &mut mpsc::Receiver<Message>, error: &RuntimeError) -> mpsc::Receiver<Message> {
    inbox.close();
    while let Ok(message) = inbox.try_recv() {
        let _ = message.reply.send(Err(error.clone()));
    }
    let (_, empty) = mpsc::channel(1);
    std::mem::replace(inbox, empty)
}
