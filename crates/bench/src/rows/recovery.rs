//! From the start after `kill -9` to the next model call of the turn that was interrupted.

use anyhow::Context;

use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab, message};
use crate::{clock, limits};

pub(super) async fn measure(lab: &mut Lab) -> anyhow::Result<Vec<Figure>> {
    let mut samples = Samples::default();
    let mut server = Server::start(&lab.plan).await?;
    for _ in 0..lab.effort.kills {
        let mut client = server.client().await?;
        // A session of its own for each kill: one that dies again and again is set aside.
        let session = Kit::make(&mut client).await?.session(&mut client).await?;
        lab.calls().await?;
        client.post(&format!("{session}/events"), &message("bench:hold")).await?;
        lab.held(1).await?;
        lab.calls().await?;
        server.kill_and_relaunch().await?;
        let again = next_call(lab).await?;
        samples.push(clock::millis(server.launched, again));
        server.ready().await?;
        lab.held(1).await?;
        let follower = server.client().await?.follow(&format!("{session}/events/stream?after=0")).await;
        let mut follower = follower.context("following a session that was taken up")?;
        lab.release().await?;
        follower.until("session.status_idle").await?;
    }
    Ok(vec![
        Figure::new("recovery", "start after kill -9 to the next model call, p50", samples.median(), Unit::Ms).at_most(200.0),
        Figure::new("recovery", "the same, the slowest", samples.most(), Unit::Ms),
    ])
}

/// When the model had the next request.
async fn next_call(lab: &mut Lab) -> anyhow::Result<u64> {
    let waiting = async {
        loop {
            if let Some(call) = lab.calls().await?.first() {
                return anyhow::Ok(call.received);
            }
            tokio::time::sleep(limits::LOOK).await;
        }
    };
    tokio::time::timeout(limits::WAIT, waiting).await.context("an interrupted turn is not taken up")?
}
