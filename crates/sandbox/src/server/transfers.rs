//! Moving archives into and out of sandboxes. The host opens one file of its own directory, and no file that a
//! workload could have made: who writes there is init, and the tool that it runs for this.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ostler_core::call::CallOutcome;
use ostler_core::hex::hex;
use ostler_core::ids::{EventId, SessionId};
use serde_json::Value;

use super::connection::{CallRequest, Connection};
use super::sandboxes::Sandboxes;
use crate::error::SandboxError;
use crate::layout::{self, SHARED};
use crate::sys;
use crate::transfer::{Moved, Transfer};

/// What is not in a snapshot: the outputs of calls, which are in the journal.
const NOT_KEPT: [&str; 1] = [layout::CALLS];

/// An archive on its way, which does not stay where it is whatever becomes of who moves it.
#[derive(Debug)]
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn failed(what: &str) -> impl Fn(io::Error) -> SandboxError + '_ {
    move |error| SandboxError::Transfer(format!("{what}: {error}"))
}

impl Sandboxes {
    /// An archive of the session's files (tar), made inside its living sandbox. Names begin with `workspace/`,
    /// `home/`, `outputs/`, `uploads/` or `shell/`.
    ///
    /// # Errors
    /// When the files have more than `max_bytes`, or the sandbox ended meanwhile.
    pub async fn snapshot(&self, id: &SessionId, connection: &Connection, max_bytes: u64) -> Result<File, SandboxError> {
        let parts = SHARED.iter().map(|shared| shared.name).filter(|name| !NOT_KEPT.contains(name)).map(str::to_owned).collect();
        let call = call_id()?;
        let archive = Passing(self.transfers(id).join(call.as_str()));
        let moved = self.transfer(connection, &call, &Transfer::Pack { parts, max_bytes }).await?;
        if moved.skipped > 0 {
            tracing::warn!(session = %id, count = moved.skipped, "what is no file, or cannot be read inside, was left out of an archive");
        }
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&archive.0);
        let opened = opened.and_then(|file| if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) });
        opened.map_err(failed("taking a snapshot"))
    }

    /// Puts the files of a snapshot into a living sandbox, in the place of what is there under the same names.
    ///
    /// # Errors
    /// When the archive is none, or the files do not fit.
    pub async fn restore(&self, id: &SessionId, connection: &Connection, archive: File) -> Result<(), SandboxError> {
        let call = call_id()?;
        let _passing = Passing(self.put(id, &call, archive).await?);
        self.transfer(connection, &call, &Transfer::Unpack).await.map(drop)
    }

    pub(super) fn transfers(&self, id: &SessionId) -> PathBuf {
        self.directory(id).join(layout::TRANSFERS)
    }

    /// Copies an archive to where the sandbox can read it.
    pub(super) async fn put(&self, id: &SessionId, call: &EventId, mut archive: File) -> Result<PathBuf, SandboxError> {
        let path = self.transfers(id).join(call.as_str());
        let target = path.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&mut archive, &target)).await;
        copied.map_err(io::Error::other).and_then(|done| done).map_err(failed("giving an archive to a sandbox"))?;
        Ok(path)
    }

    /// Has it done inside.
    pub(super) async fn transfer(&self, connection: &Connection, call: &EventId, transfer: &Transfer) -> Result<Moved, SandboxError> {
        let refused = |why: String| SandboxError::Transfer(why);
        let mut input = serde_json::to_value(transfer).map_err(|error| refused(error.to_string()))?;
        let tool = input.as_object_mut().and_then(|input| input.remove("tool"));
        let tool = tool.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let request = CallRequest { id: call.clone(), tool, input, timeout_ms: None, environment: BTreeMap::new() };
        let outcome = connection.run(&request).await.map_err(|error| refused(error.to_string()))?;
        connection.acknowledge(call).await;
        let text = said(&outcome);
        if outcome.is_error {
            return Err(refused(text));
        }
        serde_json::from_str(&text).map_err(|error| refused(format!("a sandbox said {text:?}: {error}")))
    }
}

fn said(outcome: &CallOutcome) -> String {
    outcome.content.iter().filter_map(|block| block["text"].as_str()).collect()
}

fn copy(from: &mut File, to: &Path) -> io::Result<()> {
    const READABLE_INSIDE: u32 = 0o644;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(READABLE_INSIDE).custom_flags(libc::O_NOFOLLOW).open(to)?;
    io::copy(from, &mut target).map(drop)
}

pub(super) fn call_id() -> Result<EventId, SandboxError> {
    let bytes = sys::random::<12>().map_err(failed("naming a transfer"))?;
    let name = hex(bytes);
    format!("sevt_transfer{name}").parse().map_err(|_| SandboxError::Transfer("a transfer has no name".into()))
}
