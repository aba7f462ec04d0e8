//! The shell of one call: a fresh bash that loads the state the last one left and leaves its own.
//! The state is the workload's own file; a broken one costs the state, never the call.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use crate::sys;
use crate::{layout, limits};

/// Loads the state, runs the command from descriptor 9, and saves the state at the end. Options
/// come last, so that they do not change how the state is loaded.
const PRELUDE: &str = include_str!("prelude.sh");

/// Its last line.
const WHOLE: [u8; 7] = *b"#whole\n";

const COMMAND_FD: i32 = 9;
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
    if is_whole(&next).unwrap_or(false) {
        // Without it, the next call starts from the last state: the disk may be full.
        let _ = fs::rename(&next, layout::SHELL_STATE);
    }
    for left in [format!("{next}.names"), next] {
        let _ = fs::remove_file(left);
    }
}

/// Whether the shell came to the end of what it had to write.
fn is_whole(state: &str) -> io::Result<bool> {
    // It is the workload's file: it may be a link to anywhere, or a pipe that nobody writes to.
    let mut file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(state)?;
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut end = [0; WHOLE.len()];
    let length = i64::try_from(WHOLE.len()).map_err(io::Error::other)?;
    file.seek(SeekFrom::End(-length))?;
    file.read_exact(&mut end)?;
    Ok(end == WHOLE)
}

/// The command as a file that is read from its start.
pub(super) fn command_file(command: &str) -> io::Result<OwnedFd> {
    let mut file = fs::File::from(memfd_create(c"command", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(command.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Becomes bash. Only returns if that fails.
pub(super) fn exec(command: &impl AsFd, output: &impl AsFd) -> io::Error {
    let prepared = || -> io::Result<CString> {
        let null = fs::File::open("/dev/null")?;
        sys::dup_to(&null, 0)?;
        // Before its number is given to something else.
        drop(null);
        sys::dup_to(output, 1)?;
        sys::dup_to(output, 2)?;
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
