//! Durable turns per second: sessions that each begin the next turn when the last one ended.

use std::time::Instant;

use crate::report::{Figure, Unit};
use crate::rows::raw::Raw;
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab, Session};
use crate::{clock, limits, process};

/// Sessions at once, and the turns per second that are wanted of them.
const LEVELS: [(usize, f64); 4] = [(1, 500.0), (8, 2_000.0), (64, 3_000.0), (256, 3_000.0)];

/// What one level came to.
struct Level {
    /// Turns per second.
    rate: f64,
    /// Of each turn, model included.
    times: Samples,
    /// Processor time of a turn in the server, in milliseconds.
    server: f64,
    /// In the client, egress and the model together.
    load: f64,
}

pub(super) async fn measure(lab: &mut Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    // What one session could do on the bare machine; many can do more, because commits are shared.
    let floor = 1_000.0 / raw.text_turn();
    let mut figures = vec![Figure::new("throughput", "floor of one session", floor, Unit::PerSecond)];
    for (sessions, wanted) in LEVELS {
        let server = Server::start(&lab.plan).await?;
        let level = level(lab, &server, sessions).await?;
        let line = |what: &str, value: f64, unit| Figure::new("throughput", format!("{sessions} sessions: {what}"), value, unit);
        figures.extend([
            line("durable turns", level.rate, Unit::PerSecond).at_least(wanted),
            line("one turn, model included, p50", level.times.median(), Unit::Ms),
            line("processor time of a turn, server", level.server, Unit::Ms),
            line("the same, client, egress and model", level.load, Unit::Ms),
        ]);
    }
    lab.calls().await?;
    Ok(figures)
}

async fn level(lab: &Lab, server: &Server, count: usize) -> anyhow::Result<Level> {
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let mut session = Session::open(server, &kit, "").await?;
        session.warm(1).await?;
        sessions.push(session);
    }
    let own = i32::try_from(std::process::id())?;
    let load = [own, process::egress_of(server.pid()?)?, lab.model.pid()?];
    let used = |pids: &[i32]| pids.iter().map(|pid| process::processor_time(*pid)).sum::<anyhow::Result<f64>>();
    let (server_before, load_before) = (used(&[server.pid()?])?, used(&load)?);
    let (begun, level) = (Instant::now(), lab.effort.level);
    let kit = &kit;
    let runs = sessions.iter_mut().map(|session| async move {
        let mut times = Samples::default();
        while begun.elapsed() < level {
            if times.len() % limits::SHORT == limits::SHORT - 1 {
                *session = Session::open(server, kit, "").await?;
            }
            let turn = session.turn("bench:say").await?;
            times.push(clock::millis(turn.sent, turn.idle));
        }
        anyhow::Ok(times)
    });
    let done = futures::future::try_join_all(runs).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = Samples::default();
    done.iter().for_each(|of_one| times.extend(of_one));
    #[expect(clippy::cast_precision_loss, reason = "turns are few")]
    let turns = times.len() as f64;
    Ok(Level {
        rate: turns / seconds,
        server: (used(&[server.pid()?])? - server_before) / turns,
        load: (used(&load)? - load_before) / turns,
        times,
    })
}
