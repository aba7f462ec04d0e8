//! The calls of one life: each id runs at most once. A call is settled when its result is on disk
//! (in memory, if it has no place there) and, if it was ended, none of its processes is left.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::ids::EventId;
use serde_json::Value;

use super::{Kept, processes};
use crate::call::{self, Job, Told};
use crate::limits;
use crate::protocol::init::{CallState, KnownCall};
use crate::spec::SandboxSpec;
use crate::sys::{self, Alone, Side};

/// What a call is to be run with.
pub(super) struct Asked {
    pub(super) input: Value,
    pub(super) timeout_ms: Option<u64>,
    pub(super) environment: BTreeMap<String, String>,
}

/// What became of a request to run a call.
pub(super) enum Taken {
    Running,
    Settled,
    Refused(String),
}

enum Progress {
    Running,
    Settled,
    Acknowledged,
}

/// A process that init forked for a call: a file tool, or the supervisor of a shell.
struct Worker {
    call: EventId,
    control: UnixStream,
    /// Whether it listens on `control`; a file tool does not and is just killed.
    is_supervisor: bool,
    /// When init ends it, whatever it does.
    deadline: Instant,
    /// How its call ends if it leaves no result.
    end: CallEnd,
    settled: bool,
    /// Until when its shell may leave its state; nothing is left to wait for afterwards.
    leaving: Option<Instant>,
    /// Whether there is nothing more to hear from it.
    hung_up: bool,
}

/// A supervisor with a shell that waits for the next call.
struct Waiting {
    pid: Pid,
    control: UnixStream,
    /// When it has waited long enough.
    until: Instant,
}

pub(super) struct Calls {
    alone: Alone,
    spec: SandboxSpec,
    kept: Kept,
    progress: HashMap<EventId, Progress>,
    workers: HashMap<Pid, Worker>,
    /// Those that wait; the first has waited longest.
    waiting: VecDeque<Waiting>,
    /// Calls of shells that start once the state of the shell before them is left.
    queued: VecDeque<Job>,
    /// Calls whose worker is gone without a result; they settle when its processes are gone too.
    orphaned: Vec<(EventId, CallEnd)>,
    sweeping: bool,
    settled: Vec<EventId>,
    /// Whether the shell that waited has its call.
    lacks_shell: bool,
    /// Results for which there was no place on disk.
    unstored: HashMap<EventId, CallOutcome>,
}

impl Calls {
    pub(super) fn new(alone: Alone, spec: SandboxSpec, kept: Kept) -> Self {
        Self {
            alone,
            spec,
            kept,
            progress: HashMap::new(),
            workers: HashMap::new(),
            waiting: VecDeque::new(),
            queued: VecDeque::new(),
            orphaned: Vec::new(),
            sweeping: false,
            settled: Vec::new(),
            lacks_shell: false,
            unstored: HashMap::new(),
        }
    }

    pub(super) fn take(&mut self, call: &EventId, tool: &str, asked: Asked) -> Taken {
        match self.progress.get(call) {
            Some(Progress::Running) => return Taken::Running,
            Some(Progress::Settled) => return Taken::Settled,
            Some(Progress::Acknowledged) => return Taken::Refused("this call has run and its result was acknowledged".into()),
            None => {}
        }
        if self.progress.len() >= limits::REMEMBERED_CALLS {
            return Taken::Refused("this sandbox has run as many calls as it can remember; stop it, the next one keeps its files".into());
        }
        if let Err(error) = self.kept.received(call) {
            return Taken::Refused(format!("the call cannot be written down: {error}; check the space of the data directory"));
        }
        self.progress.insert(call.clone(), Progress::Running);
        if self.workers.len() >= limits::LIVE_CALLS {
            self.settle_as(
                call,
                "Not run: too many earlier commands still have background processes. Stop some of them first.",
                CallEnd::NotRun,
            );
            return Taken::Running;
        }
        let mut job = Job::new(call.clone(), tool, asked.input, asked.timeout_ms, &self.spec);
        job.set_environment(&asked.environment);
        if job.needs_state() && self.is_state_to_come() {
            self.queued.push_back(job);
        } else {
            self.start_or_settle(job);
        }
        Taken::Running
    }

    /// Whether a shell whose command has ended has not left its state yet.
    fn is_state_to_come(&self) -> bool {
        !self.queued.is_empty() || self.workers.values().any(|worker| worker.leaving.is_some())
    }

    /// Starts what waited for the state that is there now.
    fn start_queued(&mut self) {
        if self.workers.values().any(|worker| worker.leaving.is_some()) {
            return;
        }
        for job in std::mem::take(&mut self.queued) {
            self.start_or_settle(job);
        }
    }

    fn start_or_settle(&mut self, mut job: Job) {
        if job.is_shell() && self.is_crowded() && self.make_room() {
            job.notice = Some(ROOM_WAS_MADE.into());
        }
        if let Err(error) = self.start(&job) {
            let text = format!("Not run: no process could be started ({error}). Stop background processes first.");
            self.settle_as(&job.call, &text, CallEnd::NotRun);
        }
    }

    fn start(&mut self, job: &Job) -> std::io::Result<()> {
        let (call, is_supervisor) = (job.call.clone(), job.is_shell());
        let grace = if is_supervisor { limits::SUPERVISOR_GRACE } else { Duration::ZERO };
        let deadline = Instant::now() + Duration::from_millis(job.timeout_ms) + grace;
        let waiting = if is_supervisor { self.waiting.pop_front() } else { None };
        let (pid, control) = match waiting {
            // One that died is reaped as any other child; nothing of the call can have happened.
            Some(waiting) if matches!(job.say(&waiting.control), Ok(true)) => (waiting.pid, waiting.control),
            _ => self.fork(Some(job))?,
        };
        self.lacks_shell |= is_supervisor;
        let worker =
            Worker { call, control, is_supervisor, deadline, end: CallEnd::Finished, settled: false, leaving: None, hung_up: false };
        self.workers.insert(pid, worker);
        Ok(())
    }

    /// Whether a command would find no room for its processes.
    fn is_crowded(&self) -> bool {
        let most = self.spec.max_processes.max(limits::LEAST_PROCESSES);
        self.kept.meters.tasks().unwrap_or_else(processes::count) > most - limits::ROOM_FOR_A_CALL.min(most / 8)
    }

    /// Ends what calls left behind that are over, so that a bomb does not close the sandbox to every
    /// other command. Whether nothing of it is left.
    fn make_room(&mut self) -> bool {
        self.waiting.clear();
        let running: HashSet<Pid> =
            self.workers.iter().filter(|(_, worker)| !worker.settled || worker.leaving.is_some()).map(|(pid, _)| *pid).collect();
        // What forks during one round is found by the next; in a few there is none that still can.
        (0..limits::ROOM_ROUNDS).any(|_| {
            let found = processes::kill_descendants(Pid::this(), &running);
            while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                match status.pid() {
                    Some(pid) => self.reap(pid),
                    None => break,
                }
            }
            found == 0
        })
    }

    fn fork(&self, job: Option<&Job>) -> std::io::Result<(Pid, UnixStream)> {
        let (own, theirs) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        match sys::fork(&self.alone)? {
            Side::Child => call::run(&self.alone, &self.kept, job.cloned(), theirs),
            Side::Parent(pid) => Ok((pid, own)),
        }
    }

    /// Has a shell ready for the call after this one, if this one took it.
    pub(super) fn prepare_again(&mut self) {
        if std::mem::take(&mut self.lacks_shell) && self.waiting.is_empty() {
            self.prepare();
        }
    }

    /// Has a shell ready for the next call.
    pub(super) fn prepare(&mut self) {
        // Without one, the next call starts its own.
        if let Ok((pid, control)) = self.fork(None) {
            self.wait_for_call(pid, control);
        }
    }

    fn wait_for_call(&mut self, pid: Pid, control: UnixStream) {
        // One that is given up ends when it hears that it has no call.
        self.waiting.truncate(limits::SHELLS_WAITING - 1);
        self.waiting.push_back(Waiting { pid, control, until: Instant::now() + limits::SHELL_WAITS });
    }

    /// From now on the shell that is ready waits for a call; before there was nobody who could give one.
    pub(super) fn begin_waiting(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.until = Instant::now() + limits::SHELL_WAITS);
    }

    pub(super) fn cancel(&mut self, call: &EventId) {
        if let Some(at) = self.queued.iter().position(|job| job.call == *call) {
            self.queued.remove(at);
            return self.settle_as(call, "Interrupted before it ran.", CallEnd::Cancelled);
        }
        let Some((pid, worker)) = self.workers.iter_mut().find(|(_, worker)| worker.call == *call && !worker.settled) else { return };
        worker.end = CallEnd::Cancelled;
        worker.deadline = worker.deadline.min(Instant::now() + limits::SUPERVISOR_GRACE);
        // A supervisor ends its call and says so; if it cannot be told, it is ended itself.
        if !worker.is_supervisor || worker.control.write_all(&[Told::Cancel as u8]).is_err() {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    pub(super) fn acknowledge(&mut self, call: &EventId) {
        if let Some(progress @ Progress::Settled) = self.progress.get_mut(call) {
            *progress = Progress::Acknowledged;
            self.unstored.remove(call);
            self.kept.forget(call);
        }
    }

    pub(super) fn is_settled(&self, call: &EventId) -> bool {
        matches!(self.progress.get(call), Some(Progress::Settled))
    }

    pub(super) fn known(&self) -> Vec<KnownCall> {
        let state = |progress: &Progress| match progress {
            Progress::Running => Some(CallState::Running),
            Progress::Settled => Some(CallState::Finished),
            Progress::Acknowledged => None,
        };
        self.progress.iter().filter_map(|(call, progress)| Some(KnownCall { call_id: call.clone(), state: state(progress)? })).collect()
    }

    pub(super) fn result(&self, call: &EventId) -> Option<Vec<u8>> {
        if !self.is_settled(call) {
            return None;
        }
        if let Some(outcome) = self.unstored.get(call) {
            return serde_json::to_vec(outcome).ok();
        }
        self.kept.result(call).ok().flatten().or_else(|| serde_json::to_vec(&lost_result()).ok())
    }

    pub(super) fn take_settled(&mut self) -> Vec<EventId> {
        std::mem::take(&mut self.settled)
    }

    pub(super) fn controls(&self) -> impl Iterator<Item = (Pid, BorrowedFd<'_>)> {
        self.workers.iter().filter(|(_, worker)| !worker.hung_up).map(|(pid, worker)| (*pid, worker.control.as_fd()))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let sweep = self.sweeping.then(|| Instant::now() + limits::KILL_PAUSE);
        let waiting = self.waiting.iter().map(|waiting| waiting.until);
        let leaving = self.workers.values().filter_map(|worker| worker.leaving);
        let running = self.workers.values().filter(|worker| !worker.settled).map(|worker| worker.deadline);
        running.chain(leaving).chain(sweep).chain(waiting).min()
    }

    /// A worker said that its result is there or that its state is, or closed its end and is about to be reaped.
    pub(super) fn heard(&mut self, pid: Pid) {
        let Some(worker) = self.workers.get_mut(&pid) else { return };
        let mut bytes = [0; 3];
        let Ok(count) = worker.control.read(&mut bytes) else { return };
        worker.hung_up = count == 0;
        for byte in &bytes[..count] {
            let Some(worker) = self.workers.get_mut(&pid) else { return };
            if *byte == Told::Left as u8 {
                worker.leaving = None;
            } else if *byte == Told::Free as u8 && worker.settled {
                if let Some(free) = self.workers.remove(&pid) {
                    self.wait_for_call(pid, free.control);
                }
            } else if !worker.settled && self.kept.is_settled(&worker.call) {
                worker.settled = true;
                worker.leaving = worker.is_supervisor.then(|| Instant::now() + limits::SHELL_LEAVES + limits::SUPERVISOR_GRACE);
                let call = worker.call.clone();
                self.settle(call);
            }
        }
        self.start_queued();
    }

    /// Reaps what ended, ends what is late, and sweeps up what lost its supervisor.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        self.waiting.retain(|waiting| waiting.until > now);
        for (pid, worker) in &mut self.workers {
            if !worker.settled && worker.deadline <= now {
                if worker.end == CallEnd::Finished {
                    worker.end = CallEnd::TimedOut;
                }
                let _ = kill(*pid, Signal::SIGKILL);
                worker.deadline = now + limits::SUPERVISOR_GRACE;
            }
        }
        while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            match status.pid() {
                Some(pid) => self.reap(pid),
                None => break,
            }
        }
        for worker in self.workers.values_mut().filter(|worker| worker.leaving.is_some_and(|until| until <= now)) {
            worker.leaving = None;
        }
        self.start_queued();
        if self.sweeping {
            let live: HashSet<Pid> = self.workers.keys().copied().chain(self.waiting.iter().map(|waiting| waiting.pid)).collect();
            if processes::kill_descendants(Pid::this(), &live) == 0 {
                self.sweeping = false;
                for (call, end) in std::mem::take(&mut self.orphaned) {
                    self.settle_as(&call, unfinished(end), end);
                }
            }
        }
    }

    fn reap(&mut self, pid: Pid) {
        self.waiting.retain(|waiting| waiting.pid != pid);
        let Some(worker) = self.workers.remove(&pid) else { return };
        // Whatever lived under a supervisor now lives under init.
        self.sweeping |= worker.is_supervisor || !worker.settled;
        if worker.settled {
            return;
        }
        if self.kept.is_settled(&worker.call) {
            self.settle(worker.call);
        } else {
            self.orphaned.push((worker.call, worker.end));
        }
    }

    fn settle_as(&mut self, call: &EventId, text: &str, end: CallEnd) {
        if let Err(error) = self.kept.settle(call, &CallOutcome::text(text, true, end)) {
            let text = format!("{text} Nothing can be stored: {error}.");
            self.unstored.insert(call.clone(), CallOutcome::text(text, true, end));
        }
        self.settle(call.clone());
    }

    fn settle(&mut self, call: EventId) {
        self.progress.insert(call.clone(), Progress::Settled);
        self.settled.push(call);
    }
}

const ROOM_WAS_MADE: &str =
    "[background processes of earlier commands were ended: with them the sandbox had as many processes as it may have]";

/// What is said in the place of a result that cannot be read or sent.
pub(super) fn lost_result() -> CallOutcome {
    CallOutcome::text("The call has ended, but its result could not be read.", true, CallEnd::OutcomeUnknown)
}

fn unfinished(end: CallEnd) -> &'static str {
    match end {
        CallEnd::TimedOut => "The call took too long and was stopped.",
        CallEnd::Cancelled => "The call was interrupted and stopped.",
        CallEnd::Finished | CallEnd::OutcomeUnknown | CallEnd::NotRun => {
            "The tool was killed before it had a result; it may have run out of memory, or a command killed it."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls whose results are kept in `dir`.
    fn calls(dir: &std::path::Path) -> Calls {
        Calls::new(Alone::for_test(), SandboxSpec::default(), Kept::in_directory(dir))
    }

    fn answer(calls: &Calls, call: &EventId) -> CallOutcome {
        serde_json::from_slice(&calls.result(call).unwrap()).unwrap()
    }

    #[test]
    fn a_result_without_a_place_on_disk_is_answered_from_memory_until_it_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let mut calls = calls(dir.path());
        std::fs::remove_dir_all(dir.path().join(crate::layout::RESULTS)).unwrap();
        let call: EventId = "sevt_1".parse().unwrap();
        calls.settle_as(&call, "Not run.", CallEnd::NotRun);
        assert_eq!(calls.take_settled(), std::slice::from_ref(&call));
        let outcome = answer(&calls, &call);
        assert_eq!((outcome.end, outcome.is_error), (CallEnd::NotRun, true));
        assert!(outcome.content[0]["text"].as_str().unwrap().starts_with("Not run. Nothing can be stored"), "{outcome:?}");
        calls.acknowledge(&call);
        assert_eq!(calls.result(&call), None);
        assert!(calls.unstored.is_empty());
    }

    #[test]
    fn a_result_that_cannot_be_read_back_is_answered_as_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let mut calls = calls(dir.path());
        let call: EventId = "sevt_1".parse().unwrap();
        calls.settle_as(&call, "Not run.", CallEnd::NotRun);
        assert_eq!(answer(&calls, &call).end, CallEnd::NotRun);
        std::fs::remove_file(dir.path().join(crate::layout::RESULTS).join("sevt_1")).unwrap();
        assert_eq!(answer(&calls, &call), lost_result());
    }
}
