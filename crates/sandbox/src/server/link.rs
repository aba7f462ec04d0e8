//! The task behind a connection: it keeps the way to one init open, brings results to those who
//! wait for them, and finds out what became of calls when init is gone.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ostler_core::call::CallOutcome;
use ostler_core::ids::{EventId, IncarnationId};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::connection::Calls;
use super::wire::{self, Incoming};
use crate::error::{AttachError, CallError, SandboxError};
use crate::protocol::init::{FromInit, KnownCall, ToInit};
use crate::protocol::{self, OLDEST, VERSION};
use crate::spawner::ending::{self, Why};
use crate::{layout, limits};

const PEER: &str = "init of a sandbox";

/// One life of a sandbox, and who asks.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) dir: PathBuf,
    pub(super) incarnation: IncarnationId,
    pub(super) epoch: u64,
}

/// A way to init on which hello was said.
#[derive(Debug)]
pub(super) struct Opened {
    incoming: Incoming<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    pub(super) calls: Vec<KnownCall>,
}

/// Connects and says hello, in an older version to an init that does not know ours.
pub(super) async fn open(address: &Address) -> Result<Opened, AttachError> {
    let refused = match open_in(address, VERSION).await {
        Err(refused @ AttachError::Other(SandboxError::Protocol { .. })) => refused,
        done => return done,
    };
    // What was wrong with the first is what is told, unless an older one is understood.
    open_in(address, OLDEST).await.map_err(|_| refused)
}

async fn open_in(address: &Address, version: u32) -> Result<Opened, AttachError> {
    let talk = |source| AttachError::Other(SandboxError::Talk { peer: PEER, source });
    let wrong = |reason: String| AttachError::Other(SandboxError::Protocol { peer: PEER, reason });
    let stream = match wire::connect(&address.dir, layout::INIT_SOCKET).await {
        Ok(stream) => stream,
        Err(error) if wire::nobody_listens(&error) => return Err(AttachError::Gone),
        Err(error) => return Err(talk(error)),
    };
    let secret = std::fs::read_to_string(address.dir.join(layout::SECRET)).map_err(talk)?;
    let hello = ToInit::Hello { version, secret, epoch: address.epoch };
    let (opened, said) =
        timeout(limits::INIT_ANSWER, greet(stream, &hello)).await.map_err(|_| talk(io::ErrorKind::TimedOut.into()))?.map_err(talk)?;
    match said {
        FromInit::Welcome { incarnation, .. } if incarnation != address.incarnation => Err(AttachError::Gone),
        FromInit::Welcome { version, .. } if !protocol::speaks(version) => {
            Err(wrong(format!("it speaks version {version} and this server {VERSION}")))
        }
        FromInit::Welcome { calls, .. } => Ok(Opened { calls, ..opened }),
        FromInit::Refused { reason, .. } => Err(wrong(reason)),
        other => Err(wrong(format!("it answered out of order: {other:?}"))),
    }
}

async fn greet(stream: UnixStream, hello: &ToInit) -> io::Result<(Opened, FromInit)> {
    let (reader, mut writer) = stream.into_split();
    let mut incoming = Incoming::new(reader);
    wire::send(&mut writer, hello).await?;
    let said = incoming.next().await?;
    Ok((Opened { incoming, writer, calls: Vec::new() }, said))
}

/// Keeps the connection until nobody holds it any more, or init is gone.
pub(super) async fn keep(address: Address, calls: Arc<Calls>, mut opened: Opened, mut commands: mpsc::Receiver<ToInit>) {
    let mut fruitless = 0;
    loop {
        let Opened { mut incoming, mut writer, calls: known } = opened;
        let (since, mut is_news) = (Instant::now(), false);
        let broken = tokio::select! {
            error = hear(&mut incoming, &calls, &mut is_news) => Some(error),
            ended = tell(&mut writer, calls.to_repeat(&known), &mut commands) => ended.err(),
        };
        let Some(error) = broken else { return };
        tracing::debug!(incarnation = %address.incarnation, %error, "the connection to a sandbox broke");
        drop((incoming, writer));
        fruitless = if is_news || since.elapsed() >= limits::STEADY_CONNECTION { 0 } else { fruitless + 1 };
        if fruitless >= limits::FRUITLESS_CONNECTIONS {
            tracing::warn!(incarnation = %address.incarnation, %error, "a sandbox always breaks the connection");
            return calls.end(|call, received| unwilling(fate(&address, call, received)));
        }
        tokio::time::sleep(limits::RECONNECT_DELAY).await;
        opened = match reopen(&address).await {
            Ok(opened) => opened,
            Err(AttachError::Gone) => {
                let why = word(&address).await;
                return calls.end(|call, received| because(fate(&address, call, received), why));
            }
            Err(AttachError::Other(error)) => {
                tracing::warn!(incarnation = %address.incarnation, %error, "a sandbox cannot be reached any more");
                return calls.end(|_, _| Err(CallError::Lost { why: None }));
            }
        };
    }
}

async fn reopen(address: &Address) -> Result<Opened, AttachError> {
    let mut attempt = 1;
    loop {
        match open(address).await {
            Err(AttachError::Other(SandboxError::Talk { .. })) if attempt < limits::RECONNECT_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(limits::RECONNECT_DELAY).await;
            }
            done => return done,
        }
    }
}

/// Listens until the connection breaks. Sets `is_news` once something is said that was not known.
async fn hear(incoming: &mut Incoming<OwnedReadHalf>, calls: &Calls, is_news: &mut bool) -> io::Error {
    loop {
        *is_news |= match incoming.next().await {
            Ok(FromInit::Received { call_id }) => calls.received(&call_id),
            Ok(FromInit::Finished { call_id, outcome }) => calls.settle(&call_id, Ok(outcome)),
            Ok(FromInit::Refused { call_id: Some(call), reason }) => calls.settle(&call, Err(CallError::Refused(reason))),
            Ok(FromInit::Refused { call_id: None, reason }) => return io::Error::other(reason),
            Ok(FromInit::Welcome { .. } | FromInit::Doors { .. }) => false,
            Err(error) => return error,
        };
    }
}

/// Ok when nobody can command any more.
async fn tell(writer: &mut OwnedWriteHalf, repeated: Vec<ToInit>, commands: &mut mpsc::Receiver<ToInit>) -> io::Result<()> {
    for message in repeated {
        wire::send(writer, &message).await?;
    }
    while let Some(message) = commands.recv().await {
        wire::send(writer, &message).await?;
    }
    Ok(())
}

/// Why a life ended, once who reaps it has had time to say so.
async fn word(address: &Address) -> Option<&'static str> {
    let end = Instant::now() + limits::ENDED_WORD;
    while address.dir.join(layout::INIT_RECORD).exists() && Instant::now() < end {
        tokio::time::sleep(limits::ENDED_LOOK).await;
    }
    ending::read(&address.dir, &address.incarnation).map(Why::told)
}

fn because(fate: Result<CallOutcome, CallError>, why: Option<&'static str>) -> Result<CallOutcome, CallError> {
    match fate {
        Err(CallError::Lost { .. }) => Err(CallError::Lost { why }),
        known => known,
    }
}

/// What became of a call, by its `fate`, when its life goes on but breaks every connection.
fn unwilling(fate: Result<CallOutcome, CallError>) -> Result<CallOutcome, CallError> {
    match fate {
        Err(CallError::NeverReceived) => Err(CallError::Refused("the sandbox does not accept this call".into())),
        known => known,
    }
}

/// What became of a call of a life that is over, as far as its directory tells.
fn fate(address: &Address, call: &EventId, received: bool) -> Result<CallOutcome, CallError> {
    let results = address.dir.join(layout::RESULTS);
    let kept = read(&results.join(call.as_str()));
    if let Ok(bytes) = &kept
        && let Ok(outcome) = serde_json::from_slice(bytes)
    {
        return Ok(outcome);
    }
    // Absence proves something only while the directory still tells of this life.
    let missing = kept.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let of_this_life = || std::fs::read_to_string(results.join(layout::LIFE)).is_ok_and(|life| life == address.incarnation.as_str());
    if missing && !received && of_this_life() { Err(CallError::NeverReceived) } else { Err(CallError::Lost { why: None }) }
}

/// Reads a file that init wrote, and nothing else that may be in its place.
fn read(path: &std::path::Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(limits::MAX_FRAME as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_directory_tells_of_a_dead_life() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join(layout::RESULTS);
        std::fs::create_dir(&results).unwrap();
        let address = Address { dir: dir.path().into(), incarnation: "inc_1".parse().unwrap(), epoch: 1 };
        let call: EventId = "sevt_1".parse().unwrap();
        assert_eq!(fate(&address, &call, false), Err(CallError::Lost { why: None }));
        std::fs::write(results.join(layout::LIFE), "inc_1").unwrap();
        assert_eq!(fate(&address, &call, false), Err(CallError::NeverReceived));
        assert_eq!(fate(&address, &call, true), Err(CallError::Lost { why: None }));
        std::fs::write(results.join(call.as_str()), "").unwrap();
        assert_eq!(fate(&address, &call, false), Err(CallError::Lost { why: None }));
        let outcome = CallOutcome::text("done", false, ostler_core::call::CallEnd::Finished);
        std::fs::write(results.join(call.as_str()), serde_json::to_vec(&outcome).unwrap()).unwrap();
        assert_eq!(fate(&address, &call, true), Ok(outcome));
    }
}
