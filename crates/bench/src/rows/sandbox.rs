//! Sandboxes by the library that the server uses, with the spawner of the binary under test: started cold, taken
//! from those that are ready, woken, and used. With OSTLER_TEST_ENGINE the same in containers.

use std::path::PathBuf;

use ostler_core::ids::{EventId, IncarnationId, SessionId};
use ostler_sandbox::{
    CallRequest, Connection, IsolationFloor, OciConfig, SandboxSpec, Sandboxes, SandboxesConfig, SpawnerCommand, UidBlock, Wishes,
};
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
    ready: Samples,
    woken: Samples,
    live: Samples,
    rested: Samples,
    killed: Samples,
}

/// A directory of sandboxes that is gone with what is in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) sandboxes: Sandboxes,
    next: usize,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(super) async fn open(lab: &Lab, oci: Option<OciConfig>) -> anyhow::Result<Self> {
        let dir = process::scratch()?;
        let spawner = SpawnerCommand { program: std::path::absolute(&lab.plan.binary)?, args: vec!["spawner".into()] };
        let config = SandboxesConfig { dir: dir.path().join("sandboxes"), spawner, uid_block: UidBlock::default(), epoch: 1, oci };
        Ok(Self { sandboxes: Sandboxes::start(config).await?, next: 0, _dir: dir })
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        for left in self.sandboxes.kept().await? {
            self.sandboxes.remove(&left).await?;
        }
        Ok(self.sandboxes.shutdown().await?)
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    pub(super) fn session(&mut self) -> anyhow::Result<SessionId> {
        Ok(format!("sesn_bench{}", self.number()).parse()?)
    }

    /// Starts a life.
    pub(super) async fn start(&mut self, id: &SessionId) -> anyhow::Result<Connection> {
        let incarnation: IncarnationId = format!("inc_bench{}", self.number()).parse()?;
        Ok(self.sandboxes.create(id, &incarnation, &SandboxSpec::default()).await?)
    }

    /// Runs a command.
    pub(super) async fn bash(&mut self, inside: &Connection) -> anyhow::Result<()> {
        let id: EventId = format!("sevt_bench{}", self.number()).parse()?;
        let request = CallRequest {
            id: id.clone(),
            tool: "bash".into(),
            input: json!({"command": "echo done"}),
            timeout_ms: None,
            environment: std::collections::BTreeMap::new(),
        };
        let outcome = inside.run(&request).await.map_err(|error| anyhow::anyhow!("a call in a sandbox failed: {error:?}"))?;
        anyhow::ensure!(!outcome.is_error, "a call in a sandbox failed: {outcome:?}");
        inside.acknowledge(&id).await;
        Ok(())
    }
}

pub(super) async fn measure(lab: &Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
    let count = lab.effort.sandboxes;
    let line = |what: &str, samples: &Samples, percent| Figure::new("sandbox", what, samples.percentile(percent), Unit::Ms);
    let mut place = Place::open(lab, None).await?;
    let measured = all(&mut place, count).await;
    place.close().await?;
    let times = measured?;
    let mut figures = vec![
        line("create to first output of bash, cold, p50", &times.cold, 50).at_most(4.0).above(raw.namespaces),
        line("the same, p99", &times.cold, 99).above(raw.namespaces),
        line("of that, until its init answers, p50", &times.created, 50),
        line("the same with one that is ready, p50", &times.ready, 50).at_most(2.0).above(raw.bash),
        line("the same, p99", &times.ready, 99).above(raw.bash),
        line("woken: the same with files and a shell's state, p50", &times.woken, 50).at_most(8.0).above(raw.namespaces),
        line("bash tool in a live one, p50", &times.live, 50).at_most(3.0).above(raw.bash),
        line("the same, p99", &times.live, 99).above(raw.bash),
        line("the same after a pause, p50", &times.rested, 50).above(raw.bash),
        line("killed, until nothing is left, p99", &times.killed, 99).at_most(100.0),
    ];
    if let Some(socket) = std::env::var_os("OSTLER_TEST_ENGINE").map(PathBuf::from) {
        let oci = OciConfig { socket, runtime: None, isolation: IsolationFloor::OwnIds, for_all: true };
        let mut place = Place::open(lab, Some(oci)).await?;
        let (mut cold, mut live) = (Samples::default(), Samples::default());
        let measured = containers(&mut place, count.min(10), &mut cold, &mut live).await;
        place.close().await?;
        measured?;
        figures.push(line("container: create to first output of bash, p50", &cold, 50));
        figures.push(line("container: bash tool in a live one, p50", &live, 50).above(raw.bash));
    }
    Ok(figures)
}

async fn all(place: &mut Place, count: usize) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let wishes = |spares| Wishes { orphan_ttl: std::time::Duration::from_secs(3_600), spares, spec: SandboxSpec::default() };
    for _ in 0..count {
        let id = place.session()?;
        let before = clock::now();
        let inside = place.start(&id).await?;
        times.created.push(clock::millis(before, clock::now()));
        place.bash(&inside).await?;
        times.cold.push(clock::millis(before, clock::now()));
        for _ in 0..3 {
            let before = clock::now();
            place.bash(&inside).await?;
            times.live.push(clock::millis(before, clock::now()));
        }
        for _ in 0..2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let before = clock::now();
            place.bash(&inside).await?;
            times.rested.push(clock::millis(before, clock::now()));
        }
        let before = clock::now();
        place.sandboxes.stop(&id).await?;
        times.killed.push(clock::millis(before, clock::now()));
        // Parked ones have let go of their disks long ago.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let before = clock::now();
        let inside = place.start(&id).await?;
        place.bash(&inside).await?;
        times.woken.push(clock::millis(before, clock::now()));
        place.sandboxes.remove(&id).await?;
    }
    place.sandboxes.attend(Vec::new(), &wishes(1)).await?;
    for _ in 0..count {
        while place.sandboxes.spares().await? == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // Its shell is ready a moment after it is.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let id = place.session()?;
        let before = clock::now();
        let inside = place.start(&id).await?;
        place.bash(&inside).await?;
        times.ready.push(clock::millis(before, clock::now()));
        place.sandboxes.remove(&id).await?;
    }
    place.sandboxes.attend(Vec::new(), &wishes(0)).await?;
    Ok(times)
}

async fn containers(place: &mut Place, count: usize, cold: &mut Samples, live: &mut Samples) -> anyhow::Result<()> {
    for _ in 0..count {
        let id = place.session()?;
        let before = clock::now();
        let inside = place.start(&id).await?;
        place.bash(&inside).await?;
        cold.push(clock::millis(before, clock::now()));
        let before = clock::now();
        place.bash(&inside).await?;
        live.push(clock::millis(before, clock::now()));
        place.sandboxes.remove(&id).await?;
    }
    Ok(())
}
