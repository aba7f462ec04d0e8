//! Many sandboxes: what each of those that live and do nothing costs, and that parked ones cost the disk alone.

use super::sandbox::Place;
use crate::clock;
use crate::report::{Figure, Unit};
use crate::samples::Samples;
use crate::session::Lab;

/// Kilobytes (of 1,024 bytes) that the kernel cannot take back: of processes, tables and its own objects. What is
/// available moves with caches and with what is freed late.
fn held() -> anyhow::Result<f64> {
    const PARTS: [&str; 5] = ["AnonPages:", "Shmem:", "SUnreclaim:", "KernelStack:", "PageTables:"];
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let part = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        PARTS.contains(&name).then(|| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok())?
    };
    let parts: Vec<f64> = text.lines().filter_map(part).collect();
    anyhow::ensure!(parts.len() == PARTS.len(), "the kernel does not say what memory is held");
    Ok(parts.iter().sum())
}

pub(super) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut place = Place::open(lab, None).await?;
    let measured = crowd(&mut place, lab.effort.living, lab.effort.parked).await;
    place.close().await?;
    measured
}

async fn crowd(place: &mut Place, living: usize, parked: usize) -> anyhow::Result<Vec<Figure>> {
    let settled = std::time::Duration::from_secs(20);
    let mut ids = Vec::new();
    let (mut starts, mut calls) = (Samples::default(), Samples::default());
    let before = held()?;
    let mut last = None;
    for _ in 0..living {
        let id = place.session()?;
        let at = clock::now();
        last = Some(place.start(&id).await?);
        starts.push(clock::millis(at, clock::now()));
        ids.push(id);
    }
    // The shells that wait for a first call have gone by then.
    tokio::time::sleep(settled).await;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = (held()? - before) / living as f64;
    if let Some(inside) = last {
        for _ in 0..20 {
            let at = clock::now();
            place.bash(&inside).await?;
            calls.push(clock::millis(at, clock::now()));
        }
    }
    for id in &ids {
        place.sandboxes.stop(id).await?;
    }
    for _ in ids.len()..parked {
        let id = place.session()?;
        place.start(&id).await?;
        place.sandboxes.stop(&id).await?;
        ids.push(id);
    }
    tokio::time::sleep(settled).await;
    let after = held()?;
    let (mut woken, mut first) = (Samples::default(), Samples::default());
    for id in ids.iter().take(20) {
        let at = clock::now();
        let inside = place.start(id).await?;
        place.bash(&inside).await?;
        woken.push(clock::millis(at, clock::now()));
        place.sandboxes.stop(id).await?;
        let id = place.session()?;
        let at = clock::now();
        place.start(&id).await?;
        first.push(clock::millis(at, clock::now()));
        place.sandboxes.stop(&id).await?;
    }
    Ok(vec![
        Figure::new("crowd", format!("{living} living ones that do nothing: KiB of memory each"), each, Unit::Count).at_most(700.0),
        Figure::new("crowd", "start of the last quarter of them, p50", starts.late_median(), Unit::Ms),
        Figure::new("crowd", "bash tool in one of them, p50", calls.percentile(50), Unit::Ms),
        Figure::new(
            "crowd",
            format!("{} parked ones: MB of memory that all cost", ids.len()),
            (after - before) * 1_024.0 / 1e6,
            Unit::Megabytes,
        ),
        Figure::new("crowd", "beside them: woken to first output, p50", woken.percentile(50), Unit::Ms),
        Figure::new("crowd", "beside them: start of a new one, p50", first.percentile(50), Unit::Ms),
    ])
}
