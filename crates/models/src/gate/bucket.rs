//! The rate bucket: how many requests a model gets at once. It halves when the model says that it
//! is too much, and grows again with every answer (additive increase, multiplicative decrease, RFC
//! 5681's idea). First the workspace that was told gets less; only when several are told does
//! everybody, so that nobody can slow others down by asking for too much. Who finds no place waits;
//! workspaces are let in in turn.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ostler_core::ids::WorkspaceId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits::{GATE_PLACES, GATE_QUEUE, GATE_WAIT};

#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// What all workspaces get together.
    all: Share,
    own: HashMap<WorkspaceId, Workspace>,
    /// Workspaces with a queue, the next one first.
    turns: VecDeque<WorkspaceId>,
    /// When somebody will let in who waits.
    waker: Option<Instant>,
}

/// Requests at once, for all or for one workspace.
#[derive(Debug)]
struct Share {
    /// Grows by fractions.
    places: f64,
    taken: usize,
    paused_until: Option<Instant>,
    /// When it became less. Requests from before that say nothing new.
    lessened: Option<Instant>,
}

#[derive(Debug, Default)]
struct Workspace {
    share: Share,
    queue: VecDeque<oneshot::Sender<()>>,
}

impl Default for Share {
    fn default() -> Self {
        Self { places: GATE_PLACES, taken: 0, paused_until: None, lessened: None }
    }
}

impl Share {
    fn is_free(&self, now: Instant) -> bool {
        self.pause(now).is_zero() && count(self.taken) + 1.0 <= self.places.max(1.0)
    }

    fn pause(&self, now: Instant) -> Duration {
        self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn is_as_new(&self) -> bool {
        self.taken == 0 && self.paused_until.is_none() && self.places >= GATE_PLACES
    }

    fn lessen(&mut self, asked: Instant, wait: Option<Duration>, now: Instant) {
        if self.lessened.is_none_or(|at| asked > at) {
            self.places = (count(self.taken) / 2.0).max(1.0).min(self.places);
            self.lessened = Some(now);
        }
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let until = now + wait;
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
        }
    }

    fn grow(&mut self) {
        self.places = (self.places + 1.0 / self.places).min(GATE_PLACES);
    }
}

#[expect(clippy::cast_precision_loss, reason = "places are few")]
fn count(taken: usize) -> f64 {
    taken as f64
}

impl Bucket {
    /// A place now (`None`), or word of one later; or how long it makes no sense to wait.
    pub(super) fn enter(&mut self, workspace: &WorkspaceId, now: Instant) -> Result<Option<oneshot::Receiver<()>>, Duration> {
        self.forget_pauses(now);
        let all = self.all.is_free(now);
        let own = self.own.entry(workspace.clone()).or_default();
        if all && own.queue.is_empty() && own.share.is_free(now) {
            own.share.taken += 1;
            self.all.taken += 1;
            return Ok(None);
        }
        let pause = self.all.pause(now).max(own.share.pause(now));
        if pause > GATE_WAIT || own.queue.len() >= GATE_QUEUE {
            return Err(pause.max(GATE_WAIT));
        }
        let (word, turn) = oneshot::channel();
        if own.queue.is_empty() {
            self.turns.push_back(workspace.clone());
        }
        own.queue.push_back(word);
        self.let_in(now);
        Ok(Some(turn))
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_as_new(&self) -> bool {
        self.all.is_as_new() && self.own.values().all(|own| own.share.is_as_new() && own.queue.is_empty())
    }

    /// A place is given back.
    pub(super) fn leave(&mut self, workspace: &WorkspaceId, now: Instant) {
        self.all.taken = self.all.taken.saturating_sub(1);
        if let Some(own) = self.own.get_mut(workspace) {
            own.share.taken = own.share.taken.saturating_sub(1);
        }
        self.let_in(now);
        self.own.retain(|_, own| !own.share.is_as_new() || !own.queue.is_empty());
    }

    /// Somebody no longer waits.
    pub(super) fn give_up(&mut self, workspace: &WorkspaceId) {
        if let Some(own) = self.own.get_mut(workspace) {
            own.queue.retain(|word| !word.is_closed());
        }
    }

    pub(super) fn succeeded(&mut self, workspace: &WorkspaceId) {
        self.all.grow();
        if let Some(own) = self.own.get_mut(workspace) {
            own.share.grow();
        }
    }

    /// The model said, to a request that was made at `asked`, that it is too much: half of what there
    /// is, and nothing for as long as it wants.
    pub(super) fn too_many(&mut self, workspace: &WorkspaceId, asked: Instant, wait: Option<Duration>, now: Instant) {
        let others = |(id, own): (&WorkspaceId, &Workspace)| id != workspace && own.share.lessened.is_some_and(|at| now - at <= GATE_WAIT);
        let is_everybodys = self.own.iter().any(others);
        if let Some(own) = self.own.get_mut(workspace) {
            own.share.lessen(asked, wait, now);
        }
        if is_everybodys {
            self.all.lessen(asked, wait, now);
        }
    }

    /// Gives free places to who waits, a workspace at a time.
    pub(super) fn let_in(&mut self, now: Instant) {
        self.forget_pauses(now);
        let mut passed_over = 0;
        while passed_over < self.turns.len() && self.all.is_free(now) {
            let Some(workspace) = self.turns.pop_front() else { return };
            let Some(own) = self.own.get_mut(&workspace) else { continue };
            own.queue.retain(|word| !word.is_closed());
            if own.queue.is_empty() {
                continue;
            }
            if !own.share.is_free(now) {
                passed_over += 1;
                self.turns.push_back(workspace);
                continue;
            }
            passed_over = 0;
            // Who stopped listening in this moment gives the place back itself.
            if own.queue.pop_front().is_some_and(|word| word.send(()).is_ok()) {
                own.share.taken += 1;
                self.all.taken += 1;
            }
            if !own.queue.is_empty() {
                self.turns.push_back(workspace);
            }
        }
    }

    /// When somebody must come to let in who waits, unless somebody will by then.
    pub(super) fn wake_at(&mut self, now: Instant) -> Option<Instant> {
        let waiting = self.own.values().filter(|own| !own.queue.is_empty());
        let until = waiting.filter_map(|own| own.share.paused_until.max(self.all.paused_until)).min()?;
        if self.waker.is_some_and(|at| at > now && at <= until) {
            return None;
        }
        self.waker = Some(until);
        Some(until)
    }

    fn forget_pauses(&mut self, now: Instant) {
        let shares = self.own.values_mut().map(|own| &mut own.share);
        for share in shares.chain([&mut self.all]).filter(|share| share.paused_until.is_some_and(|until| until <= now)) {
            share.paused_until = None;
        }
    }
}
