//! The spawner: a process with one thread that forks inits and outlives the server. Becoming it,
//! and its loop. It reads nothing that comes out of a sandbox.

mod birth;
mod directory;
mod disk_guard;
pub(crate) mod ending;
mod life;
mod population;
mod record;
mod serve;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::layout;
use crate::protocol::spawner::Answer;
use crate::spec::UidBlock;
use crate::sys::{self, Alone, Side};

/// What the server tells a new spawner, on its standard input: arguments could be read inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) dir: PathBuf,
    pub(crate) uid_block: UidBlock,
}

/// What a new spawner tells the server when it can be connected to.
pub(crate) const READY: &str = "ready";
const MAX_LAUNCH: u64 = 64 << 10;

/// Becomes the spawner, in the background. To be called before the process has a second thread;
/// takes no arguments, or `init` in a container. Returns the exit code of the process in the foreground: 0 once a spawner can
/// be connected to, the new one or one that was alive.
pub fn spawner_main(mut args: impl Iterator<Item = OsString>) -> i32 {
    if args.next().is_some_and(|arg| arg == crate::oci::entry::ROLE) {
        let _ = writeln!(io::stderr(), "starting a sandbox in a container: {}", crate::oci::entry::run());
        return 1;
    }
    match foreground() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "starting the sandbox spawner: {error}");
            1
        }
    }
}

fn foreground() -> io::Result<()> {
    sys::close_all_but(&[])?;
    let alone = Alone::check()?;
    let mut text = String::new();
    io::stdin().take(MAX_LAUNCH).read_to_string(&mut text)?;
    let launch: Launch = serde_json::from_str(&text).map_err(io::Error::other)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&launch.dir)?;
    let (ready, says) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    match sys::fork(&alone)? {
        Side::Child => background(alone, launch, File::from(says)),
        Side::Parent(_) => {
            drop(says);
            let mut answer = String::new();
            File::from(ready).take(MAX_LAUNCH).read_to_string(&mut answer)?;
            if answer == READY { Ok(()) } else { Err(io::Error::other(answer)) }
        }
    }
}

/// Runs in the child, which never returns to its caller.
fn background(alone: Alone, launch: Launch, mut says: File) -> ! {
    let code = match detach(&launch) {
        Err(error) => {
            let _ = write!(says, "{error}");
            1
        }
        Ok(None) => {
            let _ = write!(says, "{READY}");
            0
        }
        Ok(Some(lock)) => match serve::Spawner::new(alone, launch, lock) {
            Err(error) => {
                let _ = write!(says, "{error}");
                1
            }
            Ok(mut spawner) => {
                let _ = write!(says, "{READY}");
                drop(says);
                spawner.run()
            }
        },
    };
    sys::exit_now(code)
}

/// Leaves the server's session and files. None if a spawner of this directory is alive.
fn detach(launch: &Launch) -> io::Result<Option<Flock<File>>> {
    nix::unistd::setsid()?;
    nix::unistd::chdir("/")?;
    sys::raise_open_files()?;
    if nix::unistd::geteuid().is_root() {
        // What is mounted here for a moment is nobody else's business; what the host mounts still arrives.
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let slave = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SLAVE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, slave, None::<&str>)?;
    }
    let file = |name: &str| OpenOptions::new().create(true).append(true).mode(0o600).open(launch.dir.join(name));
    let log = file(layout::SPAWNER_LOG)?;
    log.set_len(0)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    sys::dup_to(&null, 0)?;
    sys::dup_to(&null, 1)?;
    sys::dup_to(&log.as_fd(), 2)?;
    match Flock::lock(file(layout::SPAWNER_LOCK)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// What a new life needs in its directory, wherever it is started.
pub(crate) fn prepare_life(sandbox: &std::path::Path, incarnation: &ostler_core::ids::IncarnationId) -> io::Result<()> {
    directory::renew_results(sandbox, incarnation)?;
    directory::renew_secret(sandbox).map(drop)
}

/// The socket of an init in a sandbox's directory.
pub(crate) fn socket(sandbox: &std::path::Path) -> io::Result<std::os::unix::net::UnixListener> {
    directory::listen(sandbox, layout::INIT_SOCKET)
}

pub(crate) use directory::{furnish, make, replace};

/// A line in the spawner's log, which is its standard error.
fn log(line: &str) {
    // Nobody can be told that the log is full.
    let _ = writeln!(io::stderr(), "{line}");
}

fn refused(layer: &str, reason: String, remedy: &str) -> Answer {
    Answer::Refused { layer: layer.into(), reason, remedy: remedy.into() }
}
