//! Who the processes of a sandbox are, what they may use, and how they give up what set-up needed.

use std::io;

use nix::sys::resource::Resource;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, setgroups, setresgid, setresuid, setsid};

use crate::layout::{AGENT_ID, WORKSPACE};
use crate::spec::{BuildAs, IdMapping, SandboxSpec};
use crate::{limits, sys};

/// Becomes the root of the user namespace, which owns what is mounted there. An ordinary user has
/// no second id and stays who it is, with the namespace's capabilities.
pub(super) fn become_namespace_root(ids: IdMapping) -> io::Result<()> {
    nix::mount::mount(None::<&str>, "/", None::<&str>, nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE, None::<&str>)?;
    umask(Mode::from_bits_truncate(0o022));
    if ids == IdMapping::OwnRange {
        setgroups(&[])?;
        setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
    }
    Ok(())
}

pub(super) fn limit(spec: &SandboxSpec) -> io::Result<()> {
    if spec.lacks("limits") {
        return Ok(());
    }
    const MESSAGE_QUEUE_BYTES: u64 = 819_200;
    const LOCKED_BYTES: u64 = 64 << 10;
    const PENDING_SIGNALS: u64 = 4_096;
    // Of no byte, a dump would still be piped to the host's handler; of one byte, it is not.
    const NO_CORE: u64 = 1;
    for (resource, most) in [
        (Resource::RLIMIT_CORE, NO_CORE),
        (Resource::RLIMIT_NOFILE, spec.max_open_files.max(limits::LEAST_OPEN_FILES)),
        (Resource::RLIMIT_NPROC, spec.max_processes.max(limits::LEAST_PROCESSES)),
        (Resource::RLIMIT_FSIZE, spec.file_bytes()),
        (Resource::RLIMIT_MEMLOCK, LOCKED_BYTES),
        (Resource::RLIMIT_MSGQUEUE, MESSAGE_QUEUE_BYTES),
        (Resource::RLIMIT_SIGPENDING, PENDING_SIGNALS),
        (Resource::RLIMIT_RTPRIO, 0),
        (Resource::RLIMIT_NICE, 0),
    ] {
        sys::limit(resource, most)?;
    }
    Ok(())
}

/// Becomes the agent, without any capability or way to one.
pub(super) fn become_agent(spec: &SandboxSpec, ids: IdMapping) -> io::Result<()> {
    if spec.build == Some(BuildAs::Root) {
        return become_builder(ids);
    }
    setsid()?;
    chdir(WORKSPACE)?;
    sys::drop_capability_sets()?;
    if ids == IdMapping::OwnRange {
        setresgid(Gid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID))?;
        setresuid(Uid::from_raw(AGENT_ID), Uid::from_raw(AGENT_ID), Uid::from_raw(AGENT_ID))?;
    }
    without_capabilities()?;
    if spec.lacks("hidden init") {
        nix::sys::prctl::set_dumpable(true)?;
    }
    Ok(())
}

/// Stays the root of the namespace, with what changing files of its own ids needs and nothing else.
fn become_builder(ids: IdMapping) -> io::Result<()> {
    if ids != IdMapping::OwnRange {
        return Err(io::Error::other("there is one id only, and packages need several"));
    }
    setsid()?;
    chdir(WORKSPACE)?;
    sys::limit_capabilities(&OF_A_BUILDER)?;
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

/// The numbers of `CAP_CHOWN`, `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID`, `CAP_SETGID` and `CAP_SETUID`.
const OF_A_BUILDER: [u32; 6] = [0, 1, 3, 4, 6, 7];

/// The same for the first process of a container, whose ids are those of the host.
pub(super) fn become_agent_of_container(uid: u32) -> io::Result<()> {
    // The engine may have made it the leader of its session.
    let _ = setsid();
    chdir(WORKSPACE)?;
    setgroups(&[])?;
    sys::drop_capability_sets()?;
    setresgid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid))?;
    setresuid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid))?;
    without_capabilities()
}

fn without_capabilities() -> io::Result<()> {
    sys::drop_capabilities()?;
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}
