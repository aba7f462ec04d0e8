//! The rate bucket: how many requests a model gets at once. It halves when the model says that it
//! is too much, and grows again with every answer (additive increase, multiplicative decrease, RFC
//! 5681's idea). Who finds no place waits; workspaces are let in in turn.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ostler_core::ids::WorkspaceId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::limits::{GATE_PLACES, GATE_QUEUE, GATE_WAIT};

#[derive(Debug)]
pub(super) struct Bucket {
    /// Requests at once; grows by fractions.
    places: f64,
    taken: usize,
    paused_until: Option<Instant>,
    /// Whether somebody will let in after the pause.
    waker: bool,
    queues: HashMap<WorkspaceId, VecDeque<oneshot::Sender<()>>>,
    /// Workspaces with a queue, the next one first.
    turns: VecDeque<WorkspaceId>,
    waiting: usize,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { places: GATE_PLACES, taken: 0, paused_until: None, waker: false, queues: HashMap::new(), turns: VecDeque::new(), waiting: 0 }
    }
}

impl Bucket {
    /// A place now (`None`), or word of one later; or how long it makes no sense to wait.
    pub(super) fn enter(&mut self, workspace: &WorkspaceId, now: Instant) -> Result<Option<oneshot::Receiver<()>>, Duration> {
        if self.waiting == 0 && self.is_free(now) {
            self.taken += 1;
            return Ok(None);
        }
        let pause = self.paused_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if pause > GATE_WAIT || self.waiting >= GATE_QUEUE {
            return Err(pause.max(GATE_WAIT));
        }
        let (word, turn) = oneshot::channel();
        let queue = self.queues.entry(workspace.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(workspace.clone());
        }
        queue.push_back(word);
        self.waiting += 1;
        self.let_in(now);
        Ok(Some(turn))
    }

    pub(super) fn is_as_new(&self) -> bool {
        self.taken == 0 && self.waiting == 0 && self.paused_until.is_none() && self.places >= GATE_PLACES
    }

    /// A place is given back.
    pub(super) fn leave(&mut self, now: Instant) {
        self.taken = self.taken.saturating_sub(1);
        self.let_in(now);
    }

    pub(super) fn succeeded(&mut self) {
        self.places = (self.places + 1.0 / self.places).min(GATE_PLACES);
    }

    /// The model gets half of what it has, and nothing for as long as it asked.
    pub(super) fn too_many(&mut self, wait: Option<Duration>, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "places are few")]
        let taken = self.taken as f64;
        self.places = (taken / 2.0).max(1.0).min(self.places);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            let until = now + wait;
            self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
        }
    }

    /// Gives free places to who waits, a workspace at a time.
    pub(super) fn let_in(&mut self, now: Instant) {
        while self.waiting > 0 && self.is_free(now) {
            let Some(workspace) = self.turns.pop_front() else { return };
            let Some(queue) = self.queues.get_mut(&workspace) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&workspace);
            } else {
                self.turns.push_back(workspace);
            }
            if let Some(word) = next {
                self.waiting -= 1;
                // Who no longer listens needs no place.
                if word.send(()).is_ok() {
                    self.taken += 1;
                }
            }
        }
    }

    /// When somebody must come to let in who waits, unless somebody will.
    pub(super) fn wake_at(&mut self) -> Option<Instant> {
        let until = self.paused_until.filter(|_| self.waiting > 0 && !self.waker)?;
        self.waker = true;
        Some(until)
    }

    pub(super) fn woken(&mut self) {
        self.waker = false;
    }

    fn is_free(&mut self, now: Instant) -> bool {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        #[expect(clippy::cast_precision_loss, reason = "places are few")]
        let taken = self.taken as f64;
        self.paused_until.is_none() && taken + 1.0 <= self.places.max(1.0)
    }
}
