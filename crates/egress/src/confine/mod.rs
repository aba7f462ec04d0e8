//! What the process of egress gives up before it takes its first connection. Whoever takes it over, by a fault in what reads TLS
//! or HTTP, finds no program that can be started, no file, no other process, and, where it was started by root, a user of its own
//! without any right.
//!
//! It is done once, by the only thread there is: threads that come later inherit it.

mod calls;
mod files;

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid, setsid};
use serde::{Deserialize, Serialize};

/// The user that egress gets where the settings name none: one that no system gives to anybody.
pub const USUAL_USER: u32 = 60_750;

/// As whom egress runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum User {
    /// [`USUAL_USER`] where that can be had, else the server's.
    #[default]
    Usual,
    /// This one, or not at all.
    Own(u32),
    /// The server's.
    Server,
}

/// What holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// The user that it alone has; none: it has the server's.
    pub own_user: Option<u32>,
    /// Whether the kernel's second wall before files is there (Landlock); the first, a filter of system calls, always is.
    pub has_landlock: bool,
}

/// Why egress is not confined as it has to be.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The user that was asked for cannot be had.
    #[error(
        "egress cannot have the user {user} that the settings give it ({reason}); start the server as root, or say user = \"server\" in [egress]"
    )]
    User {
        /// Which.
        user: u32,
        /// Why.
        reason: String,
    },
    /// The filter of system calls.
    #[error("the system calls of egress cannot be restricted: {0}; it needs a kernel with seccomp filters")]
    Calls(io::Error),
    /// Anything else.
    #[error("egress cannot shut itself off: {0}")]
    System(#[from] io::Error),
}

/// What a secret of a process must not get out by, before it has any: a core dump, another process of this user, a program with more rights.
pub fn prepare() -> Result<(), ConfineError> {
    let _ = setsid();
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    prctl::set_no_new_privs().map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(io::Error::from)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(io::Error::from)?;
    Ok(())
}

/// Gives everything else up. Files have been read and sockets received before; there is one thread.
///
/// # Errors
/// When something that has to hold does not; the process must end then.
pub fn enter(user: User) -> Result<Confinement, ConfineError> {
    let own_user = become_user(user)?;
    // A change of users makes a process what its new user may look into.
    prctl::set_dumpable(false).map_err(io::Error::from)?;
    let has_landlock = files::restrict()?;
    calls::restrict().map_err(ConfineError::Calls)?;
    Ok(Confinement { own_user, has_landlock })
}

fn become_user(user: User) -> Result<Option<u32>, ConfineError> {
    let (wanted, is_asked) = match user {
        User::Server => return Ok(None),
        User::Usual => (USUAL_USER, false),
        User::Own(user) => (user, true),
    };
    let given_up = || -> nix::Result<()> {
        let (uid, gid) = (Uid::from_raw(wanted), Gid::from_raw(wanted));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)
    };
    // Without root's rights nothing of it would succeed.
    let outcome = if geteuid().is_root() { given_up() } else { Err(nix::errno::Errno::EPERM) };
    match outcome {
        Ok(()) => Ok(Some(wanted)),
        Err(_) if !is_asked => Ok(None),
        Err(error) => Err(ConfineError::User { user: wanted, reason: error.desc().to_owned() }),
    }
}
