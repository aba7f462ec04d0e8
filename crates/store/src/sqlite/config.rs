//! How a SQLite store is opened. Reading configuration files is not done here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::limits;

/// A place in the writer where a test may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPoint {
    /// All jobs of a group have run, nothing is committed.
    BeforeCommit,
    /// The group is committed, nobody has been answered.
    AfterCommit,
}

/// Called by the writer at each [`FaultPoint`].
pub type FaultHook = Arc<dyn Fn(FaultPoint) + Send + Sync>;

/// How to open a store.
#[derive(Clone)]
pub struct SqliteConfig {
    /// The data directory; made with mode 0700 when it is missing.
    pub dir: PathBuf,
    /// Reader threads; see [`limits::READERS`].
    pub readers: usize,
    /// The most pages (4 KiB) the database may have; `None` is SQLite's own limit.
    pub max_pages: Option<u32>,
    /// For crash tests.
    pub fault: Option<FaultHook>,
}

impl SqliteConfig {
    /// A store in `dir`, everything else as usual.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), readers: limits::DEFAULT_READERS, max_pages: None, fault: None }
    }
}

impl fmt::Debug for SqliteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteConfig")
            .field("dir", &self.dir)
            .field("readers", &self.readers)
            .field("max_pages", &self.max_pages)
            .field("fault", &self.fault.is_some())
            .finish()
    }
}
