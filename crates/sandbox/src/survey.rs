//! What the kernel would let a sandbox have, found by trying it in a child process that ends at
//! once. For people who set a machine up; a sandbox is not born here, and nothing stays changed.
#![expect(unsafe_code, reason = "two questions to the kernel have no safe wrapper; each block says why it is sound")]

use std::fs::File;
use std::io::{self, Read, Write};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::sys::{self, Alone, Side};

/// A step on the way into the namespaces of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceStep {
    /// A user namespace.
    User,
    /// One's own ids in it.
    Ids,
    /// The other namespaces, which need its capabilities.
    Others,
    /// Changing mounts, which security modules can forbid even then.
    Mounts,
}

const STEPS: [NamespaceStep; 4] = [NamespaceStep::User, NamespaceStep::Ids, NamespaceStep::Others, NamespaceStep::Mounts];

/// The step that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceRefusal {
    /// Which.
    pub step: NamespaceStep,
    /// The number of the system's error.
    pub errno: i32,
}

/// Has a child process enter the namespaces of a sandbox. `None`: it could.
///
/// # Errors
/// When this process has several threads, or the child could not be made or did not say how it went.
pub fn try_namespaces() -> io::Result<Option<NamespaceRefusal>> {
    let alone = Alone::check()?;
    let (reads, writes) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    match sys::fork(&alone)? {
        Side::Child => {
            let _ = File::from(writes).write_all(&word(enter()));
            sys::exit_now(0)
        }
        Side::Parent(child) => {
            drop(writes);
            let mut said = Vec::new();
            let read = File::from(reads).take(WORD as u64).read_to_end(&mut said);
            nix::sys::wait::waitpid(child, None)?;
            read?;
            understood(&said).ok_or_else(|| io::Error::other("the child that tries namespaces died"))
        }
    }
}

/// Bytes that the child says: the step that failed, counted from 1, or 0; and the error.
const WORD: usize = 5;

fn word(entered: Result<(), NamespaceRefusal>) -> [u8; WORD] {
    let (step, errno) = match entered {
        Ok(()) => (0, 0),
        Err(refusal) => (STEPS.iter().position(|step| *step == refusal.step).map_or(0, |at| at + 1), refusal.errno),
    };
    let [a, b, c, d] = errno.to_ne_bytes();
    [u8::try_from(step).unwrap_or(0), a, b, c, d]
}

fn understood(said: &[u8]) -> Option<Option<NamespaceRefusal>> {
    let [step, a, b, c, d] = *said else { return None };
    let errno = i32::from_ne_bytes([a, b, c, d]);
    match usize::from(step).checked_sub(1) {
        None => Some(None),
        Some(at) => Some(Some(NamespaceRefusal { step: *STEPS.get(at)?, errno })),
    }
}

/// Runs in the child.
fn enter() -> Result<(), NamespaceRefusal> {
    let refused = |step: NamespaceStep| move |error: io::Error| NamespaceRefusal { step, errno: error.raw_os_error().unwrap_or(0) };
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused(NamespaceStep::User)(error.into()))?;
    std::fs::write("/proc/self/setgroups", "deny")
        .and_then(|()| std::fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")))
        .and_then(|()| std::fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")))
        .map_err(refused(NamespaceStep::Ids))?;
    let others = CloneFlags::from_bits_truncate(crate::confine::NAMESPACES) - CloneFlags::CLONE_NEWUSER;
    unshare(others).map_err(|error| refused(NamespaceStep::Others)(error.into()))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|error| refused(NamespaceStep::Mounts)(error.into()))
}

/// Whether the kernel takes filters of system calls that end a process.
///
/// # Errors
/// What the kernel said when it does not.
pub fn seccomp_filters() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads one u32, which outlives it, and changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::c_long::from(libc::SECCOMP_GET_ACTION_AVAIL), 0, &raw const action) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The version of Landlock that the kernel has.
///
/// # Errors
/// What the kernel said when it has none, or when it is switched off.
pub fn landlock_abi() -> io::Result<u32> {
    const VERSION: libc::c_long = 1;
    // SAFETY: with this flag the call takes a null pointer and no size, answers with a number and changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    if result < 0 { Err(io::Error::last_os_error()) } else { u32::try_from(result).map_err(io::Error::other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_child_is_understood_and_no_other() {
        for step in STEPS {
            let refusal = NamespaceRefusal { step, errno: libc::EPERM };
            assert_eq!(understood(&word(Err(refusal))), Some(Some(refusal)));
        }
        assert_eq!(understood(&word(Ok(()))), Some(None));
        for nonsense in [&[][..], &[0], &[9, 0, 0, 0, 0], &[0; 6]] {
            assert_eq!(understood(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_process_with_several_threads_does_not_fork() {
        let _other = std::thread::spawn(std::thread::park);
        assert!(try_namespaces().is_err());
    }
}
