//! Sandboxes by the library that the server uses, with the spawner of the binary under test.

use ostler_core::ids::{EventId, IncarnationId, SessionId};
use ostler_sandbox::{CallRequest, Connection, SandboxSpec, Sandboxes, SandboxesConfig, SpawnerCommand, UidBlock};
use serde_json::json;

use crate::report::{Figure, Unit};
use crate::rows::raw::Raw;
use crate::samples::Samples;
use crate::session::Lab;
use crate::{clock, process};

/// Times of one sandbox and of all, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    cold: Samples,
    created: Samples,
    live: Samples,
}

pub(super) async fn measure(lab: &Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    let dir = process::scratch()?;
    let place = dir.path().join("sandboxes");
    let spawner = SpawnerCommand { program: std::path::absolute(&lab.plan.binary)?, args: vec!["spawner".into()] };
    let sandboxes = Sandboxes::start(SandboxesConfig { dir: place, spawner, uid_block: UidBlock::default(), epoch: 1, oci: None }).await?;
    let mut times = Times::default();
    let mut measured = Ok(());
    for number in 0..lab.effort.sandboxes {
        measured = one(&sandboxes, number, &mut times).await;
        if measured.is_err() {
            break;
        }
    }
    for left in sandboxes.kept().await? {
        sandboxes.remove(&left).await?;
    }
    sandboxes.shutdown().await?;
    measured?;
    let line = |what: &str, samples: &Samples, percent| Figure::new("sandbox", what, samples.percentile(percent), Unit::Ms);
    Ok(vec![
        line("create to first output of bash, cold, p50", &times.cold, 50).at_most(4.0).above(raw.namespaces),
        line("the same, p99", &times.cold, 99).above(raw.namespaces),
        line("of that, until its init answers, p50", &times.created, 50),
        line("bash tool in a live one, p50", &times.live, 50).at_most(3.0).above(raw.bash),
        line("the same, p99", &times.live, 99).above(raw.bash),
    ])
}

async fn one(sandboxes: &Sandboxes, number: usize, times: &mut Times) -> anyhow::Result<()> {
    let id: SessionId = format!("sesn_bench{number}").parse()?;
    let incarnation: IncarnationId = format!("inc_bench{number}").parse()?;
    let before = clock::now();
    let connection = sandboxes.create(&id, &incarnation, &SandboxSpec::default()).await?;
    times.created.push(clock::millis(before, clock::now()));
    bash(&connection, number, 0).await?;
    times.cold.push(clock::millis(before, clock::now()));
    for call in 1..4 {
        let before = clock::now();
        bash(&connection, number, call).await?;
        times.live.push(clock::millis(before, clock::now()));
    }
    Ok(sandboxes.remove(&id).await?)
}

async fn bash(connection: &Connection, sandbox: usize, call: usize) -> anyhow::Result<()> {
    let id: EventId = format!("sevt_bench{sandbox}x{call}").parse()?;
    let request = CallRequest { id: id.clone(), tool: "bash".into(), input: json!({"command": "echo done"}), timeout_ms: None };
    let outcome = connection.run(&request).await.map_err(|error| anyhow::anyhow!("a call in a sandbox failed: {error:?}"))?;
    anyhow::ensure!(!outcome.is_error, "a call in a sandbox failed: {outcome:?}");
    connection.acknowledge(&id).await;
    Ok(())
}
