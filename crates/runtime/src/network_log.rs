//! What sandboxes did in the network: fetched from egress, joined with the call that ran, counted and stored.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ostler_core::egress::policy::Code;
use ostler_core::egress::{Lost, Record};
use ostler_core::ids::{EventId, SessionId};
use ostler_core::resources::network::NetworkEntry;
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::time::Timestamp;
use ostler_store::NewNetworkLine;
use tokio::time::Instant;

use crate::limits;
use crate::router::SessionRouter;
use crate::session::deps::Deps;

const MICROS_PER_MS: u64 = 1_000;

/// What was counted since the server started, of all sandboxes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressCounts {
    /// Requests and connections, by what was decided.
    pub requests: BTreeMap<Code, u64>,
    /// Bytes that left sandboxes.
    pub sent: u64,
    /// Bytes that came in.
    pub received: u64,
    /// Requests and connections that were not written down.
    pub dropped: u64,
    /// Sandboxes that are served now.
    pub sandboxes: u64,
}

/// What is known beside the log itself.
#[derive(Debug, Default)]
pub(crate) struct NetworkLog {
    counts: Mutex<EgressCounts>,
    calls: Mutex<HashMap<SessionId, VecDeque<CallTime>>>,
    /// Held by who fetches, so that lines are stored in their order.
    turn: tokio::sync::Mutex<()>,
}

/// When a call ran, in milliseconds since 1970.
#[derive(Debug)]
struct CallTime {
    call: EventId,
    from: u64,
    /// None while it runs.
    until: Option<u64>,
}

impl NetworkLog {
    fn calls(&self) -> MutexGuard<'_, HashMap<SessionId, VecDeque<CallTime>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, EgressCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins to run.
    pub(crate) fn began(&self, session: &SessionId, call: &EventId, now: Timestamp) {
        let mut calls = self.calls();
        let times = calls.entry(session.clone()).or_default();
        if times.len() >= limits::CALL_TIMES {
            times.pop_front();
        }
        times.push_back(CallTime { call: call.clone(), from: millis(now), until: None });
    }

    /// It does not run any more.
    pub(crate) fn ended(&self, session: &SessionId, call: &EventId, now: Timestamp) {
        if let Some(times) = self.calls().get_mut(session) {
            times.iter_mut().filter(|time| time.call == *call && time.until.is_none()).for_each(|time| time.until = Some(millis(now)));
        }
    }

    /// The call that ran at a time, if exactly one did.
    fn running(&self, session: &SessionId, at: u64) -> Option<EventId> {
        let calls = self.calls();
        let ran = |time: &&CallTime| time.from <= at && time.until.is_none_or(|until| at <= until);
        let mut running = calls.get(session)?.iter().filter(ran);
        let only = running.next()?;
        running.next().is_none().then(|| only.call.clone())
    }

    /// Nothing of this session will be asked any more.
    pub(crate) fn forget(&self, session: &SessionId) {
        self.calls().remove(session);
    }

    fn line(&self, record: Record) -> Option<NewNetworkLine> {
        {
            let mut counts = self.counts();
            *counts.requests.entry(record.code).or_default() += 1;
            counts.sent += record.sent;
            counts.received += record.received;
        }
        let (session, at) = (record.session.clone(), at(record.at_ms));
        let (host, is_allowed) = (Some(record.host.clone()), Some(record.is_allowed));
        let call = self.running(&session, record.at_ms);
        let body = serde_json::to_string(&NetworkEntry::of(record, call)).ok()?;
        Some(NewNetworkLine { session, at, host, is_allowed, body })
    }

    fn lost(&self, lost: Lost, now: Timestamp) -> Option<NewNetworkLine> {
        let Lost { session, count } = lost;
        tracing::warn!(%session, count, "so much happened in the network of a sandbox that some of it was not written down");
        self.counts().dropped += count;
        let body = serde_json::to_string(&NetworkEntry::NetworkDropped { count }).ok()?;
        Some(NewNetworkLine { session, at: now, host: None, is_allowed: None, body })
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0) / MICROS_PER_MS
}

fn at(millis: u64) -> Timestamp {
    Timestamp(i64::try_from(millis.saturating_mul(MICROS_PER_MS)).unwrap_or(i64::MAX))
}

/// Fetches what waits at egress, and stores it.
pub(crate) async fn collect(deps: &Deps) {
    let log = deps.networks.log();
    let _turn = log.turn.lock().await;
    for _ in 0..limits::NETWORK_FETCHES {
        let fetched = match deps.egress.records(limits::NETWORK_RECORDS).await {
            Ok(fetched) => fetched,
            Err(error) => return tracing::debug!(%error, "what sandboxes did in the network cannot be fetched now"),
        };
        let now = deps.ambient.now();
        let mut lines: Vec<NewNetworkLine> = fetched.records.into_iter().filter_map(|record| log.line(record)).collect();
        lines.extend(fetched.dropped.into_iter().filter_map(|lost| log.lost(lost, now)));
        if lines.is_empty() {
            return;
        }
        if let Err(error) = deps.store.add_network_lines(&lines).await {
            tracing::error!(%error, lines = lines.len(), "what sandboxes did in the network cannot be stored; these lines are lost");
            log.counts().dropped += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        }
    }
}

impl SessionRouter {
    /// What was counted of all sandboxes.
    pub fn egress_counts(&self) -> EgressCounts {
        let networks = &self.deps().networks;
        EgressCounts { sandboxes: networks.served(), ..networks.log().counts().clone() }
    }

    /// Fetches what sandboxes did, and forgets what is old, until the server stops.
    pub(crate) async fn watch_network_log(&self) {
        let deps = self.deps();
        let mut forgets = Instant::now();
        loop {
            tokio::select! {
                () = deps.stopping.cancelled() => return,
                () = tokio::time::sleep(limits::NETWORK_LOOK) => {}
            }
            collect(deps).await;
            if forgets <= Instant::now() {
                forgets = Instant::now() + limits::NETWORK_FORGET;
                let before = Timestamp(deps.ambient.now().0 - i64::try_from(limits::NETWORK_KEPT.as_micros()).unwrap_or(i64::MAX));
                if let Err(error) = deps.store.forget_network_lines(&Scope::System(SystemReason::Recovery), before).await {
                    tracing::warn!(%error, "old lines of network logs cannot be deleted");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ostler_core::ids::IdSource;

    use super::*;

    #[test]
    fn a_request_belongs_to_a_call_if_exactly_one_ran() {
        let (log, mut ids) = (NetworkLog::default(), IdSource::new(1, 1));
        let session = SessionId::mint(&mut ids);
        let calls: Vec<EventId> = (0..3).map(|_| EventId::mint(&mut ids)).collect();
        log.began(&session, &calls[0], at(10));
        log.ended(&session, &calls[0], at(20));
        log.began(&session, &calls[1], at(30));
        log.began(&session, &calls[2], at(40));
        log.ended(&session, &calls[1], at(50));
        for (time, expected) in [(9, None), (10, Some(0)), (20, Some(0)), (25, None), (35, Some(1)), (45, None), (51, Some(2))] {
            assert_eq!(log.running(&session, time), expected.map(|index: usize| calls[index].clone()), "{time}");
        }
        assert_eq!(log.running(&SessionId::mint(&mut ids), 10), None);
        for _ in 0..limits::CALL_TIMES {
            log.began(&session, &EventId::mint(&mut ids), at(60));
        }
        assert_eq!(log.running(&session, 51), None, "no more than so many are known");
        log.forget(&session);
        assert!(log.calls().is_empty());
    }
}
