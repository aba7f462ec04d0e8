//! Turns of one session: their time beyond the model's own.

use crate::report::{Figure, Unit};
use crate::rows::raw::Raw;
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab, Session};
use crate::{clock, limits};

/// The time of turns beyond that of the model, one after the other.
pub(crate) async fn overheads(lab: &mut Lab, session: &mut Session, text: &str, count: usize) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    lab.calls().await?;
    let mut turns = Vec::with_capacity(count);
    for _ in 0..count {
        turns.push(session.turn(text).await?);
    }
    let calls = lab.calls().await?;
    let per_turn = calls.len() / count.max(1);
    anyhow::ensure!(calls.len() == per_turn * count && per_turn > 0, "{count} turns made {} model calls", calls.len());
    for (turn, calls) in turns.iter().zip(calls.chunks(per_turn)) {
        let model: f64 = calls.iter().map(|call| clock::millis(call.received, call.ended)).sum();
        samples.push(clock::millis(turn.sent, turn.idle) - model);
    }
    Ok(samples)
}

pub(super) async fn text(lab: &mut Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut samples = Samples::default();
    for _ in 0..lab.effort.turns / limits::SHORT {
        let mut session = Session::open(&server, &kit, "").await?;
        session.warm(limits::WARM_TURNS).await?;
        samples.extend(&overheads(lab, &mut session, "bench:say", limits::SHORT).await?);
    }
    let line = |percent: usize| {
        let figure = Figure::new("turn", format!("text turn beyond the model, p{percent}"), samples.percentile(percent), Unit::Ms);
        figure.above(raw.text_turn())
    };
    Ok(vec![line(50).at_most(1.5), line(95), line(99).at_most(5.0)])
}

pub(super) async fn delta(lab: &mut Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut session = Session::open(&server, &kit, "?event_deltas[]=agent.message").await?;
    session.warm(limits::WARM_TURNS).await?;
    let mut samples = Samples::default();
    for _ in 0..lab.effort.paced {
        session.client.post(&format!("{}/events", session.path), &crate::session::message("bench:paced")).await?;
        let piece = session.follower.until("event_delta").await?;
        samples.push(clock::millis(emitted(&piece.data)?, piece.at));
        session.follower.until("session.status_idle").await?;
    }
    let line = |percent: usize| {
        let figure = Figure::new("delta", format!("first piece, model to follower, p{percent}"), samples.percentile(percent), Unit::Ms);
        figure.above(raw.hop)
    };
    Ok(vec![line(50).at_most(0.2), line(99).at_most(1.0)])
}

/// When the model sent the piece with this text.
fn emitted(data: &[u8]) -> anyhow::Result<u64> {
    let value: serde_json::Value = serde_json::from_slice(data)?;
    let text = value["delta"]["content"]["text"].as_str().unwrap_or_default();
    let stamp = text.strip_prefix('t').and_then(|text| text.split(';').next()?.parse().ok());
    stamp.ok_or_else(|| anyhow::anyhow!("a piece without a stamp: {text:?}"))
}

pub(super) async fn tools(lab: &mut Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut session = Session::open(&server, &kit, "").await?;
    let first = overheads(lab, &mut session, "bench:tools", 1).await?;
    let samples = overheads(lab, &mut session, "bench:tools", lab.effort.tools).await?;
    session.delete().await?;
    #[expect(clippy::cast_precision_loss, reason = "calls are few")]
    let floor = limits::CALLS_OF_A_TURN as f64 * raw.bash;
    let line = |percent: usize| {
        let what = format!("five sequential bash calls beyond the model, p{percent}");
        Figure::new("tools", what, samples.percentile(percent), Unit::Ms).above(floor)
    };
    let cold = Figure::new("tools", "the same with the start of the sandbox, once", first.median(), Unit::Ms).above(floor);
    Ok(vec![line(50).at_most(20.0), line(99), cold])
}

/// Turn 10 and a late turn of sessions.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) early: f64,
    pub(crate) late: f64,
}

impl Growth {
    pub(crate) fn ratio(&self) -> f64 {
        self.late / self.early
    }
}

/// Lets a session grow to this turn. Turns around it and around turn 10 of young sessions are measured in
/// rounds, one after the other; of each place the round that was disturbed least counts.
pub(crate) async fn grow(lab: &mut Lab, server: &Server, turns: usize) -> anyhow::Result<Growth> {
    const TENTH: usize = 10;
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut old = Session::open(server, &kit, "").await?;
    old.warm(turns.saturating_sub(limits::GROWTH_ROUNDS * limits::AROUND / 2)).await?;
    let (mut early, mut late) = (Samples::default(), Samples::default());
    for _ in 0..limits::GROWTH_ROUNDS {
        let mut young = Session::open(server, &kit, "").await?;
        young.warm(TENTH - limits::AROUND / 2).await?;
        early.push(overheads(lab, &mut young, "bench:say", limits::AROUND).await?.median());
        late.push(overheads(lab, &mut old, "bench:say", limits::AROUND).await?.median());
    }
    Ok(Growth { early: early.least(), late: late.least() })
}

pub(super) async fn growth(lab: &mut Lab) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let grown = grow(lab, &server, lab.effort.grown).await?;
    let turn = lab.effort.grown;
    let best = format!("best median of {}", limits::GROWTH_ROUNDS);
    Ok(vec![
        Figure::new("growth", format!("turn 10 beyond the model, {best}"), grown.early, Unit::Ms),
        Figure::new("growth", format!("turn {turn} of a session, {best}"), grown.late, Unit::Ms),
        Figure::new("growth", format!("turn {turn} against turn 10"), grown.ratio(), Unit::Ratio).at_most(1.5),
    ])
}
