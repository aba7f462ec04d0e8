//! Asking the server of a data directory.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Ask, Told, socket};
use crate::limits;

/// Asks, and shows how it goes on, until it is done.
///
/// # Errors
/// When it is not.
pub(crate) async fn ask(data_dir: &Path, ask: &Ask, shows: impl Fn(&str)) -> anyhow::Result<()> {
    let socket = socket(data_dir);
    let connected = timeout(limits::ADMIN_ASK, UnixStream::connect(&socket)).await.context("the server does not listen")?;
    let mut stream = connected.with_context(|| {
        format!(
            "the server that holds {} does not listen on {}; run this as its user, and not while it starts or stops",
            data_dir.display(),
            socket.display()
        )
    })?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line).await.context("asking the server")?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.context("hearing the server")? {
        match serde_json::from_str(&line).context("the server says what this does not understand")? {
            Told::Progress { text } => shows(&text),
            Told::Done => return Ok(()),
            Told::Failed { reason } => bail!(reason),
        }
    }
    bail!("the server ended before it was done; run this again")
}
