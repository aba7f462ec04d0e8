//! A host that reads the first message of TLS as anything would, and then gives as many bytes as it is asked for.
//! There is no TLS behind it, so that what is measured is the way and not its ends.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

static BLOCK: [u8; limits::RELAY_BYTES] = [7; limits::RELAY_BYTES];

pub(super) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        // Whoever asked may leave at any time.
        tokio::spawn(async move { give(socket).await });
    }
}

async fn give(mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = [0; 3];
    socket.read_exact(&mut head).await?;
    let mut hello = vec![0; usize::from(socket.read_u16().await?)];
    socket.read_exact(&mut hello).await?;
    loop {
        let mut left = usize::try_from(socket.read_u64().await?).unwrap_or(usize::MAX);
        while left > 0 {
            left -= socket.write(&BLOCK[..left.min(BLOCK.len())]).await?;
        }
    }
}
