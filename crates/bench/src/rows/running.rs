//! Memory with many sessions in the middle of a turn, each with a model that has begun to answer.

use crate::report::{Figure, Unit};
use crate::server::Server;
use crate::session::{Kit, Lab, message};
use crate::{limits, process};

pub(super) async fn measure(lab: &mut Lab) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(&lab.plan).await?;
    let count = lab.effort.running;
    let kit = Kit::make(&mut server.client().await?).await?;
    let sessions = kit.sessions(&server, count).await?;
    let before = server.resident().await?;
    let (server, paths) = (&server, &sessions);
    let senders = (0..limits::MAKERS).map(|sender| async move {
        let mut client = server.client().await?;
        for path in paths.iter().skip(sender).step_by(limits::MAKERS) {
            client.post(&format!("{path}/events"), &message("bench:hold")).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(senders).await?;
    lab.held(count).await?;
    let memory = server.resident().await?;
    lab.release().await?;
    lab.held(0).await?;
    lab.calls().await?;
    let after = process::resident(server.pid()?)?;
    Ok(vec![
        Figure::new("memory", format!("before, with {count} idle sessions"), before, Unit::Megabytes),
        Figure::new("memory", format!("with {count} sessions in the middle of a turn"), memory, Unit::Megabytes).at_most(120.0),
        Figure::new("memory", "right after those turns", after, Unit::Megabytes),
    ])
}
