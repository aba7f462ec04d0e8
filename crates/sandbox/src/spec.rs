//! What the server asks of its sandboxes, and what it is told of their isolation.

use std::ffi::OsString;
use std::path::PathBuf;

pub use ostler_core::resources::sandbox::IsolationFloor;
use serde::{Deserialize, Serialize};

/// How to use the sandboxes of one directory.
#[derive(Debug, Clone)]
pub struct SandboxesConfig {
    /// Holds everything about the sandboxes; nobody but the server's user may enter it.
    pub dir: PathBuf,
    /// The program that becomes the spawner when none is alive.
    pub spawner: SpawnerCommand,
    /// The host ids given to sandboxes when the server is root.
    pub uid_block: UidBlock,
    /// The server's epoch; an init that has seen a higher one refuses it.
    pub epoch: u64,
    /// A container engine, if there is one for sandboxes.
    pub oci: Option<OciConfig>,
}

/// A container engine, and what its sandboxes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciConfig {
    /// The socket of the engine's API (Docker's).
    pub socket: PathBuf,
    /// The OCI runtime, by the engine's name for it; none: the engine's default.
    pub runtime: Option<String>,
    /// What that runtime isolates.
    pub isolation: IsolationFloor,
    /// Whether every sandbox is one of its, and not only those that ask for more than the other backend has.
    pub for_all: bool,
}

/// A program that calls [`crate::spawner_main`] before it has a second thread.
#[derive(Debug, Clone)]
pub struct SpawnerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A range of host user and group ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidBlock {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The block that is used if none is named.
pub const DEFAULT_UIDS: UidBlock = UidBlock { first: 2_000_000_000, count: 65_536 * 32_767 };

impl Default for UidBlock {
    /// 32,767 sandboxes of 65,536 ids, living or parked, far above what systems give to people and services.
    fn default() -> Self {
        DEFAULT_UIDS
    }
}

/// The limits of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// Milliseconds of a bash call that names no timeout.
    pub bash_timeout_default_ms: u64,
    /// Bytes of memory of all processes together, `/tmp` and `/dev/shm` included; held by control groups, or
    /// watched.
    pub max_memory_bytes: u64,
    /// Of one processor, in percent, of all processes together; 0 is all there is. Holds where there are
    /// control groups.
    pub max_cpu_percent: u64,
    /// Processes and threads.
    pub max_processes: u64,
    /// Open files of one process.
    pub max_open_files: u64,
    /// Bytes of one file.
    pub max_file_bytes: u64,
    /// Bytes of `/tmp`, at most a quarter of the memory.
    pub tmp_bytes: u64,
    /// Files in `/tmp`.
    pub tmp_inodes: u64,
    /// Bytes of `/dev/shm`, at most an eighth of the memory.
    pub shm_bytes: u64,
    /// Files in `/dev/shm`.
    pub shm_inodes: u64,
    /// Bytes of the workspace, the home directory, the outputs and what is kept of calls, together. Fixed when
    /// the sandbox is first started; 0: no limit at all.
    pub disk_bytes: u64,
    /// Files of the same, together.
    pub disk_inodes: u64,
    /// Bytes of a command's output that are kept.
    pub max_output_bytes: u64,
    /// Milliseconds of the longest command.
    pub max_command_ms: u64,
    /// Milliseconds of the longest life; 0: no limit.
    pub max_life_ms: u64,
    /// The name of the image that is its system; none: the host's own.
    pub image: Option<String>,
    /// The key of the layer of packages over its system; none: the system as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<String>,
    /// Whether its system can be written, so that a layer of packages is made, and by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildAs>,
    /// Whether it has doors: listeners in its network that lead to whoever takes them. Without, it is offline.
    pub doors: bool,
    /// What must hold; a sandbox that cannot have it is not started.
    pub required: Required,
    /// Layers that it lacks. Not in any build that is released.
    #[cfg(feature = "weaken")]
    pub lacks: Vec<String>,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self {
            bash_timeout_default_ms: crate::limits::BASH_TIMEOUT_MS,
            max_memory_bytes: 2 << 30,
            max_cpu_percent: 0,
            max_processes: 512,
            max_open_files: 4_096,
            max_file_bytes: 4 << 30,
            tmp_bytes: 512 << 20,
            tmp_inodes: 65_536,
            shm_bytes: 64 << 20,
            shm_inodes: 4_096,
            disk_bytes: 2 << 30,
            disk_inodes: 131_072,
            max_output_bytes: 16 << 20,
            max_command_ms: crate::limits::BASH_TIMEOUT_MAX_MS,
            max_life_ms: 0,
            image: None,
            packages: None,
            build: None,
            doors: false,
            required: Required::default(),
            #[cfg(feature = "weaken")]
            lacks: Vec::new(),
        }
    }
}

impl SandboxSpec {
    /// Whether it lacks a layer, which only a build for tests can be asked for.
    #[cfg(feature = "weaken")]
    pub(crate) fn lacks(&self, layer: &str) -> bool {
        self.lacks.iter().any(|lacking| lacking == layer)
    }

    /// It lacks nothing.
    #[cfg(not(feature = "weaken"))]
    #[expect(clippy::unused_self, reason = "a build for tests asks the specification")]
    pub(crate) const fn lacks(&self, _layer: &str) -> bool {
        false
    }

    /// Bytes of one file: no more than all files together, unless init could not write a result then.
    pub(crate) fn file_bytes(&self) -> u64 {
        const LEAST: u64 = 64 << 20;
        if self.disk_bytes == 0 { self.max_file_bytes } else { self.max_file_bytes.min(self.disk_bytes.max(LEAST)) }
    }

    /// Bytes of `/tmp` and of `/dev/shm`. What is in them counts as memory that no killing frees, so it is a
    /// small part of all there is, or a full one would end init itself.
    pub(crate) fn scratch_bytes(&self) -> (u64, u64) {
        (self.tmp_bytes.min(self.max_memory_bytes / 4), self.shm_bytes.min(self.max_memory_bytes / 8))
    }
}

/// As whom packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildAs {
    /// The user that everything runs as.
    Agent,
    /// The root of the sandbox's ids, who is nobody outside of it. Some managers need that.
    Root,
}

/// What a server wants of its spawner while it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// How long a sandbox lives that no server needs.
    pub orphan_ttl: std::time::Duration,
    /// How many sandboxes are to be ready for sessions to come.
    pub spares: u32,
    /// The limits of those.
    pub spec: SandboxSpec,
}

/// What must hold of a sandbox, beyond what every one has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Required {
    /// The least isolation.
    pub isolation: IsolationFloor,
    /// Limits of memory, processes, processor and disk that the kernel holds, not a watcher.
    pub hard_limits: bool,
}

/// How the ids inside a sandbox relate to the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMapping {
    /// A range of its own: no sandbox shares an id with the host or another sandbox.
    OwnRange,
    /// The server's own user: sandboxes share one host id, as an ordinary user can have no more.
    ServerUser,
}

/// The isolation that sandboxes really get, found by starting one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The backend.
    pub backend: &'static str,
    /// The ids.
    pub ids: IdMapping,
    /// The layers that are on, in the order of their set-up.
    pub layers: Vec<String>,
}
