//! Care for a model that is shared: it is left alone for a while when it keeps failing (circuit
//! breaker), it is asked less at once when it says that it is too much (rate bucket), and who waits
//! for it is let in by workspaces in turn. What one workspace brings about holds for itself. One gate for each model of each provider of the
//! configuration, which is one endpoint with one key.

mod breaker;
mod bucket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ostler_core::ids::{SessionId, WorkspaceId};
use ostler_core::model::{ModelError, ModelErrorKind};
use ostler_core::session::plan::TargetName;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::breaker::Breaker;
use self::bucket::Bucket;
use crate::failure::failure;
use crate::limits::{GATE_WAIT, GATES_KEPT};

/// The gates of all models that were asked so far.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<TargetName, Arc<Gate>>>,
}

impl State {
    /// Whether forgetting it changes nothing.
    fn is_as_new(&self) -> bool {
        self.breakers.values().all(Breaker::is_as_new) && self.bucket.is_as_new()
    }

    fn breaker(&mut self, workspace: &WorkspaceId) -> &mut Breaker {
        self.breakers.entry(workspace.clone()).or_default()
    }
}

/// On whose behalf a model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The workspace.
    pub workspace: &'a WorkspaceId,
    /// The session.
    pub session: &'a SessionId,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One for each workspace: a model that fails one of them need not fail others.
    breakers: HashMap<WorkspaceId, Breaker>,
    bucket: Bucket,
}

/// The right to ask a model once; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    workspace: WorkspaceId,
    session: SessionId,
    since: Instant,
    /// Whether the breaker waits for how this one ends.
    probe: bool,
    told: bool,
}

impl Gates {
    /// Waits for the right to ask; or says that it is better not to.
    pub(crate) async fn enter(&self, target: &TargetName, asker: Asker<'_>, cancel: &CancellationToken) -> Result<Pass, ModelError> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            // Tenants can name models that nobody has.
            if gates.len() >= GATES_KEPT && !gates.contains_key(target) {
                gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.lock().is_as_new());
                if gates.len() >= GATES_KEPT {
                    gates.clear();
                }
            }
            Arc::clone(gates.entry(target.clone()).or_default())
        };
        gate.enter(target, asker, cancel).await
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(self: Arc<Self>, target: &TargetName, asker: Asker<'_>, cancel: &CancellationToken) -> Result<Pass, ModelError> {
        let (probe, turn) = {
            let mut state = self.lock();
            let now = Instant::now();
            let probe = state.breaker(asker.workspace).admit(now).map_err(|wait| suspended(target, "it failed again and again", wait))?;
            match state.bucket.enter(asker.workspace, now) {
                Ok(None) => return Ok(self.pass(asker, probe)),
                Ok(Some(turn)) => (probe, turn),
                Err(wait) => {
                    state.breaker(asker.workspace).forget(probe);
                    return Err(suspended(target, "it said that it gets too many requests", wait));
                }
            }
        };
        // From here on the place in the breaker is given back whatever happens.
        let mut waiting = Waiting { gate: Arc::clone(&self), workspace: asker.workspace.clone(), probe, turn: Some(turn) };
        self.let_in_later();
        let came = tokio::select! {
            () = cancel.cancelled() => Err(failure(ModelErrorKind::Cancelled, "given up while it waited for its turn")),
            came = waiting.turn() => came.then_some(()).ok_or_else(|| failure(ModelErrorKind::Unavailable, "its turn never came")),
            () = tokio::time::sleep(GATE_WAIT) => Err(suspended(target, "too many requests wait for it", GATE_WAIT)),
        };
        came?;
        waiting.turn = None;
        Ok(self.pass(asker, probe))
    }

    fn pass(self: &Arc<Self>, asker: Asker<'_>, probe: bool) -> Pass {
        Pass {
            gate: Arc::clone(self),
            workspace: asker.workspace.clone(),
            session: asker.session.clone(),
            since: Instant::now(),
            probe,
            told: false,
        }
    }

    /// Lets in who waits, as soon as there is a pause to end.
    fn let_in_later(self: &Arc<Self>) {
        let Some(until) = self.lock().bucket.wake_at(Instant::now()) else { return };
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            gate.lock().bucket.let_in(Instant::now());
            // The pause may have become longer.
            gate.let_in_later();
        });
    }
}

/// Someone in the queue; leaves it in order when it is given up.
struct Waiting {
    gate: Arc<Gate>,
    workspace: WorkspaceId,
    probe: bool,
    turn: Option<oneshot::Receiver<()>>,
}

impl Waiting {
    async fn turn(&mut self) -> bool {
        match &mut self.turn {
            Some(turn) => turn.await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        let mut state = self.gate.lock();
        turn.close();
        // The turn came in the moment in which it was given up: the next one gets it.
        if turn.try_recv().is_ok() {
            state.bucket.leave(&self.workspace, Instant::now());
        }
        drop(turn);
        state.bucket.give_up(&self.workspace);
        state.breaker(&self.workspace).forget(self.probe);
    }
}

impl Pass {
    /// How it went. Refused keys, refused requests and requests that were given up say nothing of
    /// the model's health.
    pub(crate) fn ended<T>(mut self, outcome: &Result<T, ModelError>) {
        self.told = true;
        let mut state = self.gate.lock();
        let now = Instant::now();
        match outcome {
            Ok(_) => {
                state.breaker(&self.workspace).succeeded(self.probe);
                state.bucket.succeeded(&self.workspace);
            }
            Err(error) => match error.kind {
                ModelErrorKind::Overloaded | ModelErrorKind::Unavailable | ModelErrorKind::Protocol => {
                    state.breaker(&self.workspace).failed(&self.session, self.probe, now);
                }
                ModelErrorKind::RateLimited => {
                    state.breaker(&self.workspace).forget(self.probe);
                    state.bucket.too_many(&self.workspace, self.since, error.retry_after_ms.map(Duration::from_millis), now);
                }
                ModelErrorKind::Authentication
                | ModelErrorKind::Billing
                | ModelErrorKind::Rejected
                | ModelErrorKind::ContextOverflow
                | ModelErrorKind::Suspended
                | ModelErrorKind::Cancelled => state.breaker(&self.workspace).forget(self.probe),
            },
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        {
            let mut state = self.gate.lock();
            if !self.told {
                state.breaker(&self.workspace).forget(self.probe);
            }
            state.bucket.leave(&self.workspace, Instant::now());
            state.breakers.retain(|_, breaker| !breaker.is_as_new());
        }
        self.gate.let_in_later();
    }
}

fn suspended(target: &TargetName, why: &str, wait: Duration) -> ModelError {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let message = format!("{target} is not asked for the next {:.1} s: {why}", wait.as_secs_f64());
    ModelError { retry_after_ms: Some(wait_ms), ..failure(ModelErrorKind::Suspended, &message) }
}
