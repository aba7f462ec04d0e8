//! What runs in the process that init forks for a call, up to the result on disk. Trusted code, as
//! weak as the workload itself: it has the same user, the same confinement and no way out.

mod output;
mod shell;
mod supervisor;
mod watch;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::OFlag;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use ostler_core::call::{CallEnd, CallOutcome};
use ostler_core::ids::EventId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::init::Kept;
use crate::spec::SandboxSpec;
use crate::sys::{self, Alone, Side};
use crate::tools::ToolResult;
use crate::transfer::Work;
use crate::{limits, tools, transfer};

/// A call to be run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) call: EventId,
    pub(crate) tool: String,
    pub(crate) input: Value,
    pub(crate) timeout_ms: u64,
    /// Bytes of its output that are kept.
    pub(crate) keep_bytes: u64,
    /// What the model is to be told besides.
    pub(crate) notice: Option<String>,
    /// Variables of a shell, each as `NAME=value`; no blanks in them.
    #[serde(default)]
    pub(crate) environment: Vec<String>,
}

/// Bytes of the length before a job.
const LENGTH: usize = 4;

/// The bytes that init and a supervisor say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Told {
    /// To a supervisor: a job follows.
    Job = b'j',
    /// To a supervisor: end the call.
    Cancel = b'c',
    /// To init: the result is on disk.
    Settled = b's',
    /// To init: the shell has left its state, or will not.
    Left = b'l',
    /// To init: nothing of the call is left, and another can be had.
    Free = b'f',
}

impl Job {
    pub(crate) fn new(call: EventId, tool: &str, input: Value, timeout_ms: Option<u64>, spec: &SandboxSpec) -> Self {
        if transfer::is_transfer(tool) {
            let timeout_ms = limits::TRANSFER_TIMEOUT_MS;
            return Self { call, tool: tool.to_owned(), input, timeout_ms, keep_bytes: 0, notice: None, environment: Vec::new() };
        }
        let timeout_ms = match (tool, timeout_ms) {
            (tools::BASH, Some(asked)) => asked,
            (tools::BASH, None) => spec.bash_timeout_default_ms,
            (tools::PAGE, _) => limits::PAGE_TIMEOUT_MS,
            _ => limits::FILE_TOOL_TIMEOUT_MS,
        };
        let timeout_ms = timeout_ms.clamp(1, spec.max_command_ms.clamp(1, limits::BASH_TIMEOUT_MAX_MS));
        Self { call, tool: tool.to_owned(), input, timeout_ms, keep_bytes: spec.max_output_bytes, notice: None, environment: Vec::new() }
    }

    /// Gives it variables. Those that a line of words cannot carry are left out.
    pub(crate) fn set_environment(&mut self, variables: &std::collections::BTreeMap<String, String>) {
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let fits = |(name, value): &(&String, &String)| is_word(name) && is_word(value) && !name.contains('=');
        self.environment = variables.iter().filter(fits).map(|(name, value)| format!("{name}={value}")).collect();
    }

    /// Says it to a waiting supervisor, whole or not at all. False where it has no place in a socket's
    /// buffer.
    pub(crate) fn say(&self, mut control: &UnixStream) -> io::Result<bool> {
        let mut text = vec![Told::Job as u8];
        text.extend([0; LENGTH]);
        serde_json::to_writer(&mut text, self)?;
        let length = text.len() - LENGTH - 1;
        if length > limits::PASSED_JOB {
            return Ok(false);
        }
        text[1..=LENGTH].copy_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
        control.write_all(&text).map(|()| true)
    }

    /// Waits for one.
    fn hear(mut control: &UnixStream) -> io::Result<Self> {
        // The end of the last call may have been asked for when it had come already.
        let mut told = [Told::Cancel as u8];
        while told[0] == Told::Cancel as u8 {
            control.read_exact(&mut told)?;
        }
        let mut length = [0; LENGTH];
        control.read_exact(&mut length)?;
        let mut text = vec![0; usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?];
        control.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whether it needs the state that the last shell leaves.
    pub(crate) fn needs_state(&self) -> bool {
        self.is_shell() || transfer::is_transfer(&self.tool)
    }

    /// Whether it needs a supervisor.
    pub(crate) fn is_shell(&self) -> bool {
        self.tool == tools::BASH
    }
}

/// Runs a call in a process of its own and does not return. Without one, waits for the call of a
/// shell, which comes over `control` with its length before it.
pub(crate) fn run(alone: &Alone, kept: &Kept, job: Option<Job>, control: UnixStream) -> ! {
    let body = std::panic::AssertUnwindSafe(|| perform(alone, kept, job, control));
    let code = i32::from(std::panic::catch_unwind(body).is_err());
    sys::exit_now(code)
}

fn perform(alone: &Alone, kept: &Kept, job: Option<Job>, control: UnixStream) {
    let keep: Vec<_> = kept.descriptors().chain([control.as_raw_fd()]).collect();
    if sys::close_all_but(&keep).is_err() {
        return;
    }
    let Some(job) = job else { return supervisor::wait_and_run(alone, kept, &control) };
    if job.is_shell() {
        return supervisor::run(alone, kept, &job, &control);
    }
    // What a file or a pattern makes it take ends this process or the tool's, not init.
    let memory = if job.tool == tools::PAGE { limits::PAGE_MEMORY } else { limits::FILE_TOOL_MEMORY };
    let _ = sys::limit(Resource::RLIMIT_AS, memory);
    let result = apart(alone, kept, &job).unwrap_or_else(|error| Err(format!("The tool could not be run: {error}")));
    let outcome = output::of_tool(kept, &job.call, result);
    settle(kept, &job.call, &outcome, control);
}

/// Runs a file tool in a process that holds no descriptor but the way back: whatever path it is
/// made to follow, `/proc/self/fd` included, none leads to the results or the call files.
fn apart(alone: &Alone, kept: &Kept, job: &Job) -> io::Result<ToolResult> {
    let work = transfer::is_transfer(&job.tool).then(|| Work::open(&kept.held, &job.call, &job.tool, &job.input)).transpose()?;
    let (reads, writes) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let parent = Pid::this();
    let child = match sys::fork(alone)? {
        Side::Child => sys::exit_now(i32::from(alone_with(parent, job, work, writes).is_err())),
        Side::Parent(child) => child,
    };
    drop((writes, work));
    let mut text = Vec::new();
    File::from(reads).take(limits::FILE_TOOL_RESULT).read_to_end(&mut text)?;
    waitpid(child, None)?;
    Ok(serde_json::from_slice(&text)
        .unwrap_or_else(|_| Err("The tool was killed before it had a result; it may have run out of memory.".to_owned())))
}

/// The tool's process: runs it and says its result, unless the parent is gone.
fn alone_with(parent: Pid, job: &Job, work: Option<Work>, writes: OwnedFd) -> io::Result<()> {
    let keep = work.iter().flat_map(Work::descriptors).chain([writes.as_raw_fd()]);
    sys::close_all_but(&keep.collect::<Vec<_>>())?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid() != parent {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    let result: ToolResult = match work {
        Some(work) => work.run().map(|moved| vec![json!({"type": "text", "text": json!(moved).to_string()})]),
        None => tools::run(&job.tool, &job.input),
    };
    File::from(writes).write_all(&serde_json::to_vec(&result)?)
}

/// Writes the result and tells init. If it cannot be written, init says that there is none once this process ends.
/// Whether init was told.
fn settle(kept: &Kept, call: &EventId, outcome: &CallOutcome, mut control: impl Write) -> bool {
    let short = CallOutcome::text("The result could not be stored: the disk may be full.", true, CallEnd::Finished);
    let is_kept = kept.settle(call, outcome).or_else(|_| kept.settle(call, &short)).is_ok();
    is_kept && control.write_all(&[Told::Settled as u8]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_that_came_too_late_is_not_taken_for_a_part_of_the_next_job() {
        let (init, supervisor) = UnixStream::pair().unwrap();
        let job = Job::new("sevt_1".parse().unwrap(), tools::BASH, json!({"command": "true"}), None, &SandboxSpec::default());
        (&init).write_all(&[Told::Cancel as u8; 3]).unwrap();
        assert!(job.say(&init).unwrap());
        assert_eq!(Job::hear(&supervisor).unwrap().call, job.call);
        let long = Job { input: json!("x".repeat(limits::PASSED_JOB)), ..job };
        assert!(!long.say(&init).unwrap(), "it would not fit");
    }
}
