//! Start and idle memory, with an empty database and with many idle sessions in it.

use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::server::Server;
use crate::session::{Kit, Lab};

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut server = Server::start(&lab.plan).await?;
    let empty_memory = server.resident().await?;
    let empty_boot = boots(lab, &mut server).await?;
    let kit = Kit::make(&mut server.client().await?).await?;
    let count = lab.effort.idle;
    kit.sessions(&server, count).await?;
    let made_memory = server.resident().await?;
    let boot = boots(lab, &mut server).await?;
    let memory = server.resident().await?;
    Ok(vec![
        Figure::new("boot", "to ready, empty, p50", empty_boot.median(), Unit::Ms),
        Figure::new("boot", format!("to ready with {count} sessions, p50"), boot.median(), Unit::Ms).at_most(100.0),
        Figure::new("memory", "idle, empty", empty_memory, Unit::Megabytes).at_most(25.0),
        Figure::new("memory", format!("idle with {count} idle sessions"), memory, Unit::Megabytes).at_most(35.0),
        Figure::new("memory", format!("idle after having made {count} sessions"), made_memory, Unit::Megabytes),
    ])
}

async fn boots(lab: &Lab, server: &mut Server) -> anyhow::Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..lab.effort.boots {
        server.restart().await?;
        samples.push(server.ready().await?);
    }
    Ok(samples)
}
