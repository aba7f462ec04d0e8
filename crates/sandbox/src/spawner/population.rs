//! Who lives, who is being born and who waits for a session, and how these follow from what servers ask.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use ostler_core::hex::hex;
use ostler_core::ids::{IncarnationId, SessionId};

use super::birth::{self, Birth, Born};
use super::directory::Slots;
use super::disk_guard::DiskGuard;
use super::ending::Why;
use super::life::{self, Sandbox, Wish};
use super::{Launch, directory, log, refused};
use crate::cgroup::{Groups, Usage};
use crate::confine::LayerError;
use crate::protocol::spawner::{Answer, Listed};
use crate::spec::SandboxSpec;
use crate::sys::{self, Alone};
use crate::{erase, layout, limits};

/// Answers, and the connections that they are for.
pub(super) type Answers = Vec<(u64, Answer)>;

/// For whom a sandbox is started.
#[derive(Debug)]
enum Purpose {
    Session { id: SessionId, incarnation: IncarnationId, peer: u64 },
    Spare { spec: SandboxSpec },
}

/// A sandbox without a session. It is given to one, and never to a second.
#[derive(Debug)]
struct Spare {
    born: Born,
    spec: SandboxSpec,
}

/// What the last server said that it wants.
#[derive(Debug)]
struct Wanted {
    spares: usize,
    spec: SandboxSpec,
    orphan_ttl: Duration,
    /// When it said so.
    at: Instant,
}

pub(super) struct Population {
    alone: Alone,
    launch: Launch,
    slots: Slots,
    groups: Groups,
    sandboxes: BTreeMap<SessionId, Sandbox>,
    births: Vec<(Purpose, Birth)>,
    spares: Vec<Spare>,
    wanted: Option<Wanted>,
    /// The limits with which no spare could be made.
    barren: Option<SandboxSpec>,
    /// When something was last started for a session.
    busy: Instant,
    ending: bool,
    disk_guard: DiskGuard,
}

/// What the loop waits for.
#[derive(Debug, Clone)]
pub(super) enum Watched {
    Birth(usize),
    Life(SessionId),
}

impl Population {
    pub(super) fn new(alone: Alone, launch: Launch) -> std::io::Result<Self> {
        let sandboxes = life::survivors(&launch.dir)?;
        let groups = Groups::find(&launch.dir);
        let slots = Slots::read(&launch.dir)?;
        let population = Self {
            alone,
            launch,
            slots,
            groups,
            sandboxes,
            births: Vec::new(),
            spares: Vec::new(),
            wanted: None,
            barren: None,
            busy: Instant::now(),
            ending: false,
            disk_guard: DiskGuard::new(),
        };
        population.sweep();
        Ok(population)
    }

    /// Removes what spares of an earlier spawner left; they ended with it.
    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.launch.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(layout::SPARE)) {
                // What cannot be removed is tried again by the next spawner.
                let _ = erase::directory(&entry.path());
            }
        }
    }

    /// Everything to wait for, until when at the latest.
    pub(super) fn watched(&self) -> impl Iterator<Item = (Watched, BorrowedFd<'_>)> {
        let births = self.births.iter().enumerate().map(|(at, (_, birth))| (Watched::Birth(at), birth.fd()));
        births.chain(self.sandboxes.iter().map(|(id, sandbox)| (Watched::Life(id.clone()), sandbox.fd())))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let births = self.births.iter().map(|(_, birth)| birth.deadline);
        let spare = (self.lacks_spares() && self.births.is_empty()).then(|| self.busy + limits::SPARE_AFTER);
        let orphan = self.wanted.as_ref().and_then(|wanted| {
            let oldest = self.sandboxes.values().filter(|sandbox| !sandbox.is_dying).map(|sandbox| sandbox.needed).min();
            let is_empty = self.sandboxes.is_empty() && self.births.is_empty();
            oldest.or(is_empty.then_some(wanted.at)).map(|since| since + wanted.orphan_ttl)
        });
        let disk = (!self.sandboxes.is_empty()).then_some(self.disk_guard.next);
        births.chain(spare).chain(orphan).chain(disk).min()
    }

    fn lacks_spares(&self) -> bool {
        if self.wanted.as_ref().is_some_and(|wanted| self.barren.as_ref() == Some(&wanted.spec)) {
            return false;
        }
        let waiting = self.spares.len() + self.births.iter().filter(|(purpose, _)| matches!(purpose, Purpose::Spare { .. })).count();
        !self.ending && self.wanted.as_ref().is_some_and(|wanted| waiting < wanted.spares) && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.sandboxes.len() + self.births.len() + self.spares.len() < limits::SANDBOXES
    }

    /// Starts a sandbox. The answer comes later, unless it is refused; and what others are told.
    pub(super) fn create(&mut self, peer: u64, id: SessionId, incarnation: IncarnationId, spec: SandboxSpec) -> (Option<Answer>, Answers) {
        if let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|_| !self.ending) {
            sandbox.kill();
            // Who asked before has given up, or is about to.
            let earlier = sandbox.next.replace(Wish { peer, incarnation, spec });
            let told = earlier.map(|earlier| (earlier.peer, refused("spawner", "it was asked for again".into(), "wait for it")));
            return (None, told.into_iter().collect());
        }
        (self.start(peer, id, incarnation, spec), Vec::new())
    }

    /// Starts a sandbox of which nothing lives.
    fn start(&mut self, peer: u64, id: SessionId, incarnation: IncarnationId, spec: SandboxSpec) -> Option<Answer> {
        if self.ending {
            return Some(refused("spawner", "it is shutting down".into(), "try again"));
        }
        if self.births.iter().any(|(purpose, _)| matches!(purpose, Purpose::Session { id: other, .. } if *other == id)) {
            return Some(refused("spawner", "a sandbox of this id is being started".into(), "wait for it"));
        }
        self.busy = Instant::now();
        if let Some(born) = self.summoned(&id, &incarnation, &spec) {
            return Some(self.live(id, incarnation, born));
        }
        if !self.has_room() && !self.drop_spare() {
            let alive = self.sandboxes.len() + self.births.len();
            return Some(refused("spawner", format!("{alive} sandboxes are alive"), "end some sessions"));
        }
        match birth::begin(&self.alone, &self.launch, &mut self.slots, &mut self.groups, id.as_str(), Some(&incarnation), &spec) {
            Ok(birth) => {
                self.births.push((Purpose::Session { id, incarnation, peer }, birth));
                None
            }
            Err(error) => Some(refused(&error.layer, error.reason, &error.remedy)),
        }
    }

    /// One that waited, if the session has no files yet and wants what it has.
    fn summoned(&mut self, id: &SessionId, incarnation: &IncarnationId, spec: &SandboxSpec) -> Option<Born> {
        let path = self.launch.dir.join(id.as_str());
        if path.exists() {
            return None;
        }
        while let Some(at) = self.spares.iter().position(|spare| spare.spec == *spec) {
            let mut spare = self.spares.remove(at);
            let name = spare.born.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            match spare.born.summon(path.clone(), incarnation) {
                Ok(()) => {
                    self.slots.renamed(&name, id.as_str());
                    return Some(spare.born);
                }
                // It died while it waited.
                Err(_) => self.discard(spare.born),
            }
        }
        None
    }

    fn live(&mut self, id: SessionId, incarnation: IncarnationId, mut born: Born) -> Answer {
        let (ids, layers) = (born.ids, std::mem::take(&mut born.layers));
        self.sandboxes.insert(id.clone(), Sandbox::child(incarnation.clone(), born));
        Answer::Created { sandbox_id: id, incarnation, ids, layers }
    }

    /// Kills a sandbox. The answer comes once nothing of it is left.
    pub(super) fn kill(&mut self, peer: u64, id: SessionId) -> (Option<Answer>, Answers) {
        let mut answers = Vec::new();
        let under_way = self.births.iter().position(|(purpose, _)| matches!(purpose, Purpose::Session { id: other, .. } if *other == id));
        if let Some(at) = under_way {
            let (purpose, birth) = self.births.remove(at);
            self.groups.remove(&birth.end());
            if let Purpose::Session { peer, .. } = purpose {
                answers.push((peer, refused("spawner", "it was killed while it started".into(), "try again")));
            }
            return (Some(Answer::Killed { sandbox_id: id, was_alive: true }), answers);
        }
        let Some(sandbox) = self.sandboxes.get_mut(&id) else {
            return (Some(Answer::Killed { sandbox_id: id, was_alive: false }), answers);
        };
        sandbox.mourners.push(peer);
        sandbox.kill();
        if let Some(wish) = sandbox.next.take() {
            answers.push((wish.peer, refused("spawner", "it was killed before it started".into(), "try again")));
        }
        (None, answers)
    }

    /// Makes the directory of a sandbox that is started elsewhere.
    pub(super) fn prepare(&mut self, id: SessionId) -> Answer {
        match directory::prepare_for_engine(&self.launch, &mut self.slots, id.as_str()) {
            Ok(first_id) => Answer::Prepared { sandbox_id: id, first_id },
            Err(error) => refused(&error.layer, error.reason, &error.remedy),
        }
    }

    pub(super) fn list(&self) -> Answer {
        let now = sys::boot_ms();
        let listed = self.sandboxes.iter().map(|(id, sandbox)| {
            let Usage { memory_bytes, processes, cpu_micros } = self.groups.usage(&sandbox.group);
            Listed {
                sandbox_id: id.clone(),
                incarnation: sandbox.incarnation.clone(),
                age_ms: now.saturating_sub(sandbox.born),
                memory_bytes,
                processes,
                cpu_ms: cpu_micros.map(|micros| micros / 1_000),
            }
        });
        Answer::Sandboxes { sandboxes: listed.collect(), spares: u32::try_from(self.spares.len()).unwrap_or(u32::MAX) }
    }

    pub(super) fn attend(&mut self, needed: &[SessionId], orphan_ttl: Duration, spares: u32, spec: SandboxSpec) -> Answer {
        let (now, orphan_ttl) = (Instant::now(), orphan_ttl.min(limits::ORPHAN_TTL_MOST));
        for id in needed {
            if let Some(sandbox) = self.sandboxes.get_mut(id) {
                sandbox.needed = now;
            }
        }
        let spares = usize::try_from(spares).unwrap_or(usize::MAX).min(limits::SPARES);
        while self.spares.len() > spares || self.spares.iter().any(|spare| spare.spec != spec) {
            self.drop_spare();
        }
        self.wanted = Some(Wanted { spares, spec, orphan_ttl, at: now });
        Answer::Attended
    }

    /// Hears a child that is being born.
    pub(super) fn hear(&mut self, at: usize) -> Answers {
        let Some((_, birth)) = self.births.get_mut(at) else { return Vec::new() };
        let Some(outcome) = birth.hear() else { return Vec::new() };
        let (purpose, birth) = self.births.remove(at);
        match (purpose, outcome) {
            (Purpose::Session { id, incarnation, peer }, Ok(layers)) => {
                let answer = self.live(id, incarnation, birth.born(layers));
                vec![(peer, answer)]
            }
            (Purpose::Session { peer, .. }, Err(LayerError { layer, reason, remedy })) => {
                self.groups.remove(&birth.end());
                vec![(peer, refused(&layer, reason, &remedy))]
            }
            (Purpose::Spare { spec }, Ok(layers)) if !self.ending => {
                self.spares.push(Spare { born: birth.born(layers), spec });
                Vec::new()
            }
            (Purpose::Spare { .. }, outcome) => {
                self.discard(birth.born(Vec::new()));
                if let Err(LayerError { layer, reason, .. }) = outcome {
                    self.give_up_spares(&layer, &reason);
                }
                Vec::new()
            }
        }
    }

    /// One has died.
    pub(super) fn bury(&mut self, id: &SessionId) -> Answers {
        let Some(sandbox) = self.sandboxes.remove(id) else { return Vec::new() };
        sandbox.bury(&self.launch.dir.join(id.as_str()), self.groups.killed_for_memory(&sandbox.group));
        self.groups.remove(&sandbox.group);
        let killed = Answer::Killed { sandbox_id: id.clone(), was_alive: true };
        let mut answers: Answers = sandbox.mourners.into_iter().map(|peer| (peer, killed.clone())).collect();
        if let Some(Wish { peer, incarnation, spec }) = sandbox.next {
            answers.extend(self.start(peer, id.clone(), incarnation, spec).map(|answer| (peer, answer)));
        }
        answers
    }

    /// What time brings: births that take too long, orphans, and spares when nothing else is to be done.
    pub(super) fn tend(&mut self) -> Answers {
        let now = Instant::now();
        let mut answers = Vec::new();
        while let Some(at) = self.births.iter().position(|(_, birth)| birth.deadline <= now) {
            answers.extend(self.hear(at));
        }
        if let Some(Wanted { orphan_ttl, at, .. }) = self.wanted {
            for sandbox in self.sandboxes.values_mut().filter(|sandbox| sandbox.needed + orphan_ttl <= now && !sandbox.is_dying) {
                sandbox.kill();
            }
            // A server that was there is gone for good.
            self.ending |= at + orphan_ttl <= now && self.sandboxes.is_empty() && self.births.is_empty();
        }
        let living = self.sandboxes.iter().filter(|(_, sandbox)| !sandbox.is_dying).map(|(id, _)| id);
        if let Some(id) = self.disk_guard.look(&self.launch.dir, living)
            && let Some(sandbox) = self.sandboxes.get_mut(&id)
        {
            log(&format!("{id} is ended: the disk is nearly full, and it was writing most"));
            sandbox.kill_because(Why::Disk);
        }
        if self.lacks_spares() && self.births.is_empty() && self.busy + limits::SPARE_AFTER <= now {
            self.start_spare();
        }
        answers
    }

    fn start_spare(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let name = sys::random::<8>().map(|bytes| format!("{}{}", layout::SPARE, hex(bytes)));
        let begun = name
            .map_err(|error| LayerError::new("spare", error, ""))
            .and_then(|name| birth::begin(&self.alone, &self.launch, &mut self.slots, &mut self.groups, &name, None, &wanted.spec));
        match begun {
            Ok(birth) => self.births.push((Purpose::Spare { spec: wanted.spec.clone() }, birth)),
            Err(LayerError { layer, reason, .. }) => self.give_up_spares(&layer, &reason),
        }
    }

    /// None can be had like this, so none is tried until something else is wanted. Sessions are told why.
    fn give_up_spares(&mut self, layer: &str, reason: &str) {
        log(&format!("no sandbox can be made ready: {layer}: {reason}"));
        self.barren = self.wanted.as_ref().map(|wanted| wanted.spec.clone());
    }

    fn drop_spare(&mut self) -> bool {
        let spare = self.spares.pop();
        let dropped = spare.is_some();
        if let Some(spare) = spare {
            self.discard(spare.born);
        }
        dropped
    }

    /// Ends one without a session, with all that was made for it.
    fn discard(&mut self, born: Born) {
        let _ = sys::kill_pidfd(&born.pidfd);
        let _ = nix::sys::wait::waitpid(born.pid, None);
        self.groups.remove(&born.group);
        let _ = erase::directory(&born.path);
    }

    /// Begins to end everything.
    pub(super) fn end(&mut self) {
        self.ending = true;
        for sandbox in self.sandboxes.values_mut() {
            sandbox.next = None;
            sandbox.kill();
        }
        for (_, birth) in std::mem::take(&mut self.births) {
            self.groups.remove(&birth.end());
        }
    }

    /// Whether everything has ended.
    pub(super) fn is_over(&mut self) -> bool {
        if !self.ending || !self.sandboxes.is_empty() {
            return false;
        }
        while self.drop_spare() {}
        self.groups.close();
        true
    }
}
