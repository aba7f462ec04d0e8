//! What the runtime needs of a place that isolates sessions, and its implementation by
//! `ostler-sandbox`. Tests bring their own.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use ostler_core::call::CallOutcome;
use ostler_core::ids::{EventId, IncarnationId, SessionId};
pub use ostler_sandbox::SandboxSpec;
use ostler_sandbox::{AttachError, CallError, CallRequest, Connection, Sandboxes, Wishes};

use crate::packages::PackageLayers;

/// Why a surviving sandbox could not be reached.
#[derive(Debug)]
pub enum AttachFailure {
    /// That life is over.
    Gone,
    /// It may live, but cannot be reached; says why.
    Unreachable(String),
}

/// Starts, finds and ends sandboxes.
#[async_trait]
pub trait SandboxBackend: Send + Sync + std::fmt::Debug {
    /// Whether the machine has room for one more; says what it lacks.
    async fn room(&self, spec: &SandboxSpec) -> Result<(), String>;
    /// Starts the sandbox's next life, ending an earlier one. Errors say what to do.
    async fn create(&self, session: &SessionId, incarnation: &IncarnationId, spec: &SandboxSpec) -> Result<Arc<dyn SandboxLink>, String>;
    /// Reaches a life that may have survived the last server.
    async fn attach(&self, session: &SessionId, incarnation: &IncarnationId) -> Result<Arc<dyn SandboxLink>, AttachFailure>;
    /// Ends it; nothing of it runs any more when this returns. Its files stay.
    async fn stop(&self, session: &SessionId) -> Result<(), String>;
    /// The sandboxes that live, and what they use.
    async fn living(&self) -> Result<Vec<Living>, String>;
    /// Says that these are needed, and what a sandbox has if nothing is asked: some may be made ready. What nobody
    /// has needed for long is ended; to be said every minute.
    async fn attend(&self, needed: Vec<SessionId>, usual: &SandboxSpec) -> Result<(), String>;
    /// The sandboxes that live or have files.
    async fn list(&self) -> Result<Vec<SessionId>, String>;
    /// An archive (tar) of its session's files, living or not. Not beside a start of the same sandbox.
    async fn snapshot(&self, session: &SessionId, spec: &SandboxSpec, max_bytes: u64) -> Result<File, String>;
    /// Puts the files of such an archive into the place of what is there under the same names.
    async fn restore(&self, session: &SessionId, spec: &SandboxSpec, archive: File) -> Result<(), String>;
    /// Ends it and deletes its files.
    async fn remove(&self, session: &SessionId) -> Result<(), String>;
    /// Where layers of packages lie, if its sandboxes can lie on some.
    fn layers(&self) -> Option<Arc<dyn PackageLayers>> {
        None
    }
}

/// One life of a sandbox.
#[async_trait]
pub trait SandboxLink: Send + Sync + std::fmt::Debug {
    /// Runs a call, or waits for it where it was given already. Never runs an id twice.
    async fn run(&self, call: &CallRequest) -> Result<CallOutcome, CallError>;
    /// Ends a call; its result then says so, once its processes are gone.
    async fn cancel(&self, call: &EventId);
    /// The result is in the journal and need not be kept.
    async fn acknowledge(&self, call: &EventId);
    /// The listeners of its network: proxy, ports 80 and 443 of every name, the name server over UDP and TCP; none where it has no way
    /// out. Errors say what went wrong.
    async fn doors(&self) -> Result<Option<Vec<OwnedFd>>, String>;
}

/// A sandbox that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Living {
    /// Its session.
    pub session: SessionId,
    /// How long it has lived, in milliseconds.
    pub age_ms: u64,
    /// Bytes of memory, if that is counted.
    pub memory_bytes: Option<u64>,
    /// Processes and threads, if they are counted.
    pub processes: Option<u64>,
    /// Processor time in milliseconds, if that is counted.
    pub cpu_ms: Option<u64>,
}

/// Sandboxes of this machine.
#[derive(Debug)]
pub struct LocalSandboxes {
    sandboxes: Sandboxes,
    wishes: Wishes,
}

impl LocalSandboxes {
    /// Sandboxes of a spawner that is to do as the wishes say.
    pub fn new(sandboxes: Sandboxes, wishes: Wishes) -> Self {
        Self { sandboxes, wishes }
    }
}

impl LocalSandboxes {
    /// The way to the living sandbox of a session, or to one that is started for the moment: no record names it.
    async fn reached(&self, session: &SessionId, spec: &SandboxSpec) -> Result<(Connection, bool), String> {
        let living = self.sandboxes.living().await.map_err(|error| error.to_string())?;
        match living.into_iter().find(|listed| listed.sandbox_id == *session) {
            Some(listed) => {
                let connection = self.sandboxes.attach(session, &listed.incarnation).await.map_err(|error| error.to_string())?;
                Ok((connection, false))
            }
            None => {
                let name = format!("inc_archive{:016x}", std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
                let incarnation = name.parse().map_err(|_| "a life has no name".to_owned())?;
                let connection = self.sandboxes.create(session, &incarnation, spec).await.map_err(|error| error.to_string())?;
                Ok((connection, true))
            }
        }
    }

    /// Ends one that was started for the moment, unless the session has started its own meanwhile.
    async fn left(&self, session: &SessionId, connection: &Connection, is_ours: bool) -> Result<(), String> {
        let living = self.sandboxes.living().await.map_err(|error| error.to_string())?;
        let is_there = living.iter().any(|listed| listed.sandbox_id == *session && listed.incarnation == *connection.incarnation());
        if is_ours && is_there { self.sandboxes.stop(session).await.map_err(|error| error.to_string()) } else { Ok(()) }
    }
}

#[async_trait]
impl SandboxBackend for LocalSandboxes {
    async fn room(&self, spec: &SandboxSpec) -> Result<(), String> {
        self.sandboxes.room(spec)
    }

    async fn create(&self, session: &SessionId, incarnation: &IncarnationId, spec: &SandboxSpec) -> Result<Arc<dyn SandboxLink>, String> {
        let connection = self.sandboxes.create(session, incarnation, spec).await.map_err(|error| error.to_string())?;
        Ok(Arc::new(connection))
    }

    async fn attach(&self, session: &SessionId, incarnation: &IncarnationId) -> Result<Arc<dyn SandboxLink>, AttachFailure> {
        match self.sandboxes.attach(session, incarnation).await {
            Ok(connection) => Ok(Arc::new(connection)),
            Err(AttachError::Gone) => Err(AttachFailure::Gone),
            Err(AttachError::Other(error)) => Err(AttachFailure::Unreachable(error.to_string())),
        }
    }

    async fn stop(&self, session: &SessionId) -> Result<(), String> {
        self.sandboxes.stop(session).await.map_err(|error| error.to_string())
    }

    async fn living(&self) -> Result<Vec<Living>, String> {
        let living = self.sandboxes.living().await.map_err(|error| error.to_string())?;
        Ok(living
            .into_iter()
            .map(|listed| Living {
                session: listed.sandbox_id,
                age_ms: listed.age_ms,
                memory_bytes: listed.memory_bytes,
                processes: listed.processes,
                cpu_ms: listed.cpu_ms,
            })
            .collect())
    }

    async fn attend(&self, mut needed: Vec<SessionId>, usual: &SandboxSpec) -> Result<(), String> {
        // An import of an image beside this server, which no session is.
        needed.extend(self.sandboxes.tried().await.map_err(|error| error.to_string())?);
        let wishes = Wishes { spec: usual.clone(), ..self.wishes.clone() };
        self.sandboxes.attend(needed, &wishes).await.map_err(|error| error.to_string())
    }

    async fn list(&self) -> Result<Vec<SessionId>, String> {
        self.sandboxes.kept().await.map_err(|error| error.to_string())
    }

    async fn snapshot(&self, session: &SessionId, spec: &SandboxSpec, max_bytes: u64) -> Result<File, String> {
        let (connection, is_ours) = self.reached(session, spec).await?;
        let taken = self.sandboxes.snapshot(session, &connection, max_bytes).await;
        self.left(session, &connection, is_ours).await?;
        taken.map_err(|error| error.to_string())
    }

    async fn restore(&self, session: &SessionId, spec: &SandboxSpec, archive: File) -> Result<(), String> {
        let (connection, is_ours) = self.reached(session, spec).await?;
        let done = self.sandboxes.restore(session, &connection, archive).await;
        self.left(session, &connection, is_ours).await?;
        done.map_err(|error| error.to_string())
    }

    async fn remove(&self, session: &SessionId) -> Result<(), String> {
        self.sandboxes.remove(session).await.map_err(|error| error.to_string())
    }

    fn layers(&self) -> Option<Arc<dyn PackageLayers>> {
        Some(Arc::new(self.sandboxes.clone()))
    }
}

#[async_trait]
impl SandboxLink for Connection {
    async fn run(&self, call: &CallRequest) -> Result<CallOutcome, CallError> {
        Connection::run(self, call).await
    }

    async fn cancel(&self, call: &EventId) {
        Connection::cancel(self, call).await;
    }

    async fn acknowledge(&self, call: &EventId) {
        Connection::acknowledge(self, call).await;
    }

    async fn doors(&self) -> Result<Option<Vec<OwnedFd>>, String> {
        Connection::doors(self).await.map_err(|error| error.to_string())
    }
}
