//! The ratios that hold on any machine, because both sides are measured beside each other: for every
//! test run. Absolute figures are not looked at. All bounds are here.

use std::fmt;

use crate::http::Client;
use crate::limits::{self, Effort};
use crate::rows::raw::{Rows, requests};
use crate::rows::{commits, turns};
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab, Session};
use crate::{process, say};

/// A text turn against its floor. Measured: see `docs/benchmarks.md`; other work on two cores can double it.
const TURN: f64 = 6.0;
/// A late turn against turn 10. The request to the model grows, nothing else does.
const GROWTH: f64 = 3.5;
/// Commits of a text turn: input accepted, request about to be sent, answer.
const COMMITS: f64 = 3.0;
/// Commits of all turns for each of them: with the snapshot that is kept now and then.
const COMMITS_MEAN: f64 = 3.25;

/// How often a ratio may be measured before it is believed to be too high.
const TRIES: usize = 3;
/// Rounds of floor and turns, one after the other.
const ROUNDS: usize = 6;
/// Requests, rows and turns of a round.
const ROUND: usize = 60;
/// The late turn.
const LATE: usize = 1_000;
/// Turns whose commits are counted.
const COUNTED: usize = 48;

/// One ratio as measured.
struct Ratio {
    what: &'static str,
    value: f64,
    bound: f64,
}

impl Ratio {
    fn holds(&self) -> bool {
        self.value <= self.bound
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "TOO HIGH" };
        write!(f, "{:<44} {:>6.2}, at most {:.2}: {verdict}", self.what, self.value, self.bound)
    }
}

/// Measures every ratio; fails when one stays above its bound.
pub(crate) async fn check(binary: std::path::PathBuf, effort: Effort) -> anyhow::Result<()> {
    let mut lab = Lab::start(binary, effort).await?;
    let mut failed = Vec::new();
    for kind in [Kind::Turn, Kind::Growth, Kind::Commits] {
        let mut ratios = kind.measure(&mut lab).await?;
        for _ in 1..TRIES {
            if ratios.iter().all(Ratio::holds) {
                break;
            }
            ratios.iter().for_each(|ratio| say(&format!("{ratio}; measuring again")));
            ratios = kind.measure(&mut lab).await?;
        }
        for ratio in ratios {
            say(&ratio.to_string());
            if !ratio.holds() {
                failed.push(ratio.what);
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "too high after {TRIES} tries: {}", failed.join(", "));
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Turn,
    Growth,
    Commits,
}

impl Kind {
    async fn measure(self, lab: &mut Lab) -> anyhow::Result<Vec<Ratio>> {
        match self {
            Self::Turn => Ok(vec![Ratio { what: "text turn against three requests and three rows", value: turn(lab).await?, bound: TURN }]),
            Self::Growth => {
                let server = Server::start(&lab.plan).await?;
                let value = turns::grow(lab, &server, LATE).await?.ratio();
                Ok(vec![Ratio { what: "turn 1,000 of a session against turn 10", value, bound: GROWTH }])
            }
            Self::Commits => {
                let costs = commits::count(lab, COUNTED).await?;
                let median = Ratio { what: "commits of a text turn", value: costs.commits.median(), bound: COMMITS };
                Ok(vec![median, Ratio { what: "commits of a text turn, mean with snapshots", value: costs.mean, bound: COMMITS_MEAN }])
            }
        }
    }
}

/// A turn against its floor. Both are measured in rounds, one after the other, and of each the round that was
/// disturbed least counts: a slow floor must not excuse a slow turn.
async fn turn(lab: &mut Lab) -> anyhow::Result<f64> {
    let server = Server::start(&lab.plan).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let dir = process::scratch()?;
    let (rows, mut echo) = (Rows::open(dir.path())?, Client::connect(lab.echo.address, None).await?);
    let (mut hops, mut appends, mut overheads) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        let mut session = Session::open(&server, &kit, "").await?;
        session.warm(limits::WARM_TURNS).await?;
        hops.push(requests(&mut echo, ROUND).await?.median());
        appends.push(rows.append(ROUND)?.median());
        overheads.push(turns::overheads(lab, &mut session, "bench:say", ROUND).await?.median());
    }
    let floor = limits::FLOOR_HOPS * hops.least() + limits::FLOOR_COMMITS * appends.least();
    Ok(overheads.least() / floor)
}
