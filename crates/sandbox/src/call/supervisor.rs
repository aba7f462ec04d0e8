//! The supervisor of one shell call: the reaper of everything that the call starts, daemons
//! included. It ends the call when bash ends, or ends everything when it is told to or late. What
//! the call left in the background lives on under it. It may be there before its call, with a shell
//! that waits.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ostler_core::call::{CallEnd, CallOutcome};
use serde::Deserialize;

use super::output::Output;
use super::shell::Shell;
use super::watch::Watch;
use super::{Job, Told, settle, shell};
use crate::init::{Kept, kill_descendants};
use crate::limits;
use crate::sys::{self, Alone};

#[derive(Debug, Deserialize)]
struct Input {
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    restart: bool,
}

struct Supervisor {
    shell: Pid,
    /// Whether it has ended.
    is_gone: bool,
    signals: SignalFd,
    control: UnixStream,
    /// Gone once nobody holds the other end.
    pipe: Option<File>,
    deadline: Instant,
    /// Where the kernel does not limit everything.
    watch: Option<Watch>,
}

/// Prepares a shell, waits for its call, which init may never have, and runs it; again and again, as long as
/// nothing is left in the background of a call.
pub(super) fn wait_and_run(alone: &Alone, kept: &Kept, control: &UnixStream) {
    if become_supervisor().is_err() {
        return;
    }
    let mut prepared = Shell::prepare(alone, kept.has_doors);
    while let Ok(shell) = prepared {
        let is_settled = match control.set_nonblocking(false).and_then(|()| Job::hear(control)) {
            Ok(job) => perform(alone, kept, &job, control, Some(shell)),
            Err(_) => return shell.end(),
        };
        // Only without children is it as if it was new, and only with a shell can it have another call.
        let is_alone = matches!(waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
        if !is_settled || !is_alone {
            return;
        }
        prepared = Shell::prepare(alone, kept.has_doors);
        if prepared.is_ok() && (&*control).write_all(&[Told::Free as u8]).is_err() {
            return;
        }
    }
}

/// Runs a call with a shell that is started for it.
pub(super) fn run(alone: &Alone, kept: &Kept, job: &Job, control: &UnixStream) {
    match become_supervisor() {
        Ok(()) => perform(alone, kept, job, control, None),
        Err(error) => settle(kept, &job.call, &not_started(&error), control),
    };
}

fn not_started(error: &io::Error) -> CallOutcome {
    let text = format!("The shell could not be started: {error}. Stop background processes first.");
    CallOutcome::text(text, true, CallEnd::Finished)
}

fn become_supervisor() -> io::Result<()> {
    let mut said = SigSet::empty();
    said.add(Signal::SIGUSR1);
    said.thread_block()?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let _ = nix::sys::prctl::set_name(c"supervisor");
    nix::unistd::setsid()?;
    Ok(())
}

/// Whether init was told of a result.
fn perform(alone: &Alone, kept: &Kept, job: &Job, control: &UnixStream, prepared: Option<Shell>) -> bool {
    let refuse = |message: String| {
        let outcome = CallOutcome::text(message, true, CallEnd::Finished);
        settle(kept, &job.call, &outcome, control);
        // A shell that was prepared has nothing to do; it ends with this process.
        false
    };
    let input: Input = match serde_json::from_value(job.input.clone()) {
        Ok(input) => input,
        Err(error) => return refuse(format!("Invalid input: {error}")),
    };
    shell::tidy_state(input.restart);
    let command = match input.command {
        Some(command) if command.len() > limits::COMMAND_BYTES => {
            return refuse(format!("The command is longer than {} bytes; write it to a file and run that.", limits::COMMAND_BYTES));
        }
        Some(command) if command.contains('\0') => return refuse("The command contains a NUL character.".into()),
        Some(command) => command,
        None if input.restart => {
            let outcome = CallOutcome::text("The shell was restarted.", false, CallEnd::Finished);
            settle(kept, &job.call, &outcome, control);
            return false;
        }
        None => return refuse("Invalid input: give a command, or restart: true.".into()),
    };
    match control.try_clone().and_then(|control| Supervisor::start(alone, job, &command, control, prepared, kept)) {
        Ok(mut supervisor) => {
            let mut output = Output::new(kept, &job.call, job.keep_bytes);
            let killed_before = kept.meters.killed_for_memory();
            let (end, note) = supervisor.attend(&mut output);
            let note = match kept.meters.killed_for_memory().saturating_sub(killed_before) {
                0 => note,
                killed => Some(out_of_memory(killed, note)),
            };
            let mut text = output.finish(note.as_deref());
            if let Some(notice) = &job.notice {
                text.push('\n');
                text.push_str(notice);
            }
            let outcome = CallOutcome::text(text, note.is_some(), end);
            let is_told = settle(kept, &job.call, &outcome, control);
            supervisor.see_out();
            shell::adopt_state(supervisor.shell);
            // Without a result there is nothing that init waits for but the end of this process.
            let is_told = is_told && (&*control).write_all(&[Told::Left as u8]).is_ok();
            supervisor.linger();
            is_told
        }
        Err(error) => settle(kept, &job.call, &not_started(&error), control),
    }
}

impl Supervisor {
    fn start(alone: &Alone, job: &Job, command: &str, control: UnixStream, prepared: Option<Shell>, kept: &Kept) -> io::Result<Self> {
        let watch = Watch::new(kept.watched);
        control.set_nonblocking(true)?;
        let mut heard = SigSet::empty();
        heard.add(Signal::SIGCHLD);
        // How the shell says that its command has ended; blocked since before there was one.
        heard.add(Signal::SIGUSR1);
        let signals = SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // A process of an earlier call may have killed the one that waited.
        let living = prepared.filter(|shell| matches!(waitpid(shell.pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)));
        let (shell, output) = match living.map(|shell| shell.run(command, &job.environment)) {
            Some(Ok(running)) => running,
            Some(Err(_)) | None => Shell::prepare(alone, kept.has_doors)?.run(command, &job.environment)?,
        };
        let deadline = Instant::now() + Duration::from_millis(job.timeout_ms);
        Ok(Self { shell, is_gone: false, signals, control, pipe: Some(output), deadline, watch })
    }

    /// Waits for the end of the call. Returns how it ended and, if it did not end well, a note.
    fn attend(&mut self, output: &mut Output<'_>) -> (CallEnd, Option<String>) {
        let started = Instant::now();
        loop {
            let mut said = self.wait(self.watch.as_ref().map_or(self.deadline, |watch| watch.next().min(self.deadline)));
            self.drain(output);
            if let Some(status) = self.reap() {
                self.drain(output);
                self.is_gone = true;
                return (CallEnd::Finished, note(status));
            }
            if std::mem::take(&mut said)
                && let Some(code) = shell::status(self.shell)
            {
                self.drain(output);
                return (CallEnd::Finished, note(WaitStatus::Exited(self.shell, code)));
            }
            let cancelled = match (&self.control).read(&mut [0]) {
                // Init is gone, and the sandbox with it. Nobody asked for an end that could be told.
                Ok(0) => sys::exit_now(1),
                read => read.is_ok(),
            };
            if let Some(much) = self.watch.as_mut().and_then(Watch::look) {
                self.end_all(output);
                return (CallEnd::Finished, Some(too_much(&much)));
            }
            if cancelled || Instant::now() >= self.deadline {
                self.end_all(output);
                let seconds = started.elapsed().as_secs_f32();
                return if cancelled {
                    (CallEnd::Cancelled, Some(format!("[interrupted after {seconds:.1} s; its processes were stopped]")))
                } else {
                    (CallEnd::TimedOut, Some(format!("[timed out after {seconds:.1} s; its processes were stopped]")))
                };
            }
        }
    }

    /// Whether the shell says that its command has ended.
    fn wait(&self, until: Instant) -> bool {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        // An interrupted wait is as good as a finished one: the caller looks at everything again.
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut said = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // Only the shell can say it of itself: the kernel writes down who sent a signal.
            let is_of_shell = signal.ssi_pid == self.shell.as_raw().cast_unsigned() && signal.ssi_code == libc::SI_USER;
            said |= signal.ssi_signo == Signal::SIGUSR1 as u32 && is_of_shell;
        }
        said
    }

    /// Waits for the shell to leave its state and end.
    fn see_out(&mut self) {
        let until = Instant::now() + limits::SHELL_LEAVES;
        while !self.is_gone {
            if self.reap().is_some() {
                self.is_gone = true;
            } else if Instant::now() >= until {
                let _ = nix::sys::signal::kill(self.shell, Signal::SIGKILL);
                self.is_gone = true;
            } else {
                self.wait_for_signals(until);
            }
        }
    }

    fn wait_for_signals(&self, until: Instant) {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
    }

    /// Takes what is in the pipe, at most about one pipe full.
    fn drain(&mut self, output: &mut Output<'_>) {
        const ROUNDS: usize = 16;
        let mut chunk = vec![0; limits::READ_CHUNK];
        for _ in 0..ROUNDS {
            let Some(pipe) = self.pipe.as_mut() else { return };
            match pipe.read(&mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => output.push(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reaps whatever ended; the shell's status if it did.
    fn reap(&self) -> Option<WaitStatus> {
        let mut shell = None;
        while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            match status.pid() {
                Some(pid) if pid == self.shell => shell = Some(status),
                Some(_) => {}
                None => break,
            }
        }
        shell
    }

    /// Kills until nothing is left: what forks during one round is found by the next.
    fn end_all(&mut self, output: &mut Output<'_>) {
        loop {
            kill_descendants(Pid::this(), &HashSet::new());
            self.drain(output);
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => {
                    self.is_gone = true;
                    return;
                }
                Ok(WaitStatus::StillAlive) => {
                    self.wait(Instant::now() + limits::KILL_PAUSE);
                }
                _ => {}
            }
        }
    }

    /// Stays for the background processes of the call, so that they have a reaper and a reader.
    fn linger(&mut self) {
        let mut discarded = vec![0; limits::READ_CHUNK];
        loop {
            if self.watch.as_mut().and_then(Watch::look).is_some() {
                kill_descendants(Pid::this(), &HashSet::new());
            }
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => {}
                _ => continue,
            }
            self.wait_in_background();
            if let Some(pipe) = self.pipe.as_mut()
                && matches!(pipe.read(&mut discarded), Ok(0))
            {
                self.pipe = None;
            }
        }
    }

    fn wait_in_background(&self) {
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let left = self.watch.as_ref().map(|watch| watch.next().saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let _ = poll(&mut fds, left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)));
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
    }
}

fn too_much(much: &str) -> String {
    format!("[{much}, so the command was ended]")
}

fn out_of_memory(killed: u64, note: Option<String>) -> String {
    let what = if killed == 1 { "a process was".to_owned() } else { format!("{killed} processes were") };
    let ended = note.map_or_else(String::new, |note| format!("\n{note}"));
    format!("[out of memory: {what} killed, because all processes of the sandbox together used what it may use]{ended}")
}

fn note(status: WaitStatus) -> Option<String> {
    match status {
        WaitStatus::Exited(_, 0) => None,
        WaitStatus::Exited(_, code) => Some(format!("[exit status {code}]")),
        WaitStatus::Signaled(_, signal, _) => Some(format!("[killed by signal {}]", signal.as_str())),
        other => Some(format!("[{other:?}]")),
    }
}
