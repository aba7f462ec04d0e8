//! SQL statements and commits of a text turn, from what the store counts. It says so in its debug log
//! after each commit and before anybody learns of the commit, so that a follower's event comes later.

use anyhow::Context;
use serde::Deserialize;

use crate::limits;
use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::server::{Plan, Server};
use crate::session::{Kit, Lab, Session};

/// Makes the store's writer say what it did.
const LOG: &str = "warn,ostler_store::sqlite::writer=debug";
/// What it says.
const LINE: &str = "\"committed\"";

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Counted {
    commits: u32,
    write_statements: u32,
    read_statements: u32,
}

#[derive(Deserialize)]
struct Line {
    fields: Counted,
}

/// Of each turn.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    /// Commits, snapshots of the session included.
    pub(crate) commits: Samples,
    /// Statements beside the beginning and the end of transactions.
    pub(crate) statements: Samples,
    /// Commits of all turns together, for each of them.
    pub(crate) mean: f64,
}

/// Counts the commits and statements of so many turns.
pub(crate) async fn count(lab: &mut Lab, turns: usize) -> anyhow::Result<Costs> {
    let server = Server::start(&Plan { log: LOG, ..lab.plan.clone() }).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let mut session = Session::open(&server, &kit, "").await?;
    session.warm(limits::WARM_TURNS).await?;
    let first = settled(&server).await?;
    let (mut costs, mut before) = (Costs::default(), first);
    for _ in 0..turns {
        session.turn("bench:say").await?;
        let now = settled(&server).await?;
        costs.commits.push(f64::from(now.commits - before.commits));
        let statements = |counted: Counted| f64::from(counted.write_statements) + f64::from(counted.read_statements);
        costs.statements.push(statements(now) - statements(before));
        before = now;
    }
    costs.mean = f64::from(before.commits - first.commits) / f64::from(u32::try_from(turns.max(1))?);
    lab.calls().await?;
    Ok(costs)
}

/// What was counted, once nothing more comes: a snapshot is written behind the turn.
async fn settled(server: &Server) -> anyhow::Result<Counted> {
    let mut last = None;
    loop {
        tokio::time::sleep(limits::QUIET).await;
        let line = server.last_line(LINE).context("the store does not say what it committed")?;
        if last.as_ref() == Some(&line) {
            return Ok(serde_json::from_str::<Line>(&line)?.fields);
        }
        last = Some(line);
    }
}

pub(super) async fn measure(lab: &mut Lab) -> anyhow::Result<Vec<Figure>> {
    let turns = lab.effort.counted;
    let costs = count(lab, turns).await?;
    Ok(vec![
        Figure::new("commits", "commits of a text turn, p50", costs.commits.median(), Unit::Count).at_most(3.0),
        Figure::new("commits", "the same, mean with snapshots", costs.mean, Unit::Count),
        Figure::new("commits", "SQL statements of a text turn, p50", costs.statements.median(), Unit::Count).at_most(8.0),
        Figure::new("commits", "the same with BEGIN and COMMIT", costs.statements.median() + 2.0 * costs.commits.median(), Unit::Count),
    ])
}
