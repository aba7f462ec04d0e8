//! The names of things on disk: in the sandboxes' directory on the host, and inside a sandbox.

/// The socket of the spawner.
pub(crate) const SPAWNER_SOCKET: &str = "spawner.sock";
/// Locked by the living spawner.
pub(crate) const SPAWNER_LOCK: &str = "spawner.lock";
/// What a dying spawner has to say.
pub(crate) const SPAWNER_LOG: &str = "spawner.log";
/// The socket of an init, in its sandbox's directory.
pub(crate) const INIT_SOCKET: &str = "init.sock";
/// The secret that init asks for.
pub(crate) const SECRET: &str = "secret";
/// The number of the sandbox's id range.
pub(crate) const SLOT: &str = "slot";
/// Who init is on the host, for a spawner that did not start it.
pub(crate) const INIT_RECORD: &str = "init.json";
/// Settled results that are not acknowledged; not visible inside.
pub(crate) const RESULTS: &str = "results";
/// In the results: the life that they are of.
pub(crate) const LIFE: &str = ".life";
/// The full output of calls; read-only inside.
pub(crate) const CALLS: &str = "calls";

/// A directory of the host that is mounted into the sandbox.
pub(crate) struct Shared {
    /// Its name in the sandbox's directory.
    pub(crate) name: &'static str,
    /// Where it is inside, relative to the root.
    pub(crate) target: &'static str,
    /// Whether the workload may write it.
    pub(crate) writable: bool,
}

/// All such directories.
pub(crate) const SHARED: [Shared; 5] = [
    Shared { name: "workspace", target: "workspace", writable: true },
    Shared { name: "home", target: "home/agent", writable: true },
    Shared { name: "outputs", target: "mnt/session/outputs", writable: true },
    Shared { name: "shell", target: "run/ostler", writable: true },
    Shared { name: CALLS, target: "mnt/session/calls", writable: false },
];

/// Where calls start, inside.
pub(crate) const WORKSPACE: &str = "/workspace";
/// Where the full outputs are, inside.
pub(crate) const CALLS_INSIDE: &str = "/mnt/session/calls";
/// The saved shell state, inside.
pub(crate) const SHELL_STATE: &str = "/run/ostler/state";
/// The user that everything runs as, inside.
pub(crate) const AGENT_ID: u32 = 1_000;
