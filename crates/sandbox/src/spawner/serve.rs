//! The spawner's loop: connections of servers, their requests, and the ends of sandboxes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ostler_core::ids::{IncarnationId, SessionId};

use super::life::{self, Sandbox};
use super::{Launch, birth, directory};
use crate::cgroup::Groups;
use crate::peer::Peer;
use crate::protocol::spawner::{Answer, Listed, Request};
use crate::protocol::{self, VERSION};
use crate::spec::SandboxSpec;
use crate::sys::Alone;
use crate::{layout, limits};

pub(super) struct Spawner {
    alone: Alone,
    launch: Launch,
    listener: UnixListener,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
    sandboxes: BTreeMap<SessionId, Sandbox>,
    groups: Groups,
    ending: bool,
    /// Held for life.
    _lock: Flock<File>,
}

/// What the loop woke up for.
enum Wake {
    Listener,
    Peer(u64, PollFlags),
    Dead(SessionId),
}

impl Spawner {
    pub(super) fn new(alone: Alone, launch: Launch, lock: Flock<File>) -> io::Result<Self> {
        let sandboxes = life::survivors(&launch.dir)?;
        let listener = directory::listen(&launch.dir, layout::SPAWNER_SOCKET)?;
        let groups = Groups::find(&launch.dir);
        Ok(Self { alone, launch, listener, peers: BTreeMap::new(), next_peer: 0, sandboxes, groups, ending: false, _lock: lock })
    }

    /// Runs until told to shut down; returns the exit code.
    pub(super) fn run(&mut self) -> i32 {
        loop {
            let wakes = match self.wait() {
                Ok(wakes) => wakes,
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                Err(_) => return 1,
            };
            for wake in wakes {
                match wake {
                    Wake::Listener => self.accept(),
                    Wake::Peer(key, flags) => self.attend(key, flags),
                    Wake::Dead(id) => self.bury(&id),
                }
            }
            self.peers.retain(|_, peer| peer.greeted || peer.since.elapsed() < limits::HELLO_DEADLINE);
            self.peers.retain(|_, peer| !(peer.leaving && peer.is_idle()));
            if self.ending && self.sandboxes.is_empty() {
                for peer in self.peers.values_mut() {
                    let _ = peer.send(&Answer::Bye);
                }
                self.groups.close();
                let _ = std::fs::remove_file(self.launch.dir.join(layout::SPAWNER_SOCKET));
                return 0;
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut fds = Vec::with_capacity(1 + self.peers.len() + self.sandboxes.len());
        let room = self.peers.len() < limits::SPAWNER_CONNECTIONS;
        fds.push(PollFd::new(self.listener.as_fd(), if room { PollFlags::POLLIN } else { PollFlags::empty() }));
        fds.extend(self.peers.values().map(|peer| PollFd::new(peer.fd(), peer.interest())));
        fds.extend(self.sandboxes.values().map(|sandbox| PollFd::new(sandbox.fd(), PollFlags::POLLIN)));
        let strangers = self.peers.values().any(|peer| !peer.greeted);
        let timeout = if strangers { PollTimeout::try_from(limits::HELLO_DEADLINE).unwrap_or(PollTimeout::MAX) } else { PollTimeout::NONE };
        poll(&mut fds, timeout)?;
        let names =
            std::iter::once(None).chain(self.peers.keys().map(|key| Some(Ok(*key)))).chain(self.sandboxes.keys().map(|id| Some(Err(id))));
        let woken = fds.iter().zip(names).filter_map(|(fd, name)| {
            let flags = fd.revents().filter(|flags| !flags.is_empty())?;
            Some(match name {
                None => Wake::Listener,
                Some(Ok(key)) => Wake::Peer(key, flags),
                Some(Err(id)) => Wake::Dead(id.clone()),
            })
        });
        Ok(woken.collect())
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
            Request::Create { sandbox_id, incarnation, spec } => Some(self.create(&sandbox_id, &incarnation, &spec)),
            Request::Kill { sandbox_id } => match self.sandboxes.get_mut(&sandbox_id) {
                Some(sandbox) => {
                    sandbox.mourners.push(key);
                    sandbox.kill();
                    None
                }
                None => Some(Answer::Killed { sandbox_id, was_alive: false }),
            },
            Request::List => {
                let listed =
                    self.sandboxes.iter().map(|(id, sandbox)| Listed { sandbox_id: id.clone(), incarnation: sandbox.incarnation.clone() });
                Some(Answer::Sandboxes { sandboxes: listed.collect() })
            }
            Request::Shutdown => {
                self.ending = true;
                for sandbox in self.sandboxes.values() {
                    sandbox.kill();
                }
                None
            }
        }
    }

    fn create(&mut self, id: &SessionId, incarnation: &IncarnationId, spec: &SandboxSpec) -> Answer {
        if self.ending {
            return refused("spawner", "it is shutting down".into(), "try again");
        }
        if self.sandboxes.contains_key(id) {
            return refused("spawner", "a sandbox of this id is alive".into(), "end it first");
        }
        if self.sandboxes.len() >= limits::SANDBOXES {
            return refused("spawner", format!("{} sandboxes are alive", self.sandboxes.len()), "end some sessions");
        }
        match birth::create(&self.alone, &self.launch, &mut self.groups, id, incarnation, spec) {
            Ok(born) => {
                self.sandboxes.insert(id.clone(), Sandbox::child(incarnation.clone(), born.pid, born.pidfd));
                Answer::Created { sandbox_id: id.clone(), incarnation: incarnation.clone(), ids: born.ids, layers: born.layers }
            }
            Err(error) => {
                self.groups.remove(id.as_str());
                refused(&error.layer, error.reason, &error.remedy)
            }
        }
    }

    fn bury(&mut self, id: &SessionId) {
        let Some(sandbox) = self.sandboxes.remove(id) else { return };
        sandbox.bury(&self.launch.dir.join(id.as_str()));
        self.groups.remove(id.as_str());
        for key in sandbox.mourners {
            let told = self.peers.get_mut(&key).map(|peer| peer.send(&Answer::Killed { sandbox_id: id.clone(), was_alive: true }));
            if told.is_some_and(|told| told.is_err()) {
                self.peers.remove(&key);
            }
        }
    }
}

fn refused(layer: &str, reason: String, remedy: &str) -> Answer {
    Answer::Refused { layer: layer.into(), reason, remedy: remedy.into() }
}
