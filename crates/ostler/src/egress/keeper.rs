//! The process that has the secrets and does nothing with them but start egress again when it ends or hangs.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ostler_egress::control::{Ask, Client};
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
    /// The egress with this process id does not answer.
    Hangs(u32),
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
    let socket = launch.socket.clone();
    drop(launch);
    let mut pause = limits::EGRESS_PAUSE_FIRST;
    let mut known = names();
    loop {
        let (began, id, has_ended) = (Instant::now(), worker.process.id(), Arc::new(AtomicBool::new(false)));
        let Worker { mut process, input } = worker;
        let (ended, told) = (events.clone(), Arc::clone(&has_ended));
        std::thread::spawn(move || {
            let status = process.wait();
            told.store(true, Ordering::Relaxed);
            let _ = ended.send(Event::Ended);
            drop(status);
        });
        feel(Client::new(socket.clone()), id, has_ended, events.clone());
        let why = loop {
            let why = match next.recv_timeout(limits::EGRESS_LOOK) {
                Ok(Event::Ended) => break "it has ended",
                Ok(Event::Hangs(pid)) if pid == id => "it hangs",
                // It has read them and can open no file any more.
                Err(mpsc::RecvTimeoutError::Timeout) if names() != known => "this machine has other name servers",
                Ok(Event::Hangs(_)) | Err(mpsc::RecvTimeoutError::Timeout) => continue,
                Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    drop(input);
                    let _ = next.recv_timeout(limits::EGRESS_ENDS);
                    return Ok(());
                }
            };
            known = names();
            // One that hangs hears nothing else. Until it is waited for, nobody else has its number.
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL);
            let _ = next.recv_timeout(limits::EGRESS_ENDS);
            break why;
        };
        drop(input);
        tracing::error!(pid = id, why, "egress is started again; connections of sandboxes broke");
        if began.elapsed() >= limits::EGRESS_STEADY {
            pause = limits::EGRESS_PAUSE_FIRST;
        }
        worker = loop {
            if waits_alone(&next, pause) {
                return Ok(());
            }
            pause = (pause * 2).min(limits::EGRESS_PAUSE_MOST);
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

/// Asks egress for nothing again and again, and tells when it does not answer.
fn feel(client: Client, id: u32, has_ended: Arc<AtomicBool>, events: mpsc::Sender<Event>) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let mut silences = 0;
        while !has_ended.load(Ordering::Relaxed) {
            std::thread::sleep(limits::EGRESS_LOOK);
            let asked = runtime.block_on(client.ask(&Ask::Renew { sessions: Vec::new() }, &[]));
            silences = if asked.is_ok() { 0 } else { silences + 1 };
            if silences >= limits::EGRESS_SILENCES && !has_ended.load(Ordering::Relaxed) {
                let _ = events.send(Event::Hangs(id));
                return;
            }
        }
    });
}

/// What this machine says of how names are found.
fn names() -> [Option<Vec<u8>>; 2] {
    ["/etc/resolv.conf", "/etc/hosts"].map(|path| std::fs::read(path).ok())
}

/// Waits; whether who started it went away meanwhile.
fn waits_alone(next: &mpsc::Receiver<Event>, pause: Duration) -> bool {
    matches!(next.recv_timeout(pause), Ok(Event::Alone) | Err(mpsc::RecvTimeoutError::Disconnected))
}
