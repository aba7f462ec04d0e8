//! How long anything is waited for. They end a broken test; no test depends on their length.

use std::time::Duration;

/// For a server to say that it serves.
pub(crate) const START: Duration = Duration::from_secs(30);
/// For a process to end that was told to.
pub(crate) const END: Duration = Duration::from_secs(30);
/// For the next thing that must happen.
pub(crate) const NEXT: Duration = Duration::from_secs(60);
/// Between two looks at what can only be looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// Events of a page.
pub(crate) const PAGE: usize = 1_000;
/// Bytes of a server's log that are kept to be shown.
pub(crate) const LOG_BYTES: usize = 1 << 20;
