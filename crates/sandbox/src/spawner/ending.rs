//! Why a life ended, where it did not end by itself: found by who reaps it, and left in the sandbox's directory for the
//! server that asks.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use ostler_core::ids::IncarnationId;
use serde::{Deserialize, Serialize};

use super::directory;
use crate::{layout, limits};

/// Why a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// It was as old as it may become.
    Age,
    /// The kernel ended it for memory.
    Memory,
    /// It was writing most when the machine's disk was nearly full.
    Disk,
}

impl Why {
    /// What happened, for whoever waits for a call.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Age => "it had lived as long as its environment lets it (sandbox.life_seconds)",
            Self::Memory => "it ran out of memory (sandbox.memory_mib)",
            Self::Disk => {
                "the server's disk is nearly full, and this session was writing most; delete what is not needed before writing more"
            }
        }
    }

    /// What the end of an init tells. `killed`: processes of it that were killed for memory.
    pub(super) fn of(status: &WaitStatus, killed: u64) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, limits::TOO_OLD) => Some(Self::Age),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) if killed > 0 => Some(Self::Memory),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Left {
    incarnation: IncarnationId,
    why: Why,
}

/// Leaves word of it.
pub(super) fn write(sandbox: &Path, incarnation: &IncarnationId, why: Why) {
    // Without it nobody is told, which is no worse than before.
    let text = serde_json::to_vec(&Left { incarnation: incarnation.clone(), why }).unwrap_or_default();
    let _ = directory::replace(&sandbox.join(layout::ENDED), &text);
}

/// Why this life ended, if word was left.
pub(crate) fn read(sandbox: &Path, incarnation: &IncarnationId) -> Option<Why> {
    let left: Left = serde_json::from_slice(&fs::read(sandbox.join(layout::ENDED)).ok()?).ok()?;
    (left.incarnation == *incarnation).then_some(left.why)
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn the_end_of_an_init_tells_why() {
        let pid = Pid::from_raw(1);
        let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        assert_eq!(Why::of(&WaitStatus::Exited(pid, limits::TOO_OLD), 0), Some(Why::Age));
        assert_eq!(Why::of(&WaitStatus::Exited(pid, 0), 1), None);
        assert_eq!((Why::of(&killed, 1), Why::of(&killed, 0)), (Some(Why::Memory), None));
    }

    #[test]
    fn word_is_of_one_life() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other): (IncarnationId, IncarnationId) = ("inc_1".parse().unwrap(), "inc_2".parse().unwrap());
        assert_eq!(read(dir.path(), &one), None);
        write(dir.path(), &one, Why::Disk);
        assert_eq!((read(dir.path(), &one), read(dir.path(), &other)), (Some(Why::Disk), None));
    }
}
