//! Bytes from one connection to another, both ways, counted, until both ends are silent for too long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::replace::{Stream, Table};
use crate::traffic::{Spent, Traffic};
use crate::{body, limits};

/// One direction.
struct Way {
    count: Arc<AtomicU64>,
    traffic: Arc<Traffic>,
    stream: Option<Stream>,
}

/// When something last moved, in milliseconds since the beginning.
struct Activity {
    began: Instant,
    last: AtomicU64,
}

impl Activity {
    fn mark(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    async fn silence(&self) {
        loop {
            let end = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limits::SILENCE;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Relays between a sandbox and a host. What comes in is scrubbed by the table, if there is one, without a change of its length.
pub(crate) async fn relay<I, O>(
    inside: I,
    outside: O,
    (sent, received): (Arc<AtomicU64>, Arc<AtomicU64>),
    traffic: &Arc<Traffic>,
    scrubs: Option<&Arc<Table>>,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let (inside_reads, inside_writes) = tokio::io::split(inside);
    let (outside_reads, outside_writes) = tokio::io::split(outside);
    let activity = Activity { began: Instant::now(), last: AtomicU64::new(0) };
    let scrubbed = scrubs.filter(|table| !table.is_empty()).map(|table| Stream::filling(Arc::clone(table)));
    let both = async {
        tokio::try_join!(
            one_way(inside_reads, outside_writes, Way { count: sent, traffic: Arc::clone(traffic), stream: None }, &activity),
            one_way(outside_reads, inside_writes, Way { count: received, traffic: Arc::clone(traffic), stream: scrubbed }, &activity),
        )
    };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = activity.silence() => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut way: Way, activity: &Activity) -> io::Result<()> {
    let mut buffer = vec![0; limits::COPY_BYTES];
    loop {
        let held = way.stream.as_mut().filter(|stream| stream.holds() > 0);
        let count = match held {
            None => from.read(&mut buffer).await?,
            Some(stream) => match timeout(body::patience(stream), from.read(&mut buffer)).await {
                Ok(count) => count?,
                Err(_) => {
                    to.write_all(&stream.finish()).await?;
                    to.flush().await?;
                    continue;
                }
            },
        };
        if count == 0 {
            break;
        }
        way.count.fetch_add(count as u64, Ordering::Relaxed);
        way.traffic.pace(count).await.map_err(|Spent| io::Error::other("the sandbox has sent and received as much as it may"))?;
        activity.mark();
        match &mut way.stream {
            None => to.write_all(&buffer[..count]).await?,
            Some(stream) => to.write_all(&stream.push(&buffer[..count])).await?,
        }
        to.flush().await?;
    }
    if let Some(stream) = &mut way.stream {
        to.write_all(&stream.finish()).await?;
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use ostler_core::egress::Caps;

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_both_have_ended_and_secrets_do_not_come_in() {
        let (mut agent, inside) = tokio::io::duplex(64);
        let (outside, mut host) = tokio::io::duplex(64);
        let table = Arc::new(Table::new([(b"secret".to_vec(), b"x".to_vec())]));
        let (sent, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (sent_count, received_count) = (Arc::clone(&sent), Arc::clone(&received));
        let relaying =
            tokio::spawn(async move { relay(inside, outside, (sent, received), &Traffic::new(Caps::default()), Some(&table)).await });
        agent.write_all(b"a secret").await.unwrap();
        agent.shutdown().await.unwrap();
        let mut heard = Vec::new();
        host.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"a secret", "what leaves is as it is");
        host.write_all(b"a sec").await.unwrap();
        host.write_all(b"ret b").await.unwrap();
        drop(host);
        let mut heard = Vec::new();
        agent.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"a ****** b");
        relaying.await.unwrap().unwrap();
        assert_eq!((sent_count.load(Ordering::Relaxed), received_count.load(Ordering::Relaxed)), (8, 10));
    }
}
