//! Whole histories of a session under a random schedule of crashes, deaths, late and repeated
//! results and impatient clients. No IO, no real time: a seed is a history.
//!
//! `OSTLER_SIM_SEED=n` runs one history, `OSTLER_SIM_HISTORIES=n` that many.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chance;
mod check;
mod grammar;
mod sandbox;
mod script;
mod server;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_core::call::CallEnd;
use ostler_core::events::wire::StopReason;
use ostler_core::scope::Principal;
use ostler_core::session::record::{Record, RecordBody};
use ostler_core::session::state::Phase;
use ostler_core::session::step::Input;

use check::Broken;
use server::{Fault, Stop, World};

const HISTORIES: u64 = 10_000;
/// Histories in which a wrong driver must be caught.
const HISTORIES_OF_A_FAULT: u64 = 5_000;
const ACTIONS: usize = 90;
/// Actions within which a history without faults must come to rest.
const ACTIONS_TO_REST: usize = 2_000;

/// What happened in a history, by name.
type Seen = BTreeSet<String>;

/// What must have happened in some history of a whole run, or the run shows too little.
const MUST_BE_SEEN: [&str; 41] = [
    "mcp_listed",
    "mcp_unavailable",
    "remote",
    "inputs_queued",
    "turn_started",
    "inputs_flushed",
    "instructed",
    "resumed",
    "faulted",
    "credential_faulted",
    "request_started",
    "request_answered",
    "request_failed",
    "retry_scheduled",
    "sandbox_started",
    "sandbox_lost",
    "call_retried",
    "call_settled",
    "custom_result",
    "confirmed",
    "interrupt_requested",
    "interrupted",
    "idled",
    "updated",
    "archived",
    "set_aside",
    "retried",
    "end Finished",
    "end TimedOut",
    "end Cancelled",
    "end OutcomeUnknown",
    "end NotRun",
    "stop EndTurn",
    "stop RequiresAction",
    "stop RetriesExhausted",
    "stop Refusal",
    "stop BudgetReached",
    "another model",
    "status Rescheduled",
    "confirmation Allow",
    "confirmation Deny",
];

fn seen(records: &[Record]) -> Seen {
    let detail = |record: &Record| match &record.body {
        RecordBody::CallSettled { outcome, mcp: true, .. } if outcome.end == CallEnd::Finished => Some("remote".to_owned()),
        RecordBody::CallSettled { outcome, .. } => Some(format!("end {:?}", outcome.end)),
        RecordBody::Idled { stop: StopReason::EndTurn {}, .. } => Some("stop EndTurn".to_owned()),
        RecordBody::Idled { stop: StopReason::RequiresAction { .. }, .. } => Some("stop RequiresAction".to_owned()),
        RecordBody::Idled { stop: StopReason::RetriesExhausted {}, .. } => Some("stop RetriesExhausted".to_owned()),
        RecordBody::Idled { stop: StopReason::Refusal {}, .. } => Some("stop Refusal".to_owned()),
        RecordBody::Idled { stop: StopReason::BudgetReached {}, .. } => Some("stop BudgetReached".to_owned()),
        RecordBody::RequestStarted { ask, .. } if ask.attempt.target > 0 => Some("another model".to_owned()),
        RecordBody::RetryScheduled { rescheduled: Some(_), .. } => Some("status Rescheduled".to_owned()),
        RecordBody::Confirmed { result, .. } => Some(format!("confirmation {result:?}")),
        _ => None,
    };
    records.iter().flat_map(|record| [Some(record.body.kind().to_owned()), detail(record)]).flatten().collect()
}

fn history(seed: u64, fault: Fault) -> Result<Seen, Broken> {
    let mut world = World::new(seed, fault)?;
    let mut stale = Vec::new();
    for _ in 0..ACTIONS {
        match act(&mut world, &mut stale) {
            Ok(()) => {}
            Err(Stop::Crash) => stale.extend(world.server.take().into_iter().flat_map(|server| server.inbox)),
            Err(Stop::Broken(broken)) => return Err(broken),
        }
    }
    world.faults = false;
    rest(&mut world)?;
    world.end()?;
    Ok(seen(&world.journal.records))
}

/// One action of the schedule.
fn act(world: &mut World, stale: &mut Vec<Input>) -> Result<(), Stop> {
    world.server()?;
    match world.chance.below(40) {
        0 => return Err(Stop::Crash),
        1 => world.sandbox.kill(),
        2 if !stale.is_empty() => {
            let input = world.chance.pick(stale).clone();
            world.happened(input)?;
        }
        3..=8 => client(world)?,
        9..=14 => world.sandbox_gets_on()?,
        15..=26 => {
            let tasks = world.server()?.tasks.len();
            if tasks > 0 {
                let index = world.chance.below(tasks);
                world.task_gets_on(index)?;
            }
        }
        _ => {
            let waiting = world.server()?.inbox.len();
            if waiting > 0 {
                let index = world.chance.below(waiting);
                let input =
                    if world.chance.one_in(10) { world.server()?.inbox[index].clone() } else { world.server()?.inbox.swap_remove(index) };
                if world.chance.one_in(10) {
                    stale.push(input.clone());
                }
                world.happened(input)?;
            }
        }
    }
    Ok(())
}

fn client(world: &mut World) -> Result<(), Stop> {
    let state = world.server()?.state.clone();
    let principal = Principal::System;
    let input = match world.chance.below(30) {
        0 => Input::Archive,
        6 => return world.happened(Input::SharedBudgetRaised),
        7 => return world.happened(Input::Park),
        8 => {
            let faults = script::faults(&mut world.chance);
            return world.happened(Input::CredentialsFaulted { faults });
        }
        1 | 2 => Input::Update(Box::new(script::update(&mut world.chance))),
        3..=5 => Input::Retry { principal },
        _ => Input::Send { events: script::request(&mut world.chance, &state), principal },
    };
    world.command(input).map(|_| ())
}

/// Without faults and with clients that answer, everything comes to its end.
fn rest(world: &mut World) -> Result<(), Broken> {
    for _ in 0..ACTIONS_TO_REST {
        let done = settle(world).map_err(|stop| match stop {
            Stop::Broken(broken) => broken,
            Stop::Crash => "a crash without faults".to_owned(),
        })?;
        if done {
            return Ok(());
        }
    }
    Err(format!("the session does not come to rest: {:?}", world.server.as_ref().map(|server| server.state.phase.clone())))
}

fn settle(world: &mut World) -> Result<bool, Stop> {
    world.sandbox_gets_on()?;
    let server = world.server()?;
    if let Some(input) = server.inbox.pop() {
        return world.happened(input).map(|()| false);
    }
    if !server.tasks.is_empty() {
        let index = world.chance.below(world.server.as_ref().map_or(1, |server| server.tasks.len()));
        return world.task_gets_on(index).map(|()| false);
    }
    let state = server.state.clone();
    let principal = Principal::System;
    match state.phase {
        Phase::Archived { .. } => Ok(true),
        _ if state.set_aside => world.command(Input::Retry { principal }).map(|_| false),
        Phase::Idle => Ok(true),
        Phase::Capped if state.is_at_cap() => {
            let removed = serde_json::from_value(serde_json::json!({"budget": null})).map_err(|error| error.to_string())?;
            let accepted = world.command(Input::Update(Box::new(removed)))?;
            check::rule!(accepted, "a budget could not be removed");
            Ok(false)
        }
        Phase::Capped => world.happened(Input::SharedBudgetRaised).map(|()| false),
        Phase::Acting { paused: true } => {
            let events = script::answers(&mut world.chance, &state, true);
            let accepted = world.command(Input::Send { events, principal })?;
            check::rule!(accepted, "answers to all calls that wait were refused");
            Ok(false)
        }
        Phase::Requesting { .. } | Phase::Backoff { .. } | Phase::Acting { paused: false } => {
            Err(Stop::Broken(format!("stuck in {:?} with {:?}", state.phase, state.calls)))
        }
    }
}

/// The history of a seed; a panic breaks a rule, too.
fn run(seed: u64, fault: Fault) -> Result<Seen, Broken> {
    catch_unwind(AssertUnwindSafe(|| history(seed, fault))).unwrap_or_else(|_| Err("it panicked".into()))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn every_history_keeps_the_rules() {
    let seeds = match number("OSTLER_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OSTLER_SIM_HISTORIES").unwrap_or(HISTORIES),
    };
    let (next, all) = (AtomicU64::new(seeds.start), Mutex::new(Seen::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match run(seed, Fault::None) {
                Ok(seen) => all.lock().unwrap().extend(seen),
                Err(broken) => panic!("seed {seed}: {broken}\nreproduce: OSTLER_SIM_SEED={seed} cargo test -p ostler-core --test sim"),
            };
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    let seen = all.into_inner().unwrap();
    let missing: Vec<&str> = MUST_BE_SEEN.into_iter().filter(|name| !seen.contains(*name)).collect();
    assert!(seeds.end - seeds.start < HISTORIES || missing.is_empty(), "never happened: {missing:?}");
}

/// The first history in which a wrong driver breaks a rule.
fn caught(fault: Fault) -> Option<Broken> {
    (0..HISTORIES_OF_A_FAULT).find_map(|seed| run(seed, fault).err())
}

#[test]
fn wrong_drivers_are_caught() {
    for (fault, expected) in [
        (Fault::DispatchesBeforeCommit, "the call"),
        (Fault::RepliesBeforeCommit, "accepted inputs"),
        (Fault::ForgetsRecovery, "stuck"),
        (Fault::RerunsLost, "the call"),
        (Fault::TrustsAfterCrash, "the call"),
        (Fault::BelievesConnections, "the call"),
        (Fault::AcknowledgesBeforeCommit, "thrown away"),
    ] {
        match caught(fault) {
            Some(broken) => assert!(broken.contains(expected), "{fault:?} was caught, but for another reason: {broken}"),
            None => panic!("{fault:?} was not caught"),
        }
    }
}
