//! Asking egress.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::channel;
use super::protocol::{Ask, Told};
use crate::limits;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("egress does not answer: {0}")]
pub struct AskError(#[from] io::Error);

/// The way to an egress process.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// To the egress that listens there.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks; descriptors go along. While egress is being started again, the question waits at its socket.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn ask(&self, ask: &Ask, descriptors: &[OwnedFd]) -> Result<Told, AskError> {
        let beside: Vec<BorrowedFd<'_>> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            channel::send(&mut stream, ask, &beside).await?;
            channel::receive(&stream).await.map(|(told, _)| told)
        };
        Ok(timeout(limits::ASK_TIMEOUT, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
    }
}
