//! The shell of one call: a fresh bash that loads the state the last one left and leaves its own. It
//! is started before there is a command where that can be, because its start is most of a short call.
//! The state is the workload's own file; a broken one costs the state, never the call.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};

use crate::sys::{self, Alone, Side};
use crate::{layout, limits};

/// Waits for a line on the descriptor for it, loads the state, runs the command from the other, and saves the
/// state at the end. Options come last, so that they do not change how the state is loaded.
const PRELUDE: &str = include_str!("prelude.sh");

/// Its last line.
const WHOLE: [u8; 7] = *b"#whole\n";

/// Where bash finds both; higher than anything that is open by then.
const GO_FD: i32 = 62;
const COMMAND_FD: i32 = 63;
const ENVIRONMENT: [&std::ffi::CStr; 10] = [
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"HOME=/home/agent",
    c"USER=agent",
    c"LOGNAME=agent",
    c"SHELL=/bin/bash",
    c"LANG=C.UTF-8",
    c"TERM=dumb",
    c"TMPDIR=/tmp",
    c"PWD=/workspace",
    c"NODE_PATH=/usr/local/lib/node_modules",
];

/// What programs are told of the way out: the proxy, and the certificates that those who open TLS on it are known by. Some know one of
/// these only.
const ABOUT_DOORS: [&std::ffi::CStr; 18] = [
    c"http_proxy=http://127.0.0.1:3128",
    c"https_proxy=http://127.0.0.1:3128",
    c"HTTP_PROXY=http://127.0.0.1:3128",
    c"HTTPS_PROXY=http://127.0.0.1:3128",
    c"no_proxy=localhost,127.0.0.1,::1",
    c"NO_PROXY=localhost,127.0.0.1,::1",
    c"NODE_USE_ENV_PROXY=1",
    c"SSL_CERT_FILE=/etc/ostler-trust/certificates.pem",
    c"CURL_CA_BUNDLE=/etc/ostler-trust/certificates.pem",
    c"REQUESTS_CA_BUNDLE=/etc/ostler-trust/certificates.pem",
    c"PIP_CERT=/etc/ostler-trust/certificates.pem",
    c"GIT_SSL_CAINFO=/etc/ostler-trust/certificates.pem",
    c"CARGO_HTTP_CAINFO=/etc/ostler-trust/certificates.pem",
    c"NODE_EXTRA_CA_CERTS=/etc/ostler-trust/certificates.pem",
    c"npm_config_cafile=/etc/ostler-trust/certificates.pem",
    c"AWS_CA_BUNDLE=/etc/ostler-trust/certificates.pem",
    c"DENO_CERT=/etc/ostler-trust/certificates.pem",
    c"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/etc/ostler-trust/certificates.pem",
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
    let left = format!("{}.{shell}", layout::SHELL_LEFT);
    if let Ok(Some(state)) = whole(&left) {
        // What cannot be loaded takes bash longer to refuse than all the rest to load.
        let state = without_refused(&state);
        // Most commands leave the state as it was.
        if !whole(layout::SHELL_STATE).is_ok_and(|last| last.is_some_and(|last| last == state)) {
            let next = format!("{}.next", layout::SHELL_STATE);
            let written = fs::remove_file(&next).or_else(absent).and_then(|()| write_new(&next, &state));
            // Otherwise the next call starts from the last state: the disk may be full.
            let _ = written.and_then(|()| fs::rename(next, layout::SHELL_STATE));
        }
    }
    let _ = fs::remove_file(left);
}

/// Writes a file that is not there: this process holds directories that the workload must not reach through a link.
fn write_new(path: &str, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create_new(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    file.open(path)?.write_all(text)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// How the command of a shell ended, if the shell has said so.
pub(super) fn status(shell: Pid) -> Option<i32> {
    const LONGEST: u64 = 8;
    let path = format!("{}.{shell}", layout::SHELL_STATUS);
    // It is the workload's file: it may be a link to anywhere, or a pipe that nobody writes to.
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
    let mut text = String::new();
    let read = opened.and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let _ = fs::remove_file(path);
    read.ok()?;
    text.trim().parse().ok()
}

/// The state, if the shell came to the end of what it had to write.
fn whole(state: &str) -> io::Result<Option<Vec<u8>>> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(state)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > limits::SHELL_STATE_BYTES {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(limits::SHELL_STATE_BYTES).read_to_end(&mut text)?;
    Ok(text.ends_with(&WHOLE).then_some(text))
}

/// Variables that bash sets by itself: it refuses to have them set, or they mean nothing to the next one.
const REFUSED: [&str; 26] = [
    "BASHOPTS",
    "BASHPID",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_COMMAND",
    "BASH_EXECUTION_STRING",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "PIPESTATUS",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
    "_",
];
/// Before the names of our own variables.
const OURS: &[u8] = b"__ostler_";

/// The state without those lines of `declare -p` that name such variables.
fn without_refused(state: &[u8]) -> Vec<u8> {
    let is_refused = |line: &[u8]| {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        words.next() == Some(b"declare".as_slice())
            && words.next().is_some_and(|flags| flags.starts_with(b"-"))
            && words.next().is_some_and(|rest| {
                let name = rest.split(|byte| matches!(byte, b'=' | b'\n')).next().unwrap_or_default();
                name.starts_with(OURS) || REFUSED.iter().any(|refused| refused.as_bytes() == name)
            })
    };
    state.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_refused(line)).flatten().copied().collect()
}

/// A bash that waits for its command. It loads the state that there is when it gets it.
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
    pub(super) fn prepare(alone: &Alone, has_doors: bool) -> io::Result<Self> {
        let (reads, writes) = pipe2(OFlag::O_CLOEXEC)?;
        let (waits, go) = pipe2(OFlag::O_CLOEXEC)?;
        let command = File::from(memfd_create(c"command", MFdFlags::MFD_CLOEXEC)?);
        let pid = match sys::fork(alone)? {
            Side::Child => {
                let error = exec(&command, &waits, &writes, has_doors);
                // It goes where the output of the command would.
                let _ = writeln!(io::stderr(), "The sandbox cannot run /bin/bash: {error}. Its image must have one.");
                const NOT_EXECUTABLE: i32 = 126;
                sys::exit_now(NOT_EXECUTABLE)
            }
            Side::Parent(pid) => pid,
        };
        // Only the reading end: the writing end belongs to the shell, which expects it to block.
        nix::fcntl::fcntl(&reads, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pid, output: reads.into(), command, go: go.into() })
    }

    /// Gives it its command, with variables, and lets it go. An error means that it is gone.
    pub(super) fn run(mut self, command: &str, environment: &[String]) -> io::Result<(Pid, File)> {
        self.command.write_all(command.as_bytes())?;
        // The shell reads by the same offset.
        self.command.rewind()?;
        self.go.write_all(format!("{}\n", environment.join(" ")).as_bytes())?;
        Ok((self.pid, self.output))
    }

    /// Ends one that is not needed.
    pub(super) fn end(self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// Becomes bash. Only returns if that fails.
fn exec(command: &impl AsFd, waits: &impl AsFd, output: &impl AsFd, has_doors: bool) -> io::Error {
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
        Ok(prelude) => {
            let more: &[&std::ffi::CStr] = if has_doors { &ABOUT_DOORS } else { &[] };
            sys::exec(c"/bin/bash", &[c"bash", c"--noprofile", c"--norc", c"-c", &prelude], &[&ENVIRONMENT, more].concat())
        }
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_bash_refuses_is_left_out_of_a_state() {
        let state = "__ostler_shopt x\ndeclare -ir UID=\"1000\"\ndeclare -a GROUPS=()\ndeclare -r MINE=\"1\"\ndeclare -- UIDS=\"2\"\ndeclare -- W\nf () \n{ \n    declare -r UIDX=1\n}\n#whole\n";
        let kept = String::from_utf8(without_refused(state.as_bytes())).unwrap();
        assert_eq!(kept, state.replace("declare -ir UID=\"1000\"\ndeclare -a GROUPS=()\n", ""));
    }
}
