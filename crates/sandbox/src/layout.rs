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
/// Why the last life ended, if that is known.
pub(crate) const ENDED: &str = "ended.json";
/// Settled results that are not acknowledged; not visible inside.
pub(crate) const RESULTS: &str = "results";
/// Archives on their way into or out of a sandbox; not visible inside.
pub(crate) const TRANSFERS: &str = "transfers";
/// The file system of a sandbox whose disk is limited by it.
pub(crate) const DISK: &str = "disk.img";
/// The number of the loop device that holds it, if it holds it.
pub(crate) const LOOP_DEVICE: &str = "disk.loop";
/// Where a disk is mounted for a moment, in the mount namespace of the spawner only.
pub(crate) const STAGE: &str = "stage";
/// Where images are.
pub(crate) const IMAGES: &str = "images";
/// The files of an image, in its directory.
pub(crate) const IMAGE_FILES: &str = "rootfs";
/// What is known of an image, in its directory.
pub(crate) const IMAGE_RECORD: &str = "image.json";
/// Where layers of packages are.
pub(crate) const LAYERS: &str = "layers";
/// The files of a layer, in its directory.
pub(crate) const LAYER_FILES: &str = "files";
/// What is known of a layer, in its directory.
pub(crate) const LAYER_RECORD: &str = "layer.json";
/// The key of the layer that a sandbox was last started on, in its directory.
pub(crate) const LAYER_IN_USE: &str = "layer";
/// What a build writes, in its directory.
pub(crate) const BUILD: &str = "build";
/// The part of it that becomes a layer.
pub(crate) const BUILD_FILES: &str = "files";
/// The same inside, relative to the root; for who counts it.
pub(crate) const BUILD_INSIDE: &str = "run/ostler-build";
/// Directories of a system that a layer may lie over.
pub(crate) const LAYERED: [&str; 9] = ["usr", "opt", "var", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// The directory of the certificates that sandboxes with doors trust.
pub(crate) const TRUST: &str = "trust";
/// In it, in PEM.
pub(crate) const TRUST_PEM: &str = "certificates.pem";
/// In it, as programs in Java read them.
pub(crate) const TRUST_JAVA: &str = "java.jks";
/// The directory inside, relative to the root.
pub(crate) const TRUST_INSIDE: &str = "etc/ostler-trust";
/// Before the size of an empty file system that is copied for each new sandbox.
pub(crate) const TEMPLATE: &str = "empty-";
/// Before the names of sandboxes that have no session yet.
pub(crate) const SPARE: &str = "spare-";
/// Before the names of sandboxes in which layers are built. They are nobody's session.
pub(crate) const BUILDS: &str = "sesn_build-";
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

/// What sessions are given, which they can read.
pub(crate) const UPLOADS: &str = "uploads";

/// All such directories.
pub(crate) const SHARED: [Shared; 6] = [
    Shared { name: "workspace", target: "workspace", writable: true },
    Shared { name: "home", target: "home/agent", writable: true },
    Shared { name: "outputs", target: "mnt/session/outputs", writable: true },
    Shared { name: UPLOADS, target: "mnt/session/uploads", writable: false },
    Shared { name: "shell", target: "run/ostler", writable: true },
    Shared { name: CALLS, target: "mnt/session/calls", writable: false },
];

/// Where calls start, inside.
pub(crate) const WORKSPACE: &str = "/workspace";
/// What the disk's limit counts, inside.
pub(crate) const COUNTED: [&str; 5] = ["/workspace", "/home/agent", "/mnt/session/outputs", "/run/ostler", "/run/ostler-build"];
/// Where the full outputs are, inside.
pub(crate) const CALLS_INSIDE: &str = "/mnt/session/calls";
/// The saved shell state, inside.
pub(crate) const SHELL_STATE: &str = "/run/ostler/state";
/// Where shells leave things for a moment, inside, relative to the root: in memory.
pub(crate) const SHELL_SCRATCH: &str = "run/ostler-shell";
/// How the command of a shell ended, inside; before the shell's pid.
pub(crate) const SHELL_STATUS: &str = "/run/ostler-shell/status";
/// The state that a shell leaves, inside; before the shell's pid.
pub(crate) const SHELL_LEFT: &str = "/run/ostler-shell/state";
/// Where the proxy listens, inside.
pub(crate) const PROXY_PORT: u16 = 3_128;
/// Where the name server listens, inside.
pub(crate) const DNS_PORT: u16 = 53;
/// The user that everything runs as, inside.
pub(crate) const AGENT_ID: u32 = 1_000;
