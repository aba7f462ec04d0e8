//! Landlock: a second wall behind the mounts. Were one of them writable by mistake, nothing outside of the
//! places below could be written; nothing reaches abstract sockets or signals of other domains.
//! <https://docs.kernel.org/userspace-api/landlock.html>

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope,
};

use super::Held;

/// The rights that are known here; a kernel that knows fewer enforces those.
const KNOWN: ABI = ABI::V6;
/// Where the workload writes.
const WRITABLE: [&str; 7] = ["/workspace", "/home/agent", "/mnt/session/outputs", "/run/ostler", "/run/ostler-shell", "/tmp", "/dev/shm"];
/// Where a build writes as well, as far as it is there.
const WRITABLE_BY_BUILD: [&str; 10] = ["/etc", "/usr", "/opt", "/var", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Where there are files that can be written and no place for new ones.
const FILES_ONLY: [&str; 2] = ["/dev", "/proc"];

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute
}

fn write() -> BitFlags<AccessFs> {
    AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// Restricts this process and all that it starts. False where the kernel has no Landlock.
pub(super) fn restrict(held: &Held, is_build: bool) -> io::Result<bool> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let path = |path: &str| PathFd::new(path).map_err(io::Error::other);
    let mut ruleset = ruleset.add_rule(PathBeneath::new(path("/")?, read())).map_err(io::Error::other)?;
    for place in WRITABLE {
        ruleset = ruleset.add_rule(PathBeneath::new(path(place)?, write())).map_err(io::Error::other)?;
    }
    let more = WRITABLE_BY_BUILD.into_iter().filter(|place| is_build && std::path::Path::new(place).is_dir());
    for place in more {
        ruleset = ruleset.add_rule(PathBeneath::new(path(place)?, write())).map_err(io::Error::other)?;
    }
    for place in FILES_ONLY {
        let rights = read() | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        ruleset = ruleset.add_rule(PathBeneath::new(path(place)?, rights)).map_err(io::Error::other)?;
    }
    let held: [BorrowedFd<'_>; 4] = [&held.calls, &held.uploads, &held.results, &held.transfers].map(AsFd::as_fd);
    for place in held {
        ruleset = ruleset.add_rule(PathBeneath::new(place, write())).map_err(io::Error::other)?;
    }
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
