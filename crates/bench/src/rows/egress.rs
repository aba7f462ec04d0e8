//! What egress adds to a way that leads out: each figure beside the same without it.

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::limits::{self, Effort};
use crate::outside::{Asker, Outside, Way};
use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::session::Lab;
use crate::{clock, process};

const BYTES_OF_A_MEGABYTE: f64 = 1e6;

/// One thing by egress and without it.
#[derive(Debug, Default)]
struct Pair {
    egress: Samples,
    direct: Samples,
}

impl Pair {
    fn push(&mut self, way: Way, value: f64) {
        match way {
            Way::Direct => self.direct.push(value),
            Way::Egress(_) => self.egress.push(value),
        }
    }
}

/// The lines of the row: ratios stand before what they are made of.
#[derive(Debug, Default)]
struct Lines {
    ratios: Vec<Figure>,
    others: Vec<Figure>,
}

impl Lines {
    fn figure(&mut self, what: &str, value: f64, unit: Unit) {
        self.others.push(Figure::new("egress", what, value, unit));
    }

    fn pair(&mut self, what: &str, egress: f64, direct: f64, unit: Unit) {
        self.ratios.push(Figure::new("egress", format!("{what}: by egress against direct"), egress / direct, Unit::Ratio));
        self.figure(&format!("{what}, by egress"), egress, unit);
        self.figure(&format!("{what}, direct"), direct, unit);
    }

    fn percentiles(&mut self, what: &str, pair: &Pair) {
        for percent in [50, 99] {
            self.pair(&format!("{what}, p{percent}"), pair.egress.percentile(percent), pair.direct.percentile(percent), Unit::Ms);
        }
    }
}

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    // Egress does so itself; the hosts and this process have as many connections.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let mut lines = Lines::default();
    let outside = Outside::start().await?;
    tunnel(&outside, lab.effort, &mut lines).await.context("tunnels")?;
    injected(&outside, lab.effort, &mut lines).await.context("injected requests")?;
    streamed(&outside, &mut lines).await.context("streamed answers")?;
    drop(outside);
    // Memory of an egress that did nothing before.
    many(&Outside::start().await?, &mut lines).await.context("many tunnels")?;
    Ok(lines.ratios.into_iter().chain(lines.others).collect())
}

/// Asks for so many bytes and reads them; the milliseconds until the last was here.
async fn fetch(socket: &mut TcpStream, count: usize, buffer: &mut [u8]) -> anyhow::Result<f64> {
    let (before, mut left) = (clock::now(), count);
    socket.write_u64(count as u64).await?;
    while left > 0 {
        let read = socket.read(buffer).await?;
        anyhow::ensure!(read > 0 && read <= left, "a connection ended, {left} bytes too early");
        left -= read;
    }
    Ok(clock::millis(before, clock::now()))
}

async fn tunnel(outside: &Outside, effort: Effort, lines: &mut Lines) -> anyhow::Result<()> {
    let (hello, mut buffer) = (outside.hello()?, vec![0; limits::RELAY_BYTES]);
    let (mut connected, mut first) = (Pair::default(), Pair::default());
    for _ in 0..effort.paced {
        for way in [Way::Direct, Way::Egress(0)] {
            let before = clock::now();
            let mut socket = outside.connect(way).await?;
            connected.push(way, clock::millis(before, clock::now()));
            socket.write_all(&hello).await?;
            fetch(&mut socket, 1, &mut buffer).await?;
            first.push(way, clock::millis(before, clock::now()));
        }
    }
    lines.percentiles("tunnel: until connected", &connected);
    lines.percentiles("tunnel: until the first byte of the host", &first);
    let mut bulk = Pair::default();
    for _ in 0..limits::BULKS {
        for way in [Way::Direct, Way::Egress(0)] {
            let mut socket = outside.connect(way).await?;
            socket.write_all(&hello).await?;
            bulk.push(way, fetch(&mut socket, limits::BULK_BYTES, &mut buffer).await?);
        }
    }
    lines.pair("tunnel: 64 MiB, MB in a second", speed(&bulk.egress), speed(&bulk.direct), Unit::PerSecond);
    Ok(())
}

/// Megabytes in a second.
fn speed(samples: &Samples) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let bytes = limits::BULK_BYTES as f64;
    bytes / BYTES_OF_A_MEGABYTE / (samples.median() / 1_000.0)
}

async fn injected(outside: &Outside, effort: Effort, lines: &mut Lines) -> anyhow::Result<()> {
    let (mut direct, mut egress) = (outside.asker(Way::Direct).await?, outside.asker(Way::Egress(0)).await?);
    let mut pair = Pair::default();
    for round in 0..effort.raw + limits::WARM_TURNS {
        for (way, asker) in [(Way::Direct, &mut direct), (Way::Egress(0), &mut egress)] {
            let before = clock::now();
            asker.whole("/").await?;
            if round >= limits::WARM_TURNS {
                pair.push(way, clock::millis(before, clock::now()));
            }
        }
    }
    lines.percentiles("injected request", &pair);
    let mut fresh = Pair::default();
    for _ in 0..effort.paced {
        for way in [Way::Direct, Way::Egress(0)] {
            let before = clock::now();
            outside.asker(way).await?.whole("/").await?;
            fresh.push(way, clock::millis(before, clock::now()));
        }
    }
    lines.percentiles("injected request over a connection of its own", &fresh);
    let mut bulk = Pair::default();
    for _ in 0..limits::BULKS {
        for way in [Way::Direct, Way::Egress(0)] {
            let mut asker = outside.asker(way).await?;
            let before = clock::now();
            let mut body = asker.get("/bulk").await?.into_body();
            while body.frame().await.transpose()?.is_some() {}
            bulk.push(way, clock::millis(before, clock::now()));
        }
    }
    lines.pair("scrubbed answer of 64 MiB, MB in a second", speed(&bulk.egress), speed(&bulk.direct), Unit::PerSecond);
    let (direct, egress) = (busy(outside, Way::Direct, effort).await?, busy(outside, Way::Egress(0), effort).await?);
    lines.pair("injected requests, 32 at once", egress, direct, Unit::PerSecond);
    Ok(())
}

/// Requests in a second on many connections, each with one after the other.
async fn busy(outside: &Outside, way: Way, effort: Effort) -> anyhow::Result<f64> {
    let mut askers: Vec<Asker> = futures::stream::iter(0..limits::MAKERS).then(|_| outside.asker(way)).try_collect().await?;
    let before = clock::now();
    let all = askers.iter_mut().map(|asker| async move {
        let mut count = 0_u32;
        while clock::millis(before, clock::now()) < effort.level.as_secs_f64() * 1_000.0 {
            asker.whole("/").await?;
            count += 1;
        }
        anyhow::Ok(count)
    });
    let count: u32 = futures::future::try_join_all(all).await?.into_iter().sum();
    Ok(f64::from(count) / (clock::millis(before, clock::now()) / 1_000.0))
}

async fn streamed(outside: &Outside, lines: &mut Lines) -> anyhow::Result<()> {
    let (direct, egress) = (delays(outside, Way::Direct).await?, delays(outside, Way::Egress(0)).await?);
    for percent in [50, 99] {
        let added = egress.percentile(percent) - direct.percentile(percent);
        lines.figure(&format!("piece of a streamed answer: added by egress, p{percent}"), added, Unit::Ms);
    }
    lines.percentiles("piece of a streamed answer, host to program", &Pair { egress, direct });
    Ok(())
}

/// From when each piece left the host until it was here.
async fn delays(outside: &Outside, way: Way) -> anyhow::Result<Samples> {
    let (mut samples, mut text) = (Samples::default(), String::new());
    // Dropping it would end the connection.
    let mut asker = outside.asker(way).await?;
    let mut body = asker.get("/pieces").await?.into_body();
    while let Some(frame) = body.frame().await {
        let at = clock::now();
        text.push_str(std::str::from_utf8(frame?.data_ref().map(AsRef::as_ref).unwrap_or_default())?);
        while let Some((piece, rest)) = text.split_once("\n\n") {
            let left = piece.strip_prefix("data: ").context("a piece says when it left")?.parse()?;
            samples.push(clock::millis(left, at));
            text = rest.to_owned();
        }
    }
    anyhow::ensure!(samples.len() == limits::STREAMED, "{} of {} pieces arrived", samples.len(), limits::STREAMED);
    Ok(samples)
}

async fn many(outside: &Outside, lines: &mut Lines) -> anyhow::Result<()> {
    let gate = outside.gate.pid()?;
    // Everything that is made once is made by these.
    drop(open(outside, Way::Egress, limits::MAKERS).await?);
    let before = process::resident(gate)?;
    let (direct, _) = open(outside, |_| Way::Direct, limits::TUNNELS).await?;
    let (egress, mut sockets) = open(outside, Way::Egress, limits::TUNNELS).await?;
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let each = |megabytes: f64| (megabytes - before) * BYTES_OF_A_MEGABYTE / 1_024.0 / limits::TUNNELS as f64;
    let opened = each(process::resident(gate)?);
    let mut buffer = vec![0; limits::RELAY_BYTES];
    for socket in &mut sockets {
        fetch(socket, limits::RELAY_BYTES, &mut buffer).await?;
    }
    lines.pair(&format!("{} tunnels at once: until all have a byte of the host", limits::TUNNELS), egress, direct, Unit::Ms);
    lines.figure("the same: KiB of egress for each", opened, Unit::Count);
    lines.figure("the same after 64 KiB by each", each(process::resident(gate)?), Unit::Count);
    Ok(())
}

/// Opens so many, some at a time, each to a first byte of the host; the milliseconds that all of it takes.
async fn open(outside: &Outside, way: impl Fn(usize) -> Way, count: usize) -> anyhow::Result<(f64, Vec<TcpStream>)> {
    let hello = outside.hello()?;
    let before = clock::now();
    let one = |way: Way| {
        let hello = &hello;
        async move {
            let mut socket = outside.connect(way).await?;
            socket.write_all(hello).await?;
            fetch(&mut socket, 1, &mut [0]).await?;
            anyhow::Ok(socket)
        }
    };
    let opening = futures::stream::iter((0..count).map(|number| one(way(number)))).buffer_unordered(limits::MAKERS);
    let sockets = opening.try_collect().await?;
    Ok((clock::millis(before, clock::now()), sockets))
}
