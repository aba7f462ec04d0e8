//! The circuit breaker: a model that keeps failing is left alone for a while, then asked once.

use std::time::Duration;

use ostler_core::ids::SessionId;
use tokio::time::Instant;

use crate::limits::{BREAKER_FAILURES, BREAKER_PAUSE, BREAKER_PAUSE_MAX, BREAKER_SESSIONS, GATE_WAIT};

/// Closed (asked), open (left alone until a time) or trying (one request decides).
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures since the last success.
    failures: u32,
    /// Some of the sessions that saw them: one session's odd requests do not close a model to others.
    sessions: Vec<SessionId>,
    /// Present when it is left alone, or asked once.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    /// Since when the one request is out.
    trying: Option<Instant>,
}

impl Breaker {
    /// Whether it may be asked, and if so, whether the answer decides; how long not otherwise.
    pub(super) fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match &mut self.open {
            None => Ok(false),
            // An answer can take many minutes; another one may decide then.
            Some(Open { trying: Some(since), pause, .. }) if now - *since < GATE_WAIT => Err((*pause).min(BREAKER_PAUSE)),
            Some(open) if now < open.until => Err(open.until - now),
            Some(open) => {
                open.trying = Some(now);
                Ok(true)
            }
        }
    }

    pub(super) fn is_as_new(&self) -> bool {
        self.open.is_none() && self.failures == 0
    }

    pub(super) fn succeeded(&mut self, probe: bool) {
        // An answer to a question of before says nothing of now.
        if self.open.is_none() || probe {
            *self = Self::default();
        }
    }

    pub(super) fn failed(&mut self, session: &SessionId, probe: bool, now: Instant) {
        if let Some(open) = &mut self.open {
            if probe {
                let pause = (open.pause * 2).min(BREAKER_PAUSE_MAX);
                *open = Open { until: now + pause, pause, trying: None };
            }
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.sessions.len() < BREAKER_SESSIONS && !self.sessions.contains(session) {
            self.sessions.push(session.clone());
        }
        if self.failures >= BREAKER_FAILURES && self.sessions.len() >= BREAKER_SESSIONS {
            self.open = Some(Open { until: now + BREAKER_PAUSE, pause: BREAKER_PAUSE, trying: None });
        }
    }

    /// The one that was to decide says nothing; the next one decides.
    pub(super) fn forget(&mut self, probe: bool) {
        if let Some(open) = &mut self.open
            && probe
        {
            open.trying = None;
        }
    }
}
