//! The spawner's loop: connections of servers, their requests, and the ends of sandboxes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::population::{Answers, Population, Watched};
use super::{Launch, directory, log, refused};
use crate::peer::Peer;
use crate::protocol::spawner::{Answer, Request};
use crate::protocol::{self, VERSION};
use crate::sys::Alone;
use crate::{layout, limits};

pub(super) struct Spawner {
    dir: PathBuf,
    listener: UnixListener,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
    population: Population,
    /// SIGTERM asks for the end of everything.
    signals: SignalFd,
    /// Held for life.
    _lock: Flock<File>,
}

/// What is waited for besides peers and sandboxes.
const OWN: usize = 2;

/// What the loop woke up for.
enum Wake {
    Asked,
    Listener,
    Peer(u64, PollFlags),
    Population(Watched),
}

impl Spawner {
    pub(super) fn new(alone: Alone, launch: Launch, lock: Flock<File>) -> io::Result<Self> {
        let (dir, listener) = (launch.dir.clone(), directory::listen(&launch.dir, layout::SPAWNER_SOCKET)?);
        let population = Population::new(alone, launch)?;
        let mut asked = SigSet::empty();
        asked.add(Signal::SIGTERM);
        asked.thread_block()?;
        let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, dir, listener, peers: BTreeMap::new(), next_peer: 0, population, _lock: lock })
    }

    /// Runs until told to shut down, or needed no more; returns the exit code.
    pub(super) fn run(&mut self) -> i32 {
        loop {
            let wakes = match self.wait() {
                Ok(wakes) => wakes,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(error) => {
                    log(&format!("waiting failed: {error}"));
                    return 1;
                }
            };
            // The last first: births are known by their place, and one that is over gives up its own.
            for wake in wakes.into_iter().rev() {
                match wake {
                    Wake::Asked => {
                        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
                        self.population.end();
                    }
                    Wake::Listener => self.accept(),
                    Wake::Peer(key, flags) => self.attend(key, flags),
                    Wake::Population(Watched::Birth(at)) => {
                        let answers = self.population.hear(at);
                        self.tell(answers);
                    }
                    Wake::Population(Watched::Life(id)) => {
                        let answers = self.population.bury(&id);
                        self.tell(answers);
                    }
                }
            }
            let answers = self.population.tend();
            self.tell(answers);
            self.peers.retain(|_, peer| peer.greeted || peer.since.elapsed() < limits::HELLO_DEADLINE);
            self.peers.retain(|_, peer| !(peer.leaving && peer.is_idle()));
            if self.population.is_over() {
                for peer in self.peers.values_mut() {
                    let _ = peer.send(&Answer::Bye);
                }
                let _ = std::fs::remove_file(self.dir.join(layout::SPAWNER_SOCKET));
                return 0;
            }
        }
    }

    fn tell(&mut self, answers: Answers) {
        for (key, answer) in answers {
            if self.peers.get_mut(&key).is_some_and(|peer| peer.send(&answer).is_err()) {
                self.peers.remove(&key);
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut fds = Vec::with_capacity(OWN + self.peers.len());
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        let room = self.peers.len() < limits::SPAWNER_CONNECTIONS;
        fds.push(PollFd::new(self.listener.as_fd(), if room { PollFlags::POLLIN } else { PollFlags::empty() }));
        fds.extend(self.peers.values().map(|peer| PollFd::new(peer.fd(), peer.interest())));
        let mut watched = Vec::new();
        for (name, fd) in self.population.watched() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            watched.push(name);
        }
        poll(&mut fds, self.timeout())?;
        let flags = |fd: &PollFd<'_>| fd.revents().filter(|flags| !flags.is_empty());
        let mut wakes: Vec<Wake> = flags(&fds[0]).map(|_| Wake::Asked).into_iter().collect();
        wakes.extend(flags(&fds[1]).map(|_| Wake::Listener));
        let peers = fds[OWN..].iter().zip(self.peers.keys());
        wakes.extend(peers.filter_map(|(fd, key)| Some(Wake::Peer(*key, flags(fd)?))));
        let others = fds[OWN + self.peers.len()..].iter().zip(watched);
        wakes.extend(others.filter_map(|(fd, name)| flags(fd).map(|_| Wake::Population(name))));
        Ok(wakes)
    }

    fn timeout(&self) -> PollTimeout {
        let stranger = self.peers.values().filter(|peer| !peer.greeted).map(|peer| peer.since + limits::HELLO_DEADLINE).min();
        match [stranger, self.population.next_deadline()].into_iter().flatten().min() {
            // Rounded up: waking too early would only mean to wait again.
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        let Ok(peer) = Peer::new(stream) else { return };
        let own = nix::unistd::geteuid();
        if peer.user().is_ok_and(|user| user == own.as_raw() || user == 0) {
            self.peers.insert(self.next_peer, peer);
            self.next_peer += 1;
        }
    }

    /// Takes the peer out, so that answering it and changing the rest do not conflict.
    fn attend(&mut self, key: u64, flags: PollFlags) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        if flags.contains(PollFlags::POLLOUT) && peer.flush().is_err() {
            return;
        }
        let readable = flags.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        if readable && !peer.receive().unwrap_or(false) {
            return;
        }
        loop {
            match peer.next::<Request>() {
                Ok(Some(request)) => {
                    let answer = self.answer(key, &mut peer, request);
                    if answer.is_some_and(|answer| peer.send(&answer).is_err()) {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    peer.leaving = true;
                    let _ = peer.send(&refused("protocol", error.to_string(), "use a server of the same release"));
                    break;
                }
            }
        }
        self.peers.insert(key, peer);
    }

    /// None where the answer comes later.
    fn answer(&mut self, key: u64, peer: &mut Peer, request: Request) -> Option<Answer> {
        match request {
            Request::Hello { version } if protocol::speaks(version) => {
                peer.greeted = true;
                Some(Answer::Welcome { version: VERSION })
            }
            Request::Hello { version } => {
                peer.leaving = true;
                Some(refused(
                    "protocol",
                    format!("the server speaks version {version} and this spawner {VERSION}"),
                    "end all sessions of the older release and its spawner, then start again",
                ))
            }
            _ if !peer.greeted => {
                peer.leaving = true;
                Some(refused("protocol", "no hello came first".into(), "use a server of the same release"))
            }
            Request::Create { sandbox_id, incarnation, spec } => {
                let (answer, others) = self.population.create(key, sandbox_id, incarnation, spec);
                self.tell(others);
                answer
            }
            Request::Kill { sandbox_id } => {
                let (answer, others) = self.population.kill(key, sandbox_id);
                self.tell(others);
                answer
            }
            Request::Prepare { sandbox_id } => Some(self.population.prepare(sandbox_id)),
            Request::List => Some(self.population.list()),
            Request::Attend { sandbox_ids, orphan_ttl_ms, spares, spec } => {
                Some(self.population.attend(&sandbox_ids, Duration::from_millis(orphan_ttl_ms), spares, spec))
            }
            Request::Shutdown => {
                self.population.end();
                None
            }
        }
    }
}
