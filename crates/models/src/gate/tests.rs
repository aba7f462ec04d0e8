//! Stories of the gate, on a clock that stands still unless everybody waits.

use ostler_core::ids::IdSource;
use ostler_core::model::TokenUsage;

use super::*;
use crate::limits::{BREAKER_FAILURES, BREAKER_PAUSE, BREAKER_SESSIONS};

fn target() -> TargetName {
    TargetName { provider: "p".into(), model: "m".into() }
}

struct House {
    gates: Gates,
    workspaces: Vec<WorkspaceId>,
    sessions: Vec<SessionId>,
    cancel: CancellationToken,
}

impl House {
    fn new() -> Self {
        let mut ids = IdSource::new(1, 1);
        Self {
            gates: Gates::default(),
            workspaces: (0..3).map(|_| WorkspaceId::mint(&mut ids)).collect(),
            sessions: (0..10).map(|_| SessionId::mint(&mut ids)).collect(),
            cancel: CancellationToken::new(),
        }
    }

    async fn enter(&self, workspace: usize, session: usize) -> Result<Pass, ModelError> {
        let asker = Asker { workspace: &self.workspaces[workspace], session: &self.sessions[session] };
        self.gates.enter(&target(), asker, &self.cancel).await
    }

    async fn fails(&self, session: usize, kind: ModelErrorKind) -> Result<(), ModelError> {
        self.enter(0, session).await?.ended::<()>(&Err(failure(kind, "x")));
        Ok(())
    }

    /// As many failures as open the breaker.
    async fn keeps_failing(&self) {
        for n in 0..BREAKER_FAILURES as usize {
            self.fails(n % BREAKER_SESSIONS, ModelErrorKind::Unavailable).await.unwrap();
        }
    }
}

fn limited(retry_after_ms: u64) -> Result<(), ModelError> {
    Err(ModelError { retry_after_ms: Some(retry_after_ms), usage: TokenUsage::default(), ..failure(ModelErrorKind::RateLimited, "slow") })
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_failing_is_left_alone_then_asked_once() {
    let house = House::new();
    house.keeps_failing().await;
    let refused = house.enter(0, 5).await.unwrap_err();
    assert_eq!(refused.kind, ModelErrorKind::Suspended);
    house.enter(1, 5).await.expect("another workspace finds out for itself").ended(&Ok(()));
    assert_eq!(refused.retry_after_ms, Some(u64::try_from(BREAKER_PAUSE.as_millis()).unwrap()));
    tokio::time::advance(BREAKER_PAUSE).await;
    let probe = house.enter(0, 5).await.unwrap();
    assert!(house.enter(0, 6).await.is_err(), "one request decides");
    probe.ended::<()>(&Err(failure(ModelErrorKind::Overloaded, "still")));
    tokio::time::advance(BREAKER_PAUSE).await;
    assert!(house.enter(0, 5).await.is_err(), "twice as long");
    tokio::time::advance(BREAKER_PAUSE).await;
    house.enter(0, 5).await.unwrap().ended(&Ok(()));
    house.enter(0, 6).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_to_decide_and_says_nothing_lets_the_next_decide() {
    let house = House::new();
    house.keeps_failing().await;
    tokio::time::advance(BREAKER_PAUSE).await;
    drop(house.enter(0, 1).await.unwrap());
    house.fails(0, ModelErrorKind::Authentication).await.unwrap();
    house.enter(0, 1).await.unwrap().ended(&Ok(()));
    house.enter(0, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_keys_and_a_single_session_never_close_a_model_to_others() {
    let house = House::new();
    for session in 0..10 {
        for _ in 0..BREAKER_FAILURES {
            house.fails(session, ModelErrorKind::Authentication).await.unwrap();
            house.fails(session, ModelErrorKind::Rejected).await.unwrap();
        }
    }
    for _ in 0..10 * BREAKER_FAILURES {
        house.fails(0, ModelErrorKind::Unavailable).await.unwrap();
    }
    house.enter(0, 5).await.unwrap();
    house.enter(1, 5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_too_many_requests_everybody_waits_as_asked_and_workspaces_take_turns() {
    let house = std::sync::Arc::new(House::new());
    let (first, other) = (house.enter(0, 0).await.unwrap(), house.enter(1, 1).await.unwrap());
    first.ended(&limited(3_000));
    other.ended(&limited(3_000));
    let started = Instant::now();
    let order = std::sync::Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for workspace in [0, 0, 0, 1, 2] {
        let (house, order) = (std::sync::Arc::clone(&house), std::sync::Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            let pass = house.enter(workspace, 0).await.unwrap();
            order.lock().unwrap().push((workspace, started.elapsed().as_secs()));
            tokio::task::yield_now().await;
            drop(pass);
        }));
        tokio::task::yield_now().await;
    }
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [(0, 3), (1, 3), (2, 3), (0, 3), (0, 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_too_long_to_wait_for_is_said_at_once() {
    let house = House::new();
    house.enter(0, 0).await.unwrap().ended(&limited(60_000));
    let refused = house.enter(0, 1).await.unwrap_err();
    assert_eq!((refused.kind, refused.retry_after_ms), (ModelErrorKind::Suspended, Some(60_000)));
    tokio::time::advance(Duration::from_secs(60)).await;
    house.enter(0, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_gives_its_place_to_the_next() {
    let house = House::new();
    let held = house.enter(0, 0).await.unwrap();
    let second = house.enter(0, 1).await.unwrap();
    second.ended(&limited(0));
    // One place, and it is taken.
    house.cancel.cancel();
    assert_eq!(house.enter(0, 2).await.unwrap_err().kind, ModelErrorKind::Cancelled);
    drop(held);
    house.enter(0, 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_sent_elsewhere() {
    let house = House::new();
    let _held = house.enter(0, 0).await.unwrap();
    house.enter(0, 1).await.unwrap().ended(&limited(0));
    assert_eq!(house.enter(0, 2).await.unwrap_err().kind, ModelErrorKind::Suspended);
}

#[tokio::test(start_paused = true)]
async fn models_that_nobody_has_are_forgotten_and_those_in_trouble_are_not() {
    let house = House::new();
    house.keeps_failing().await;
    let asker = Asker { workspace: &house.workspaces[0], session: &house.sessions[0] };
    for n in 0..3 * GATES_KEPT {
        let odd = TargetName { provider: "p".into(), model: format!("odd {n}") };
        house.gates.enter(&odd, asker, &house.cancel).await.unwrap().ended(&Ok(()));
    }
    assert!(house.gates.gates.lock().unwrap().len() <= GATES_KEPT);
    assert!(house.enter(0, 5).await.is_err(), "it is still left alone");
}

#[tokio::test(start_paused = true)]
async fn what_one_workspace_asks_too_much_holds_for_itself() {
    let house = House::new();
    for _ in 0..3 {
        house.enter(0, 0).await.unwrap().ended(&limited(60_000));
        assert_eq!(house.enter(0, 1).await.unwrap_err().kind, ModelErrorKind::Suspended);
        let (one, two) = (house.enter(1, 2).await.unwrap(), house.enter(1, 3).await.unwrap());
        one.ended(&Ok(()));
        two.ended(&Ok(()));
        tokio::time::advance(Duration::from_secs(61)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_moment_halve_the_places_once() {
    let house = House::new();
    let mut out = Vec::new();
    for _ in 0..40 {
        out.push(house.enter(0, 0).await.unwrap());
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    for pass in out {
        pass.ended(&limited(0));
    }
    let mut again = Vec::new();
    for _ in 0..20 {
        again.push(house.enter(0, 0).await.unwrap());
    }
    assert_eq!(house.enter(0, 0).await.unwrap_err().kind, ModelErrorKind::Suspended, "and no more than half");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_becomes_longer_ends_when_it_ends() {
    let house = std::sync::Arc::new(House::new());
    let (first, second) = (house.enter(0, 0).await.unwrap(), house.enter(0, 1).await.unwrap());
    first.ended(&limited(3_000));
    let started = Instant::now();
    let waits = {
        let house = std::sync::Arc::clone(&house);
        tokio::spawn(async move { house.enter(0, 2).await.map(|_| started.elapsed().as_secs()) })
    };
    tokio::time::advance(Duration::from_secs(1)).await;
    second.ended(&limited(10_000));
    assert_eq!(waits.await.unwrap().unwrap(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_does_not_keep_a_recovering_model_shut() {
    let house = House::new();
    house.keeps_failing().await;
    tokio::time::advance(BREAKER_PAUSE).await;
    let _long = house.enter(0, 0).await.unwrap();
    tokio::time::advance(GATE_WAIT).await;
    house.enter(0, 1).await.unwrap().ended(&Ok(()));
    house.enter(0, 2).await.unwrap();
}
