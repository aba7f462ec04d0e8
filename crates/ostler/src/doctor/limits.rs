//! Every named limit of the examination.

use std::time::Duration;

/// How long a model provider may take to be found, connected to and to answer.
pub(super) const PROVIDER: Duration = Duration::from_secs(10);
/// Bytes of a provider's list of models that are read.
pub(super) const MODEL_LIST_BYTES: usize = 4 << 20;
/// How long a server on our address may take to say that it is one.
pub(super) const HEALTH: Duration = Duration::from_secs(2);
/// Bytes of what it says.
pub(super) const HEALTH_BYTES: usize = 4 << 10;
/// How long the disk of the data directory may take for everything it is asked.
pub(super) const DISK: Duration = Duration::from_secs(10);
/// How long a throw-away sandbox may take from its start to its answer.
pub(super) const SANDBOX: Duration = Duration::from_secs(20);
/// How long removing it may take.
pub(super) const SANDBOX_END: Duration = Duration::from_secs(10);
/// Writes whose time is taken.
pub(super) const SYNCS: usize = 9;
/// After so long no further write is timed.
pub(super) const SYNCS_FOR: Duration = Duration::from_secs(2);
/// Bytes of one of them: a page of the database.
pub(super) const SYNC_BYTES: usize = 4 << 10;
/// Above this a write makes every step of every session wait noticeably.
pub(super) const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Below this much free space it is time to look for more.
pub(super) const LITTLE_SPACE_BYTES: u64 = 1 << 30;
/// Files that can still be made, below which it is time to look for more.
pub(super) const FEW_FILES: u64 = 10_000;
/// Bytes of a file of settings, of users or of the kernel that are read.
pub(super) const FILE_BYTES: u64 = 4 << 20;
/// Characters of a text that others wrote.
pub(super) const QUOTE_CHARS: usize = 300;
/// Shortest key that any of the known providers gives out.
pub(super) const SHORT_KEY_CHARS: usize = 16;
