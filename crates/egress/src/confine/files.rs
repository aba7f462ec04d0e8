//! Landlock: no file at all, no abstract socket and no signal of others. <https://docs.kernel.org/userspace-api/landlock.html>

use std::io;

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};

/// The rights that are known here; a kernel that knows fewer enforces those.
const KNOWN: ABI = ABI::V6;

/// Restricts this thread and those that it starts. False where the kernel has no Landlock.
pub(super) fn restrict() -> io::Result<bool> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
