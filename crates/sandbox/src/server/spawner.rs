//! The spawner as the server sees it: asked over connections that are kept, one request at a time on each,
//! and started when none is alive.

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
use crate::protocol::{self, OLDEST, VERSION};
use crate::spawner::Launch;
use crate::spec::{Required, SpawnerCommand, UidBlock};
use crate::{layout, limits};

const PEER: &str = "sandbox spawner";

#[derive(Debug)]
pub(super) struct Spawner {
    dir: PathBuf,
    command: SpawnerCommand,
    uid_block: UidBlock,
    starting: Mutex<()>,
    requests: Semaphore,
    /// Connections that nobody uses at the moment.
    idle: std::sync::Mutex<Vec<Reached>>,
}

/// A connection on which hello was said.
#[derive(Debug)]
struct Reached {
    incoming: Incoming<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// What both sides speak.
    version: u32,
}

impl Reached {
    async fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        wire::send(&mut self.writer, request).await?;
        self.incoming.next().await
    }
}

impl Spawner {
    pub(super) fn new(dir: PathBuf, command: SpawnerCommand, uid_block: UidBlock) -> Self {
        let (starting, idle) = (Mutex::new(()), std::sync::Mutex::default());
        Self { dir, command, uid_block, starting, requests: Semaphore::new(limits::SPAWNER_REQUESTS), idle }
    }

    /// Asks the living spawner, or one that is started for it.
    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, SandboxError> {
        let _turn = self.requests.acquire().await.map_err(|error| talk(io::Error::other(error)))?;
        let kept = self.idle().pop();
        let mut reached = match kept {
            Some(reached) => reached,
            None => self.reach().await?,
        };
        let mut answered = self.exchange(&mut reached, request).await;
        // The spawner may have ended meanwhile. To ask twice does no harm: a sandbox that was started is killed
        // and started again before anything was given to it.
        if answered.as_ref().is_err_and(has_ended) {
            self.idle().clear();
            reached = self.reach().await?;
            answered = self.exchange(&mut reached, request).await;
        }
        let answer = answered.map_err(talk)?;
        if !answers(request, &answer) && !matches!((request, &answer), (Request::Shutdown, Answer::Bye)) {
            return Err(SandboxError::Protocol { peer: PEER, reason: format!("it answered out of order: {answer:?}") });
        }
        // One on which something else was said may have more to say.
        if answers(request, &answer) {
            self.idle().push(reached);
        }
        match answer {
            Answer::Refused { layer, reason, remedy } => Err(SandboxError::Isolation { layer, reason, remedy }),
            answer => Ok(answer),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Reached>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn exchange(&self, reached: &mut Reached, request: &Request) -> io::Result<Answer> {
        let exchange = async {
            match request {
                // An older spawner refuses while one of that id lives, and has no spares and no orphans.
                // What it does not know it would leave out, and start a sandbox that is less than was asked for.
                Request::Create { spec, .. } if reached.version < 2 && (spec.required != Required::default() || spec.image.is_some()) => {
                    return Err(io::Error::other(
                        "the living spawner is of an older release and knows neither isolation levels, hard limits nor images; end its sandboxes first",
                    ));
                }
                Request::Create { sandbox_id, .. } if reached.version < 2 => {
                    reached.ask(&Request::Kill { sandbox_id: sandbox_id.clone() }).await?;
                }
                Request::Prepare { .. } if reached.version < 2 => {
                    return Err(io::Error::other("the living spawner is of an older release; end its sandboxes to use a container engine"));
                }
                Request::Attend { .. } if reached.version < 2 => return Ok(Answer::Attended),
                _ => {}
            }
            reached.ask(request).await
        };
        timeout(limits::SPAWNER_ANSWER, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A connection on which hello was said. A spawner may end at any time; nothing was asked yet,
    /// so it is tried again.
    async fn reach(&self) -> Result<Reached, SandboxError> {
        let (mut attempt, mut version) = (1, VERSION);
        loop {
            let error = match timeout(limits::SPAWNER_ANSWER, greet(&self.dir, version))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            {
                Ok((incoming, writer, Answer::Welcome { version: theirs })) if protocol::speaks(theirs) => {
                    return Ok(Reached { incoming, writer, version: theirs.min(version) });
                }
                // It may be of the release before.
                Ok((_, _, Answer::Refused { .. })) if version > OLDEST => {
                    version -= 1;
                    continue;
                }
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
            if !has_ended(&error) || attempt == limits::SPAWNER_ATTEMPTS {
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

/// Whether an answer is one to this request.
fn answers(request: &Request, answer: &Answer) -> bool {
    match (request, answer) {
        (_, Answer::Refused { .. }) | (Request::List, Answer::Sandboxes { .. }) | (Request::Attend { .. }, Answer::Attended) => true,
        (Request::Create { sandbox_id: asked, .. }, Answer::Created { sandbox_id, .. })
        | (Request::Kill { sandbox_id: asked }, Answer::Killed { sandbox_id, .. })
        | (Request::Prepare { sandbox_id: asked }, Answer::Prepared { sandbox_id, .. }) => asked == sandbox_id,
        _ => false,
    }
}

/// Whether an error means that the spawner ends or has ended.
fn has_ended(error: &io::Error) -> bool {
    wire::nobody_listens(error)
        || matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

async fn greet(dir: &Path, version: u32) -> io::Result<(Incoming<OwnedReadHalf>, OwnedWriteHalf, Answer)> {
    let (reader, mut writer) = wire::connect(dir, layout::SPAWNER_SOCKET).await?.into_split();
    let mut incoming = Incoming::new(reader);
    wire::send(&mut writer, &Request::Hello { version }).await?;
    let answer = incoming.next().await?;
    Ok((incoming, writer, answer))
}
