//! A stand-in for the egress process: every byte to the model and back passes through it, as it comes.
//! What arrives together leaves together; a proxy that hands on each chunk of an answer by itself makes the
//! server read twenty times instead of once.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

/// Passes connections on to the model.
pub(super) async fn relay(listener: TcpListener, model: Option<SocketAddr>) -> anyhow::Result<()> {
    let model = model.context("egress needs the model's address")?;
    loop {
        let (client, _) = listener.accept().await?;
        // Either side may leave at any time; the other then sees it.
        tokio::spawn(async move { pass(client, model).await });
    }
}

async fn pass(mut client: TcpStream, model: SocketAddr) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(model).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, limits::RELAY_BYTES, limits::RELAY_BYTES).await?;
    Ok(())
}
