//! The process that has the secrets and does nothing with them but start egress again when it ends or hangs, and exchange the keys
//! when the server orders it.

use std::io::{BufRead as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ostler_egress::control::{Ask, Client};
use zeroize::Zeroizing;

use super::WORKER;
use super::launch::{Kept, Launch, NewKeys, Report, line, reported, spawn};
use super::listeners::Listeners;
use super::source::{Done, Order, Source};
use crate::vault::Keys;
use crate::{limits, logging};

/// What the keeper waits for.
enum Event {
    /// Who started it is gone.
    Alone,
    /// There are other keys.
    Keys,
    /// The egress with this process id has ended.
    Ended(u32),
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
    let mut said = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut said).context("hearing what to keep")?;
    let Kept { launch, source } = serde_json::from_str(&said).context("what is to be kept cannot be read")?;
    drop(said);
    let mut answers = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    logging::start(Some(&launch.log), "info")?;
    let (events, next) = mpsc::channel();
    let (keys, socket) = (events.clone(), launch.socket.clone());
    let listeners = Listeners::bind(&launch.socket, &launch.calls);
    let launch = Arc::new(Mutex::new(launch));
    let (kept, (order, ordered)) = (Arc::clone(&launch), mpsc::channel::<String>());
    // By itself, because a command that says keys may take its time.
    std::thread::spawn(move || {
        for order in ordered {
            let Ok(done) = line(&obeyed(&source, &order, &kept)) else { return };
            // Egress hears of it before the server waits for it. One look more does no harm.
            let _ = keys.send(Event::Keys);
            let _ = answers.write_all(&done);
        }
    });
    let alone = events.clone();
    std::thread::spawn(move || {
        for said in std::io::stdin().lock().lines() {
            let Ok(said) = said else { break };
            let _ = order.send(said);
        }
        let _ = alone.send(Event::Alone);
        // An egress that hangs at its start would be waited for.
        std::thread::sleep(limits::EGRESS_ENDS * 2);
        std::process::exit(0);
    });
    let begun = listeners.and_then(|listeners| started(&listeners, &launch).map(|worker| (listeners, worker)));
    let (listeners, mut worker) = match begun {
        Ok((listeners, worker)) => {
            super::report(&Report::Serves)?;
            (listeners, worker)
        }
        // Who started this tells it to a person.
        Err(error) => return super::report(&Report::Failed(format!("{error:#}"))),
    };
    let mut pause = limits::EGRESS_PAUSE_FIRST;
    let mut known = names();
    loop {
        let (began, id, has_ended) = (Instant::now(), worker.process.id(), Arc::new(AtomicBool::new(false)));
        let Worker { mut process, mut input } = worker;
        let (ended, told) = (events.clone(), Arc::clone(&has_ended));
        std::thread::spawn(move || {
            let status = process.wait();
            told.store(true, Ordering::Relaxed);
            let _ = ended.send(Event::Ended(id));
            drop(status);
        });
        feel(Client::new(socket.clone()), id, has_ended, events.clone());
        let why = loop {
            let why = match next.recv_timeout(limits::EGRESS_LOOK) {
                Ok(Event::Ended(pid)) if pid == id => break "it has ended",
                Ok(Event::Keys) => {
                    // One that has just ended has them when it is started again.
                    let _ = tell(&mut input, &launch);
                    continue;
                }
                Ok(Event::Hangs(pid)) if pid == id => "it hangs",
                // It has read them and can open no file any more.
                Err(mpsc::RecvTimeoutError::Timeout) if names() != known => "this machine has other name servers",
                Ok(Event::Hangs(_) | Event::Ended(_)) | Err(mpsc::RecvTimeoutError::Timeout) => continue,
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
            match started(&listeners, &launch) {
                Ok(worker) => break worker,
                Err(error) => tracing::error!(error = format!("{error:#}"), "egress cannot be started; it is tried again"),
            }
        };
    }
}

/// Starts egress, and waits until it serves.
fn started(listeners: &Listeners, launch: &Mutex<Launch>) -> anyhow::Result<Worker> {
    let said = line(&*launch.lock().unwrap_or_else(PoisonError::into_inner))?;
    let (mut input, inner) = UnixStream::pair()?;
    let mut process = spawn(WORKER, Stdio::from(OwnedFd::from(inner)))?;
    // One that ended already says why.
    let told = listeners.lend(&input).and_then(|()| input.write_all(&said));
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

/// Does what the server orders, and keeps the keys that egress is to use then, for the one that runs and those that follow it.
fn obeyed(source: &Source, order: &str, kept: &Mutex<Launch>) -> Done {
    let obeyed = serde_json::from_str::<Order>(order).context("the order cannot be read").and_then(|order| source.obey(&order));
    match obeyed {
        Ok((ring, is_for_egress)) => {
            if is_for_egress {
                kept.lock().unwrap_or_else(PoisonError::into_inner).keys = ring.to_text();
            }
            Done::Keys(Keys::of(&ring).texts())
        }
        Err(error) => Done::Failed(format!("{error:#}")),
    }
}

/// Tells egress the keys.
fn tell(input: &mut UnixStream, launch: &Mutex<Launch>) -> anyhow::Result<()> {
    let keys = launch.lock().unwrap_or_else(PoisonError::into_inner).keys.clone();
    Ok(input.write_all(&line(&NewKeys { keys })?)?)
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
