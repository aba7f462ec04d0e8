//! Init: PID 1 of a sandbox. One thread, one loop; it forks what runs and never looks into what
//! came out of it. Outlives the server and the spawner.

mod calls;
mod kept;
mod peers;
mod processes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ostler_core::ids::IncarnationId;

use crate::cgroup::Meters;
use crate::confine::{Doors, Held};
use crate::limits;
use crate::peer::Peer;
use crate::spec::SandboxSpec;
use crate::sys::{self, Alone};
use calls::Calls;

pub(crate) use kept::{Kept, Watched};
pub(crate) use processes::{kill_descendants, memory};

/// What an init is born with.
#[derive(Debug)]
pub(crate) struct Life {
    /// Its name, unless it waits for a session.
    pub(crate) incarnation: Option<IncarnationId>,
    /// Where one that waits hears its name; it ends with the spawner.
    pub(crate) summons: File,
    pub(crate) secret: String,
    pub(crate) spec: SandboxSpec,
    pub(crate) listener: UnixListener,
    pub(crate) held: Held,
    /// The ways out, for whoever serves them.
    pub(crate) doors: Option<Doors>,
    /// What is counted of it.
    pub(crate) meters: Meters,
    /// Whether the limit of its disk is watched here, because the kernel does not hold it.
    pub(crate) watches_disk: bool,
}

struct Init {
    incarnation: IncarnationId,
    secret: String,
    listener: UnixListener,
    signals: SignalFd,
    peers: BTreeMap<u64, peers::Server>,
    next_peer: u64,
    /// The highest epoch of a server so far.
    epoch: u64,
    calls: Calls,
    doors: Option<Doors>,
    /// When it has lived as long as it may.
    end: Option<Instant>,
}

/// Runs until told to stop, or killed. The kernel then ends everything else inside.
pub(crate) fn run(alone: Alone, life: Life) -> ! {
    let code = match begin(alone, life) {
        Ok(mut init) => init.serve(),
        Err(_) => 1,
    };
    sys::exit_now(code)
}

fn begin(alone: Alone, life: Life) -> io::Result<Init> {
    let _ = nix::sys::prctl::set_name(c"init");
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block()?;
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let is_watched = !life.spec.lacks("watcher");
    let watched = Watched {
        disk: (life.watches_disk && is_watched).then_some((life.spec.disk_bytes, life.spec.disk_inodes)),
        memory: (!life.meters.counts_memory() && is_watched).then_some(life.spec.max_memory_bytes),
    };
    let kept = Kept { held: life.held, meters: life.meters, watched, has_doors: life.doors.is_some() };
    let longest = Some(life.spec.max_life_ms).filter(|ms| *ms > 0).map(Duration::from_millis);
    let mut calls = Calls::new(alone, life.spec, kept);
    calls.prepare();
    let incarnation = match life.incarnation {
        Some(incarnation) => incarnation,
        None => {
            let incarnation = summoned(&life.summons)?;
            calls.begin_waiting();
            incarnation
        }
    };
    drop(life.summons);
    Ok(Init {
        incarnation,
        secret: life.secret,
        listener: life.listener,
        signals,
        peers: BTreeMap::new(),
        next_peer: 0,
        epoch: 0,
        calls,
        doors: life.doors,
        end: longest.map(|longest| Instant::now() + longest),
    })
}

/// Waits for the name of a life.
fn summoned(summons: &File) -> io::Result<IncarnationId> {
    let mut name = String::new();
    summons.take(limits::MAX_HELLO_FRAME as u64).read_to_string(&mut name)?;
    name.parse().map_err(io::Error::other)
}

/// What the loop woke up for.
enum Wake {
    Signals,
    Listener,
    Server(u64, PollFlags),
    Call(nix::unistd::Pid),
}

impl Init {
    fn serve(&mut self) -> i32 {
        loop {
            let wakes = match self.wait() {
                Ok(wakes) => wakes,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(_) => return 1,
            };
            for wake in wakes {
                match wake {
                    Wake::Signals => while matches!(self.signals.read_signal(), Ok(Some(_))) {},
                    Wake::Listener => self.accept(),
                    Wake::Server(key, flags) => {
                        if self.attend(key, flags) {
                            return 0;
                        }
                    }
                    Wake::Call(pid) => self.calls.heard(pid),
                }
            }
            self.calls.tend();
            if self.end.is_some_and(|end| end <= Instant::now()) {
                return limits::TOO_OLD;
            }
            for call in self.calls.take_settled() {
                self.peers.values_mut().for_each(|server| server.owe(&call));
            }
            self.deliver();
            // After everything has left that somebody waits for.
            self.calls.prepare_again();
        }
    }

    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let room = self.peers.len() < limits::INIT_CONNECTIONS;
        fds.push(PollFd::new(self.listener.as_fd(), if room { PollFlags::POLLIN } else { PollFlags::empty() }));
        fds.extend(self.peers.values().map(|server| PollFd::new(server.peer.fd(), server.peer.interest())));
        fds.extend(self.calls.controls().map(|(_, fd)| PollFd::new(fd, PollFlags::POLLIN)));
        poll(&mut fds, self.timeout())?;
        let mut names = vec![Ok(Wake::Signals), Ok(Wake::Listener)];
        names.extend(self.peers.keys().map(|key| Err(*key)));
        names.extend(self.calls.controls().map(|(pid, _)| Ok(Wake::Call(pid))));
        let woken = fds.iter().zip(names).filter_map(|(fd, name)| {
            let flags = fd.revents().filter(|flags| !flags.is_empty())?;
            Some(name.unwrap_or_else(|key| Wake::Server(key, flags)))
        });
        Ok(woken.collect())
    }

    fn timeout(&self) -> PollTimeout {
        let hello =
            self.peers.values().filter(|server| !server.peer.greeted).map(|server| server.peer.since + limits::HELLO_DEADLINE).min();
        match [hello, self.calls.next_deadline(), self.end].into_iter().flatten().min() {
            // Rounded up: waking too early would only mean to wait again.
            Some(at) => {
                PollTimeout::try_from(at.saturating_duration_since(Instant::now()) + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(peer) = Peer::new(stream)
        {
            self.peers.insert(self.next_peer, peers::Server::new(peer));
            self.next_peer += 1;
        }
    }
}
