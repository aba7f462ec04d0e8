//! The process that has the secrets and does nothing with them but start egress again when it ends.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::WORKER;
use super::launch::{Launch, Report, reported, spawn};
use super::listeners::Listeners;
use crate::{limits, logging};

/// What the keeper waits for.
enum Event {
    /// Who started it is gone.
    Alone,
    /// Egress has ended.
    Ended,
}

/// An egress that serves.
struct Worker {
    process: Child,
    /// Open for as long as it is to live.
    input: UnixStream,
}

pub(super) fn main() -> anyhow::Result<()> {
    // Ctrl-C of a terminal is for the server, which ends this when it has ended.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_name(c"ostler")?;
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
        // An egress that hangs at its start would be waited for.
        std::thread::sleep(limits::EGRESS_ENDS * 2);
        std::process::exit(0);
    });
    let begun =
        Listeners::bind(&launch.socket, &launch.calls).and_then(|listeners| started(&listeners, &line).map(|worker| (listeners, worker)));
    let (listeners, mut worker) = match begun {
        Ok((listeners, worker)) => {
            super::report(&Report::Serves)?;
            (listeners, worker)
        }
        // Who started this tells it to a person.
        Err(error) => return super::report(&Report::Failed(format!("{error:#}"))),
    };
    drop(launch);
    let mut pause = limits::EGRESS_PAUSE_FIRST;
    let mut known = names();
    loop {
        let (began, id, ended) = (Instant::now(), worker.process.id(), events.clone());
        let Worker { mut process, input } = worker;
        std::thread::spawn(move || {
            let status = process.wait();
            let _ = ended.send(Event::Ended);
            drop(status);
        });
        let why = loop {
            match next.recv_timeout(limits::EGRESS_NAMES_LOOK) {
                Ok(Event::Ended) => break "it has ended",
                // It has read them and can open no file any more.
                Err(mpsc::RecvTimeoutError::Timeout) if names() == known => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    known = names();
                    let _ = input.shutdown(std::net::Shutdown::Both);
                    let _ = next.recv_timeout(limits::EGRESS_ENDS);
                    break "this machine has other name servers";
                }
                Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    drop(input);
                    let _ = next.recv_timeout(limits::EGRESS_ENDS);
                    return Ok(());
                }
            }
        };
        tracing::error!(pid = id, why, "egress is started again; connections of sandboxes broke");
        if began.elapsed() >= limits::EGRESS_STEADY {
            pause = limits::EGRESS_PAUSE_FIRST;
        }
        worker = loop {
            pause = (pause * 2).min(limits::EGRESS_PAUSE_MOST);
            if waits_alone(&next, pause) {
                return Ok(());
            }
            match started(&listeners, &line) {
                Ok(worker) => break worker,
                Err(error) => tracing::error!(error = format!("{error:#}"), "egress cannot be started; it is tried again"),
            }
        };
    }
}

/// Starts egress, and waits until it serves.
fn started(listeners: &Listeners, line: &str) -> anyhow::Result<Worker> {
    let (mut input, inner) = UnixStream::pair()?;
    let mut process = spawn(WORKER, Stdio::from(OwnedFd::from(inner)))?;
    // One that ended already says why.
    let told = listeners.lend(&input).and_then(|()| input.write_all(line.as_bytes()));
    match reported(&mut process) {
        Report::Serves => {
            told.context("telling egress its keys")?;
            Ok(Worker { process, input })
        }
        Report::Failed(why) => {
            drop(input);
            let _ = process.wait();
            bail!(why)
        }
    }
}

/// What this machine says of how names are found.
fn names() -> [Option<Vec<u8>>; 2] {
    ["/etc/resolv.conf", "/etc/hosts"].map(|path| std::fs::read(path).ok())
}

/// Waits; whether who started it went away meanwhile.
fn waits_alone(next: &mpsc::Receiver<Event>, pause: Duration) -> bool {
    matches!(next.recv_timeout(pause), Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected))
}
