//! A TCP proxy on the loopback that breaks connections when a test says so. It knows nothing of
//! what it carries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::limits::PROXY_BUFFER_BYTES;

/// What holds for every connection right now.
#[derive(Debug, Clone, Default)]
struct Rules {
    /// Answers are cut after this many bytes of a connection.
    cut_after: Option<u64>,
    /// Cuts drawn for each new connection: the generator's state and the largest count.
    random: Option<(u64, u64)>,
    paused: bool,
    refuse: bool,
    /// Connections of an earlier generation are cut.
    generation: u64,
    /// Connections that were opened.
    opened: u64,
}

/// A running proxy; dropping it cuts everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts on a free port of the loopback, carrying everything to `upstream`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let rules = Arc::new(watch::Sender::new(Rules::default()));
        let accepting = tokio::spawn(accept(listener, upstream, rules.clone()));
        Ok(Self { address, rules, accepting })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were accepted and carried so far.
    pub fn connections(&self) -> u64 {
        self.rules.borrow().opened
    }

    /// Cuts each connection, open ones included, once `bytes` of the answer went through it.
    pub fn cut_after(&self, bytes: u64) {
        self.rules.send_modify(|rules| rules.cut_after = Some(bytes));
    }

    /// Cuts each new connection after 0 to `most` bytes of the answer; equal seeds cut equally.
    pub fn cut_at_random(&self, seed: u64, most: u64) {
        self.rules.send_modify(|rules| rules.random = Some((seed, most)));
    }

    /// Ends [`Self::cut_after`] and [`Self::cut_at_random`].
    pub fn stop_cutting(&self) {
        self.rules.send_modify(|rules| (rules.cut_after, rules.random) = (None, None));
    }

    /// Cuts every open connection now.
    pub fn cut_all(&self) {
        self.rules.send_modify(|rules| rules.generation += 1);
    }

    /// Holds all bytes back, in both directions.
    pub fn pause(&self) {
        self.rules.send_modify(|rules| rules.paused = true);
    }

    /// Ends [`Self::pause`].
    pub fn resume(&self) {
        self.rules.send_modify(|rules| rules.paused = false);
    }

    /// Whether new connections are reset at once.
    pub fn set_refuse(&self, refuse: bool) {
        self.rules.send_modify(|rules| rules.refuse = refuse);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.cut_all();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, rules: Arc<watch::Sender<Rules>>) {
    while let Ok((client, _)) = listener.accept().await {
        if rules.borrow().refuse {
            reset(client);
            continue;
        }
        let mut own_cut = None;
        rules.send_modify(|rules| {
            rules.opened += 1;
            if let Some((state, most)) = &mut rules.random {
                *state = next_random(*state);
                own_cut = Some(*state % most.saturating_add(1));
            }
        });
        tokio::spawn(carry(client, upstream, rules.subscribe(), own_cut));
    }
}

/// Carries one connection until either side ends it or a rule cuts it.
async fn carry(client: TcpStream, upstream: SocketAddr, rules: watch::Receiver<Rules>, own_cut: Option<u64>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return reset(client) };
    let generation = rules.borrow().generation;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut watching = rules.clone();
    let both = async {
        let up = copy(client_read, server_write, rules.clone(), |_| None);
        let down = copy(server_read, client_write, rules.clone(), move |rules| [rules.cut_after, own_cut].into_iter().flatten().min());
        // A cut ends both directions, an ordinary end lets the other finish.
        tokio::try_join!(up, down)
    };
    // Dropping the halves closes both connections; the data in flight is lost with them.
    tokio::select! {
        _ = both => {}
        _ = watching.wait_for(|rules| rules.generation != generation) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: watch::Receiver<Rules>,
    limit: impl Fn(&Rules) -> Option<u64>,
) -> io::Result<()> {
    let cut = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let mut buffer = vec![0; PROXY_BUFFER_BYTES];
    let mut carried = 0_u64;
    loop {
        if limit(&rules.borrow()).is_some_and(|limit| carried >= limit) {
            return Err(cut());
        }
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            changed = rules.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Err(cut()),
            },
        };
        if count == 0 {
            return to.shutdown().await;
        }
        rules.wait_for(|rules| !rules.paused).await.map_err(|_| cut())?;
        let room = limit(&rules.borrow()).map_or(u64::MAX, |limit| limit.saturating_sub(carried));
        let passed = count.min(usize::try_from(room).unwrap_or(usize::MAX));
        to.write_all(&buffer[..passed]).await?;
        carried += passed as u64;
    }
}

/// Closes with a reset rather than an orderly end.
fn reset(client: TcpStream) {
    // Without it the client sees an orderly end, which is also a refusal.
    let _ = client.set_zero_linger();
}

/// The next number of a seeded sequence (splitmix64 without its state).
fn next_random(state: u64) -> u64 {
    let mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.into_split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn proxied() -> (FaultProxy, TcpStream) {
        let proxy = FaultProxy::start(echo().await).await.unwrap();
        let client = TcpStream::connect(proxy.addr()).await.unwrap();
        (proxy, client)
    }

    /// What comes back before the connection ends, however it ends.
    async fn rest(mut client: TcpStream) -> Vec<u8> {
        let mut seen = Vec::new();
        let _ = client.read_to_end(&mut seen).await;
        seen
    }

    #[tokio::test]
    async fn it_carries_both_ways_and_ends_with_either_side() {
        let (proxy, mut client) = proxied().await;
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(client).await, b"hello");
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn it_cuts_after_so_many_bytes() {
        let (proxy, mut client) = proxied().await;
        proxy.cut_after(3);
        client.write_all(b"hello").await.unwrap();
        assert_eq!(rest(client).await, b"hel");
    }

    #[tokio::test]
    async fn equal_seeds_cut_equally() {
        let mut lengths = Vec::new();
        for _ in 0..2 {
            let (proxy, first) = proxied().await;
            drop(first);
            while proxy.connections() == 0 {
                tokio::task::yield_now().await;
            }
            proxy.cut_at_random(7, 500);
            let mut seen = Vec::new();
            for _ in 0..4 {
                let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
                // A cut may reset the connection while it is written to.
                let _ = client.write_all(&[b'x'; 1_000]).await;
                seen.push(rest(client).await.len());
            }
            assert!(seen.iter().all(|length| *length <= 500));
            lengths.push(seen);
        }
        assert_eq!(lengths[0], lengths[1]);
        assert!(lengths[0].windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[tokio::test]
    async fn it_cuts_all_at_once() {
        let (proxy, mut client) = proxied().await;
        client.write_all(b"x").await.unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        proxy.cut_all();
        assert_eq!(rest(client).await, b"");
    }

    #[tokio::test]
    async fn it_refuses_and_takes_again() {
        let (proxy, first) = proxied().await;
        drop(first);
        proxy.set_refuse(true);
        // The reset may arrive while connecting or after.
        if let Ok(refused) = TcpStream::connect(proxy.addr()).await {
            assert_eq!(rest(refused).await, b"");
        }
        proxy.set_refuse(false);
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        client.write_all(b"y").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(client).await, b"y");
    }

    #[tokio::test]
    async fn paused_bytes_arrive_after_it_resumes() {
        let (proxy, mut client) = proxied().await;
        proxy.pause();
        client.write_all(b"later").await.unwrap();
        client.shutdown().await.unwrap();
        let reading = tokio::spawn(rest(client));
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        proxy.resume();
        assert_eq!(reading.await.unwrap(), b"later");
    }
}
