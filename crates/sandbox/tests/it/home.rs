//! A directory of sandboxes with a spawner of its own, gone at the end of a test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_core::call::CallOutcome;
use ostler_core::ids::{EventId, IncarnationId, SessionId};
use ostler_sandbox::{CallRequest, Connection, SandboxSpec, Sandboxes, SandboxesConfig, SpawnerCommand, UidBlock};
use serde_json::{Value, json};

pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) sandboxes: Sandboxes,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn call_id() -> EventId {
    format!("sevt_{}", next()).parse().unwrap()
}

pub(crate) fn incarnation() -> IncarnationId {
    format!("inc_{}", next()).parse().unwrap()
}

pub(crate) fn session() -> SessionId {
    format!("sesn_{}", next()).parse().unwrap()
}

pub(crate) fn config(dir: &Path, epoch: u64) -> SandboxesConfig {
    let spawner = SpawnerCommand { program: env!("CARGO_BIN_EXE_ostler-spawner").into(), args: Vec::new() };
    SandboxesConfig { dir: dir.into(), spawner, uid_block: UidBlock::default(), epoch, oci: None }
}

impl Home {
    pub(crate) async fn new() -> Self {
        Self::inside(&std::env::temp_dir()).await
    }

    /// On the file system of a directory.
    pub(crate) async fn inside(place: &Path) -> Self {
        let dir = tempfile::tempdir_in(place).unwrap();
        // Longer than the address of a socket may be.
        let sandboxes = Sandboxes::start(config(&dir.path().join("d".repeat(120)), 1)).await.unwrap();
        Self { dir, sandboxes }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("d".repeat(120))
    }

    /// The next server on the same directory.
    pub(crate) async fn server(&self, epoch: u64) -> Sandboxes {
        Sandboxes::start(config(&self.path(), epoch)).await.unwrap()
    }

    pub(crate) async fn sandbox(&self) -> (SessionId, Connection) {
        let id = session();
        let connection = self.sandboxes.create(&id, &incarnation(), &SandboxSpec::default()).await.unwrap();
        (id, connection)
    }

    pub(crate) async fn end(self) {
        for id in self.sandboxes.list().await.unwrap() {
            self.sandboxes.remove(&id).await.unwrap();
        }
        self.sandboxes.shutdown().await.unwrap();
    }
}

impl Drop for Home {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        use std::io::{Read, Write};
        use std::os::fd::AsRawFd;
        let Ok(opened) = std::fs::File::open(self.path()) else { return };
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(format!("/proc/self/fd/{}/spawner.sock", opened.as_raw_fd())) else {
            return;
        };
        for message in [json!({"type": "hello", "version": 1}), json!({"type": "shutdown"})] {
            let _ = stream.write_all(&ostler_sandbox::protocol::frame::encode(&message).unwrap());
        }
        // The spawner closes the connection when it ends.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

pub(crate) fn request(tool: &str, input: Value) -> CallRequest {
    CallRequest { id: call_id(), tool: tool.into(), input, timeout_ms: None, environment: std::collections::BTreeMap::new() }
}

pub(crate) fn bash(command: &str) -> CallRequest {
    const LONG_ENOUGH_MS: u64 = 30_000;
    CallRequest { timeout_ms: Some(LONG_ENOUGH_MS), ..request("bash", json!({"command": command})) }
}

pub(crate) fn text(outcome: &CallOutcome) -> &str {
    outcome.content[0]["text"].as_str().unwrap()
}

/// Runs a command that must succeed and returns its output without the last line break.
pub(crate) async fn sh(connection: &Connection, command: &str) -> String {
    let outcome = connection.run(&bash(command)).await.unwrap();
    assert!(!outcome.is_error, "{command}: {}", text(&outcome));
    text(&outcome).trim_end_matches('\n').to_owned()
}
