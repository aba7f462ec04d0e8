//! The shell of one call: a fresh bash that loads the state the last one left and leaves its own. It
//! is started before there is a command where that can be, because its start is most of a short call.
//! The state is the workload's own file; a broken one costs the state, never the call.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use crate::sys::{self, Alone, Side};
use crate::{layout, limits};

/// Loads the state, waits for a line on the descriptor for it, runs the command from the other, and
/// saves the state at the end. Options
/// come last, so that they do not change how the state is loaded.
const PRELUDE: &str = include_str!("prelude.sh");

/// Its last line.
const WHOLE: [u8; 7] = *b"#whole\n";

/// Where bash finds both; higher than anything that is open by then.
const GO_FD: i32 = 62;
const COMMAND_FD: i32 = 63;
const ENVIRONMENT: [&std::ffi::CStr; 9] = [
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"HOME=/home/agent",
    c"USER=agent",
    c"LOGNAME=agent",
    c"SHELL=/bin/bash",
    c"LANG=C.UTF-8",
    c"TERM=dumb",
    c"TMPDIR=/tmp",
    c"PWD=/workspace",
];

/// Drops the saved state if it was asked for, or if it is not one.
pub(super) fn tidy_state(restart: bool) {
    let sound = fs::symlink_metadata(layout::SHELL_STATE).is_ok_and(|meta| meta.is_file() && meta.len() <= limits::SHELL_STATE_BYTES);
    if restart || !sound {
        let _ = fs::remove_file(layout::SHELL_STATE);
    }
}

/// Puts the state that a shell left in the place of the last one, if it is whole, and removes what
/// else it left. Done here because bash would need another program for it.
pub(super) fn adopt_state(shell: Pid) {
    let next = format!("{}.{shell}", layout::SHELL_STATE);
    if is_whole(&next).unwrap_or(false) && fs::rename(&next, layout::SHELL_STATE).is_ok() {
        return;
    }
    // The next call starts from the last state: the disk may be full.
    let _ = fs::remove_file(next);
}

/// Whether the shell came to the end of what it had to write.
fn is_whole(state: &str) -> io::Result<bool> {
    // It is the workload's file: it may be a link to anywhere, or a pipe that nobody writes to.
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(state)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > limits::SHELL_STATE_BYTES {
        return Ok(false);
    }
    let mut end = [0; WHOLE.len()];
    let length = i64::try_from(WHOLE.len()).map_err(io::Error::other)?;
    file.seek(SeekFrom::End(-length))?;
    file.read_exact(&mut end)?;
    Ok(end == WHOLE)
}

/// A bash that has loaded the state and waits for its command.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) pid: Pid,
    /// What it and its children write; reading never blocks.
    pub(super) output: File,
    command: File,
    go: File,
}

impl Shell {
    /// Starts it.
    pub(super) fn prepare(alone: &Alone) -> io::Result<Self> {
        let (reads, writes) = pipe2(OFlag::O_CLOEXEC)?;
        let (waits, go) = pipe2(OFlag::O_CLOEXEC)?;
        let command = File::from(memfd_create(c"command", MFdFlags::MFD_CLOEXEC)?);
        let pid = match sys::fork(alone)? {
            Side::Child => {
                exec(&command, &waits, &writes);
                const NOT_EXECUTABLE: i32 = 126;
                sys::exit_now(NOT_EXECUTABLE)
            }
            Side::Parent(pid) => pid,
        };
        // Only the reading end: the writing end belongs to the shell, which expects it to block.
        nix::fcntl::fcntl(&reads, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pid, output: reads.into(), command, go: go.into() })
    }

    /// Gives it its command and lets it go. An error means that it is gone.
    pub(super) fn run(mut self, command: &str) -> io::Result<(Pid, File)> {
        self.command.write_all(command.as_bytes())?;
        // The shell reads by the same offset.
        self.command.rewind()?;
        self.go.write_all(b"\n")?;
        Ok((self.pid, self.output))
    }

    /// Ends one that is not needed.
    pub(super) fn end(self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// Becomes bash. Only returns if that fails.
fn exec(command: &impl AsFd, waits: &impl AsFd, output: &impl AsFd) -> io::Error {
    let prepared = || -> io::Result<CString> {
        let null = File::open("/dev/null")?;
        sys::dup_to(&null, 0)?;
        // Before its number is given to something else.
        drop(null);
        sys::dup_to(output, 1)?;
        sys::dup_to(output, 2)?;
        sys::dup_to(waits, GO_FD)?;
        sys::dup_to(command, COMMAND_FD)?;
        nix::unistd::setsid()?;
        sys::default_signal(Signal::SIGPIPE)?;
        SigSet::empty().thread_set_mask()?;
        let _ = nix::unistd::chdir(layout::WORKSPACE);
        CString::new(PRELUDE).map_err(io::Error::other)
    };
    match prepared() {
        Ok(prelude) => sys::exec(c"/bin/bash", &[c"bash", c"--noprofile", c"--norc", c"-c", &prelude], &ENVIRONMENT),
        Err(error) => error,
    }
}
