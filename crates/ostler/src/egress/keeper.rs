//! The process that has the secrets and does nothing with them but start egress again when it ends.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use zeroize::Zeroizing;

use super::WORKER;
use super::launch::{Launch, spawn};
use crate::{limits, logging};

/// What the keeper waits for.
enum Event {
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
    let launch: Launch = serde_json::from_str(&line).context("what is to be kept cannot be read")?;
    logging::start(Some(&launch.log), "info")?;
    let (events, next) = mpsc::channel();
    let alone = events.clone();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut rest), Ok(count) if count > 0) {}
        let _ = alone.send(Event::Alone);
    });
    let mut pause = limits::EGRESS_PAUSE_FIRST;
    loop {
        let began = Instant::now();
        match spawn(WORKER).and_then(|mut worker| told(&mut worker, &line).map(|()| worker)) {
            Ok(mut worker) => {
                let id = worker.id();
                let ended = events.clone();
                // Its standard input stays open in here for as long as it is to live.
                let input = worker.stdin.take();
                std::thread::spawn(move || {
                    let status = worker.wait();
                    let _ = ended.send(Event::Ended);
                    drop(status);
                });
                match next.recv() {
                    Ok(Event::Ended) => {
                        drop(input);
                        tracing::error!(pid = id, "egress has ended and is started again; connections of sandboxes broke");
                    }
                    Ok(Event::Alone) | Err(_) => {
                        drop(input);
                        let _ = next.recv_timeout(limits::EGRESS_ENDS);
                        return Ok(());
                    }
                }
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "egress cannot be started; it is tried again"),
        }
        pause =
            if began.elapsed() >= limits::EGRESS_STEADY { limits::EGRESS_PAUSE_FIRST } else { (pause * 2).min(limits::EGRESS_PAUSE_MOST) };
        if waits_alone(&next, pause) {
            return Ok(());
        }
    }
}

fn told(worker: &mut Child, line: &str) -> anyhow::Result<()> {
    worker.stdin.as_mut().context("egress has no standard input")?.write_all(line.as_bytes()).context("telling egress its keys")
}

/// Waits; whether who started it went away meanwhile.
fn waits_alone(next: &mpsc::Receiver<Event>, pause: Duration) -> bool {
    matches!(next.recv_timeout(pause), Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected))
}
