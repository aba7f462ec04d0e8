//! Messages between the server and the spawner. One request at a time on a connection.

use ostler_core::ids::{IncarnationId, SessionId};
use serde::{Deserialize, Serialize};

use crate::spec::{IdMapping, SandboxSpec};

/// What the server asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// First on every connection.
    Hello {
        /// The version that the server speaks.
        version: u32,
    },
    /// Starts a sandbox; one of that id that lives is killed first (since version 2; refused before).
    /// Answered `created` or `refused`.
    Create {
        /// The sandbox.
        sandbox_id: SessionId,
        /// The name of its new life.
        incarnation: IncarnationId,
        /// Its limits.
        spec: SandboxSpec,
    },
    /// Makes the directory of a sandbox that a container engine starts; answered `prepared`. Since version 2.
    Prepare {
        /// The sandbox.
        sandbox_id: SessionId,
    },
    /// Kills a sandbox; answered `killed` once nothing of it is left.
    Kill {
        /// The sandbox.
        sandbox_id: SessionId,
    },
    /// Answered `sandboxes`.
    List,
    /// A server is there and needs these sandboxes. One that no server has needed for a while is killed, and
    /// without any the spawner ends as well. Answered `attended`. Since version 2.
    Attend {
        /// What it needs.
        sandbox_ids: Vec<SessionId>,
        /// The while, in milliseconds.
        orphan_ttl_ms: u64,
        /// How many sandboxes are to be ready for sessions to come.
        spares: u32,
        /// The limits of those.
        spec: SandboxSpec,
    },
    /// Kills all sandboxes and ends the spawner; answered `bye`.
    Shutdown,
}

/// What the spawner answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// To `hello`.
    Welcome {
        /// The version that the spawner speaks.
        version: u32,
    },
    /// The sandbox is confined and its init listens.
    Created {
        /// The sandbox.
        sandbox_id: SessionId,
        /// The name of its life.
        incarnation: IncarnationId,
        /// How its ids are mapped.
        ids: IdMapping,
        /// The layers that were set up.
        layers: Vec<String>,
    },
    /// The directory is there, with ids that no other sandbox has.
    Prepared {
        /// The sandbox.
        sandbox_id: SessionId,
        /// The first of its ids on the host.
        first_id: u32,
    },
    /// Nothing of the sandbox is left.
    Killed {
        /// The sandbox.
        sandbox_id: SessionId,
        /// Whether it was alive before.
        was_alive: bool,
    },
    /// The sandboxes with a living init.
    Sandboxes {
        /// All of them.
        sandboxes: Vec<Listed>,
        /// How many are ready for sessions to come.
        #[serde(default)]
        spares: u32,
    },
    /// To `attend`.
    Attended,
    /// The request is not performed.
    Refused {
        /// The layer or step that failed.
        layer: String,
        /// Why.
        reason: String,
        /// What a person can do about it.
        remedy: String,
    },
    /// To `shutdown`.
    Bye,
}

/// A sandbox with a living init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The sandbox.
    pub sandbox_id: SessionId,
    /// The name of its life.
    pub incarnation: IncarnationId,
    /// How long it has lived.
    #[serde(default)]
    pub age_ms: u64,
    /// Bytes of memory of all its processes, `/tmp` included, if that is counted.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Its processes and threads, if they are counted.
    #[serde(default)]
    pub processes: Option<u64>,
    /// The processor's time that it has used, if that is counted.
    #[serde(default)]
    pub cpu_ms: Option<u64>,
}
