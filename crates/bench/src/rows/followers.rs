//! Many followers of one session: how long after an event the last of them has it.

use anyhow::Context;

use crate::clock;
use crate::http::{Follower, Frame};
use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab, message};

pub(super) async fn measure(lab: &mut Lab) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let mut client = server.client().await?;
    let session = Kit::make(&mut client).await?.session(&mut client).await?;
    let mut followers = Vec::with_capacity(lab.effort.followers);
    for _ in 0..lab.effort.followers {
        followers.push(server.client().await?.follow(&format!("{session}/events/stream")).await?);
    }
    let mut last = Samples::default();
    for turn in 0..=lab.effort.sent {
        client.post(&format!("{session}/events"), &message("bench:say")).await?;
        let frames = futures::future::try_join_all(followers.iter_mut().map(idle)).await?;
        let first = frames.first().context("there is a follower")?;
        let happened = happened(&first.data)?;
        let slowest = frames.iter().map(|frame| frame.at).max().unwrap_or_default();
        // The first turn warms what all others use.
        if turn > 0 {
            last.push(clock::millis(happened, slowest.saturating_add(clock::to_wall())));
        }
    }
    lab.calls().await?;
    let count = followers.len();
    let line =
        |percent: usize| Figure::new("followers", format!("event to the last of {count}, p{percent}"), last.percentile(percent), Unit::Ms);
    Ok(vec![line(50), line(99).at_most(30.0)])
}

async fn idle(follower: &mut Follower) -> anyhow::Result<Frame> {
    follower.until("session.status_idle").await
}

/// When an event happened: nanoseconds since the Unix epoch, taken before it was committed.
fn happened(data: &[u8]) -> anyhow::Result<u64> {
    let event: serde_json::Value = serde_json::from_slice(data)?;
    let at: jiff::Timestamp = event["processed_at"].as_str().context("an event says when it happened")?.parse()?;
    Ok(u64::try_from(at.as_nanosecond())?)
}
