//! The spawner as the server sees it: asked over a connection per request, and started when none
//! is alive.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::wire::{self, Incoming};
use crate::error::SandboxError;
use crate::protocol::spawner::{Answer, Request};
use crate::protocol::{self, VERSION};
use crate::spawner::Launch;
use crate::spec::{SpawnerCommand, UidBlock};
use crate::{layout, limits};

const PEER: &str = "sandbox spawner";

#[derive(Debug)]
pub(super) struct Spawner {
    dir: PathBuf,
    command: SpawnerCommand,
    uid_block: UidBlock,
    starting: Mutex<()>,
    requests: Semaphore,
}

impl Spawner {
    pub(super) fn new(dir: PathBuf, command: SpawnerCommand, uid_block: UidBlock) -> Self {
        Self { dir, command, uid_block, starting: Mutex::new(()), requests: Semaphore::new(limits::SPAWNER_REQUESTS) }
    }

    /// Asks the living spawner, or one that is started for it.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, SandboxError> {
        let _turn = self.requests.acquire().await.map_err(|error| talk(io::Error::other(error)))?;
        let (mut incoming, mut writer) = self.reach().await?;
        let exchange = async {
            wire::send(&mut writer, request).await?;
            incoming.next().await
        };
        match timeout(limits::SPAWNER_ANSWER, exchange).await.map_err(|_| talk(io::ErrorKind::TimedOut.into()))?.map_err(talk)? {
            Answer::Refused { layer, reason, remedy } => Err(SandboxError::Isolation { layer, reason, remedy }),
            answer => Ok(answer),
        }
    }

    /// A connection on which hello was said. A spawner may end at any time; nothing was asked yet,
    /// so it is tried again.
    async fn reach(&self) -> Result<(Incoming<OwnedReadHalf>, OwnedWriteHalf), SandboxError> {
        let mut attempt = 1;
        loop {
            let error = match timeout(limits::SPAWNER_ANSWER, greet(&self.dir))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok((incoming, writer, Answer::Welcome { version })) if protocol::speaks(version) => return Ok((incoming, writer)),
                Ok((_, _, Answer::Refused { reason, remedy, .. })) => {
                    return Err(SandboxError::Protocol { peer: PEER, reason: format!("{reason}; {remedy}") });
                }
                Ok((_, _, other)) => {
                    let reason = format!(
                        "this server speaks version {VERSION} and it answered {other:?}; end all sessions of that release and its spawner, then start again"
                    );
                    return Err(SandboxError::Protocol { peer: PEER, reason });
                }
                Err(error) => error,
            };
            let ending = wire::nobody_listens(&error)
                || matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof);
            if !ending || attempt == limits::SPAWNER_ATTEMPTS {
                return Err(talk(error));
            }
            if attempt > 1 {
                tokio::time::sleep(limits::SPAWNER_RETRY).await;
            }
            attempt += 1;
            self.start().await?;
        }
    }

    async fn start(&self) -> Result<(), SandboxError> {
        let _one_at_a_time = self.starting.lock().await;
        if wire::connect(&self.dir, layout::SPAWNER_SOCKET).await.is_ok() {
            return Ok(());
        }
        let failed = |error: io::Error| SandboxError::Start(format!("{}: {error}", self.command.program.display()));
        let launch =
            serde_json::to_vec(&Launch { dir: self.dir.clone(), uid_block: self.uid_block }).map_err(|error| failed(error.into()))?;
        let mut command = tokio::process::Command::new(&self.command.program);
        command.args(&self.command.args).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().ok_or_else(|| failed(io::Error::other("it has no standard input")))?;
        stdin.write_all(&launch).await.map_err(failed)?;
        drop(stdin);
        let ended = timeout(limits::SPAWNER_START, child.wait_with_output()).await;
        let ended = ended.map_err(|_| failed(io::Error::new(io::ErrorKind::TimedOut, "it was not ready in time")))?.map_err(failed)?;
        if ended.status.success() { Ok(()) } else { Err(SandboxError::Start(String::from_utf8_lossy(&ended.stderr).trim().to_owned())) }
    }
}

fn talk(source: io::Error) -> SandboxError {
    SandboxError::Talk { peer: PEER, source }
}

async fn greet(dir: &Path) -> io::Result<(Incoming<OwnedReadHalf>, OwnedWriteHalf, Answer)> {
    let (reader, mut writer) = wire::connect(dir, layout::SPAWNER_SOCKET).await?.into_split();
    let mut incoming = Incoming::new(reader);
    wire::send(&mut writer, &Request::Hello { version: VERSION }).await?;
    let answer = incoming.next().await?;
    Ok((incoming, writer, answer))
}
