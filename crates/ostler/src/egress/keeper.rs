//! The process that has the secrets and does nothing with them but start egress again when it ends.

use std::io::{BufRead as _, Write as _};
use std::process::{Child, ChildStdin};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use zeroize::Zeroizing;

use super::WORKER;
use super::launch::{Launch, NewKeys, spawn};
use crate::{limits, logging};

/// What the keeper waits for.
enum Event {
    /// Who started it says something: other keys.
    Told(Zeroizing<String>),
    /// Who started it is gone.
    Alone,
    /// Egress has ended.
    Ended,
}

pub(super) fn main() -> anyhow::Result<()> {
    // Ctrl-C of a terminal is for the server, which ends this when it has ended.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_dumpable(false)?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).context("hearing what to keep")?;
    let mut launch: Launch = serde_json::from_str(&line).context("what is to be kept cannot be read")?;
    logging::start(Some(&launch.log), "info")?;
    let (events, next) = mpsc::channel();
    let heard = events.clone();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Zeroizing::new(String::new());
            match input.read_line(&mut line) {
                Ok(count) if count > 0 => drop(heard.send(Event::Told(line))),
                _ => break,
            }
        }
        let _ = heard.send(Event::Alone);
    });
    let mut pause = limits::EGRESS_PAUSE_FIRST;
    loop {
        let began = Instant::now();
        let started = spawn(WORKER).and_then(|mut worker| told(&mut worker, &launch).map(|()| worker));
        match started {
            Ok(worker) => {
                if attend(worker, &mut launch, &events, &next) == Outcome::Alone {
                    return Ok(());
                }
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "egress cannot be started; it is tried again"),
        }
        pause =
            if began.elapsed() >= limits::EGRESS_STEADY { limits::EGRESS_PAUSE_FIRST } else { (pause * 2).min(limits::EGRESS_PAUSE_MOST) };
        if rest(&mut launch, &next, pause) == Outcome::Alone {
            return Ok(());
        }
    }
}

/// Why a wait is over.
#[derive(PartialEq, Eq)]
enum Outcome {
    Alone,
    GoesOn,
}

fn told(worker: &mut Child, launch: &Launch) -> anyhow::Result<()> {
    worker.stdin.as_mut().context("egress has no standard input")?.write_all(&launch.line()?).context("telling egress its keys")
}

/// Until egress ends, or who started this is gone.
fn attend(mut worker: Child, launch: &mut Launch, events: &mpsc::Sender<Event>, next: &mpsc::Receiver<Event>) -> Outcome {
    let (id, ended) = (worker.id(), events.clone());
    // Its standard input stays open in here for as long as it is to live.
    let mut input = worker.stdin.take();
    std::thread::spawn(move || {
        let status = worker.wait();
        let _ = ended.send(Event::Ended);
        drop(status);
    });
    loop {
        match next.recv() {
            Ok(Event::Told(line)) => take(launch, &line, input.as_mut()),
            Ok(Event::Ended) => {
                tracing::error!(pid = id, "egress has ended and is started again; connections of sandboxes broke");
                return Outcome::GoesOn;
            }
            Ok(Event::Alone) | Err(_) => {
                drop(input);
                let _ = next.recv_timeout(limits::EGRESS_ENDS);
                return Outcome::Alone;
            }
        }
    }
}

/// Keeps other keys, for the egress that runs and for those that follow it.
fn take(launch: &mut Launch, line: &Zeroizing<String>, input: Option<&mut ChildStdin>) {
    match serde_json::from_str::<NewKeys>(line) {
        Ok(NewKeys { keys }) => launch.keys = keys,
        Err(_) => return tracing::error!("what was said is no key"),
    }
    // One that has just ended is told when it is started again.
    if let Some(input) = input {
        let _ = input.write_all(line.as_bytes());
    }
}

/// Waits; who started it may go away or say something meanwhile.
fn rest(launch: &mut Launch, next: &mpsc::Receiver<Event>, pause: Duration) -> Outcome {
    let until = Instant::now() + pause;
    loop {
        match next.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Told(line)) => take(launch, &line, None),
            Ok(Event::Ended) => {}
            Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected) => return Outcome::Alone,
            Err(mpsc::RecvTimeoutError::Timeout) => return Outcome::GoesOn,
        }
    }
}
