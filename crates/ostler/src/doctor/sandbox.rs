//! What a sandbox really is on this machine: one is started as the server would, in a directory of
//! its own that is removed, and asked what it sees.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context;
use ostler_core::ids::{IncarnationId, SessionId};
use ostler_sandbox::limits::IDS_PER_SANDBOX;
use ostler_sandbox::{CallRequest, IdMapping, Isolation, SandboxError, SandboxSpec, Sandboxes, SandboxesConfig, SpawnerCommand, UidBlock};
use tokio_util::sync::CancellationToken;

use super::inside::{self, Inside};
use super::limits;
use super::report::{Finding, quote};

/// What was seen.
#[derive(Debug, Clone)]
pub(super) enum Tried {
    /// None could be started.
    Failed {
        what: String,
        remedy: Option<String>,
    },
    Ran(Box<Ran>),
}

/// A sandbox that answered.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) isolation: Isolation,
    pub(super) took_ms: u128,
    pub(super) inside: Inside,
    /// The namespaces of this process, as the kernel names them.
    pub(super) host_namespaces: BTreeSet<String>,
    pub(super) spec: SandboxSpec,
}

/// Tries. Leaves neither a process nor a file, also when `stop` ends it early.
pub(super) async fn look(block: UidBlock, stop: CancellationToken) -> Tried {
    let failed = |error: anyhow::Error| {
        let isolation = error.chain().find_map(|cause| cause.downcast_ref::<SandboxError>());
        match isolation {
            Some(SandboxError::Isolation { layer, reason, remedy }) => {
                Tried::Failed { what: format!("{layer}: {reason}"), remedy: Some(remedy.clone()) }
            }
            _ => Tried::Failed { what: format!("{error:#}"), remedy: None },
        }
    };
    let home = tempfile::Builder::new().prefix("ostler-doctor-").tempdir().context("making a temporary directory");
    let (home, program) = match home.and_then(|home| Ok((home, std::env::current_exe().context("finding this program")?))) {
        Ok(found) => found,
        Err(error) => return failed(error),
    };
    let config = SandboxesConfig {
        dir: home.path().join("sandboxes"),
        spawner: SpawnerCommand { program, args: vec!["spawner".into()] },
        uid_block: last_range(block),
        epoch: 1,
        oci: None,
    };
    let tried = async {
        let sandboxes = Sandboxes::start(config).await?;
        let ran = tokio::select! {
            ran = tokio::time::timeout(limits::SANDBOX, run(&sandboxes)) => ran.context("a sandbox did not answer in time").and_then(|ran| ran),
            () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
        };
        // Ends its sandboxes, too. If it does not answer any more, there is nothing left to try.
        let _ = tokio::time::timeout(limits::SANDBOX_END, sandboxes.shutdown()).await;
        ran
    };
    let tried = tried.await.map_or_else(failed, |ran| Tried::Ran(Box::new(ran)));
    // The spawner says goodbye before it ends, and may still be about to.
    drop(home);
    tried
}

/// The last range of the block: the least likely one to be a living sandbox's.
fn last_range(block: UidBlock) -> UidBlock {
    let before = (block.count / IDS_PER_SANDBOX).saturating_sub(1).saturating_mul(IDS_PER_SANDBOX);
    UidBlock { first: block.first.saturating_add(before), count: block.count.saturating_sub(before) }
}

async fn run(sandboxes: &Sandboxes) -> anyhow::Result<Ran> {
    let started = Instant::now();
    let spec = SandboxSpec::default();
    let isolation = sandboxes.probe().await?;
    let id: SessionId = "sesn_doctor".parse().map_err(|_| anyhow::anyhow!("a sandbox has no name"))?;
    let incarnation: IncarnationId = "inc_doctor".parse().map_err(|_| anyhow::anyhow!("a sandbox has no name"))?;
    let connection = sandboxes.create(&id, &incarnation, &spec).await?;
    let call = CallRequest {
        id: "sevt_doctor".parse().map_err(|_| anyhow::anyhow!("a call has no name"))?,
        tool: "bash".to_owned(),
        input: serde_json::json!({ "command": inside::QUESTIONS }),
        timeout_ms: None,
        environment: std::collections::BTreeMap::new(),
    };
    let outcome = connection.run(&call).await.context("asking a sandbox what it sees")?;
    let took_ms = started.elapsed().as_millis();
    let text: String = outcome.content.iter().filter_map(|block| block.get("text")?.as_str()).collect();
    sandboxes.remove(&id).await?;
    let host_namespaces = inside::NAMESPACES.iter().filter_map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok());
    let host_namespaces = host_namespaces.map(|link| link.display().to_string()).collect();
    let inside = Inside::parse(&text).with_context(|| format!("a sandbox answered {:?}", quote(&text)))?;
    Ok(Ran { isolation, took_ms, inside, host_namespaces, spec })
}

impl Tried {
    pub(super) fn judge(&self) -> Vec<Finding> {
        match self {
            Self::Failed { what, remedy } => {
                let remedy = remedy.clone().unwrap_or_else(|| "see the findings above: the same is likely behind it".to_owned());
                vec![Finding::problem("sandbox", format!("none can be started: {}", quote(what)), remedy)]
            }
            Self::Ran(ran) => {
                let took = format!(
                    "two were started and one answered, in {} ms; layers: {}",
                    ran.took_ms,
                    quote(&ran.isolation.layers.join(", "))
                );
                vec![Finding::ok("sandbox", took), ran.namespaces(), ran.privileges(), ran.ids(), ran.network(), ran.limits()]
            }
        }
    }
}

const REPORT: &str = "do not serve sessions on this machine, and report it: a sandbox should not start like this";

impl Ran {
    fn namespaces(&self) -> Finding {
        const NAME: &str = "sandbox_namespaces";
        let shared: Vec<&str> = self.inside.namespaces.intersection(&self.host_namespaces).map(String::as_str).collect();
        let missing = inside::NAMESPACES
            .iter()
            .filter(|name| !self.inside.namespaces.iter().any(|own| own.starts_with(&format!("{name}:["))))
            .copied();
        let missing: Vec<&str> = missing.collect();
        if !shared.is_empty() {
            Finding::problem(NAME, format!("shares with the machine: {}", shared.join(", ")), REPORT)
        } else if !missing.is_empty() || self.host_namespaces.len() < inside::NAMESPACES.len() {
            Finding::problem(
                NAME,
                format!("could not be seen; missing inside: {}", missing.join(", ")),
                "make sure that /proc is mounted and not masked",
            )
        } else {
            Finding::ok(NAME, format!("has its own: {}", inside::NAMESPACES.join(", ")))
        }
    }

    fn privileges(&self) -> Finding {
        const NAME: &str = "sandbox_privileges";
        let inside = &self.inside;
        let mut lacks = Vec::new();
        if !inside.is_filtered {
            lacks.push("its system calls are not filtered");
        }
        if !inside.no_new_privs {
            lacks.push("its programs can gain privileges");
        }
        if inside.has_capabilities {
            lacks.push("it has capabilities");
        }
        if lacks.is_empty() {
            Finding::ok(NAME, "system calls filtered (seccomp 2), no_new_privs, no capabilities")
        } else {
            Finding::problem(NAME, lacks.join("; "), REPORT)
        }
    }

    fn ids(&self) -> Finding {
        const NAME: &str = "sandbox_ids";
        let host = self.inside.host_uid();
        match (self.isolation.ids, host) {
            (_, None) => Finding::problem(NAME, format!("its user {} is nobody outside", self.inside.uid), REPORT),
            (IdMapping::OwnRange, Some(0)) => Finding::problem(NAME, "its user is root outside", REPORT),
            (IdMapping::OwnRange, Some(host)) => {
                Finding::ok(NAME, format!("its user {} is {host} outside, which no other sandbox has", self.inside.uid))
            }
            (IdMapping::ServerUser, Some(host)) => Finding::note(
                NAME,
                format!("its user {} is {host} outside, who is the server's user and that of all sandboxes", self.inside.uid),
                "run the server as root, and each sandbox gets ids of its own; until then a hole in the kernel reaches this user's files",
            ),
        }
    }

    fn network(&self) -> Finding {
        const NAME: &str = "sandbox_network";
        if self.inside.interfaces.is_empty() {
            return Finding::problem(NAME, "could not be seen: not even the loopback", "make sure that /proc is mounted and not masked");
        }
        let others: Vec<&str> = self.inside.interfaces.iter().map(String::as_str).filter(|name| *name != "lo").collect();
        if others.is_empty() {
            Finding::ok(NAME, "none but its own loopback; in sessions it leads out by egress alone")
        } else {
            Finding::problem(NAME, format!("has interfaces: {}", quote(&others.join(", "))), REPORT)
        }
    }

    fn limits(&self) -> Finding {
        const NAME: &str = "sandbox_limits";
        let SandboxSpec { max_memory_bytes, max_processes, max_open_files, disk_bytes, disk_inodes, tmp_bytes, .. } = self.spec;
        let all = format!(
            "{} MiB of memory, {max_processes} processes, {max_open_files} open files each, {} MiB and {disk_inodes} files on disk, {} MiB of /tmp",
            max_memory_bytes >> 20,
            disk_bytes >> 20,
            tmp_bytes >> 20
        );
        let has = |layer: &str| self.isolation.layers.iter().any(|found| found.starts_with(layer));
        let mut watched = Vec::new();
        if !has("control groups (memory") {
            watched.push("memory");
        }
        if !has("disk limit") {
            watched.push("the disk");
        }
        if watched.is_empty() {
            return Finding::ok(NAME, all);
        }
        let processor = if has("control groups (memory") { "" } else { ", processor time is not limited" };
        let remedy = "run the server as root, with control groups that it may write, loop devices and mkfs.ext4; environments that ask for \
            hard_limits are refused until then";
        Finding::note(
            NAME,
            format!("{all}; {} only watched, which lets a command have more for a moment{processor}", watched.join(" and ")),
            remedy,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> Ran {
        let isolation = Isolation { backend: "namespace", ids: IdMapping::OwnRange, layers: vec!["namespaces".into(), "seccomp".into()] };
        let host_namespaces = inside::NAMESPACES.iter().map(|name| format!("{name}:[1]")).collect();
        Ran { isolation, took_ms: 9, inside: inside::tests::good(), host_namespaces, spec: SandboxSpec::default() }
    }

    fn judged(ran: Ran) -> Vec<Finding> {
        Tried::Ran(Box::new(ran)).judge()
    }

    fn inside(change: impl FnOnce(&mut Inside)) -> Vec<Finding> {
        let mut ran = good();
        change(&mut ran.inside);
        judged(ran)
    }

    #[test]
    fn a_good_sandbox_has_no_problem_and_says_what_is_not_there_yet() {
        let findings = judged(good());
        let notes: Vec<&str> =
            findings.iter().filter(|finding| finding.status != Status::Ok).map(|finding| finding.name.as_str()).collect();
        assert_eq!(notes, ["sandbox_limits"]);
        assert_finding(&findings, "sandbox", Status::Ok, "9 ms; layers: namespaces, seccomp", "");
        assert_finding(&findings, "sandbox_limits", Status::Note, "memory and the disk only watched", "hard_limits");
        let mut held = good();
        held.isolation.layers.push("control groups (memory, pids, cpu)".into());
        assert_finding(&judged(held.clone()), "sandbox_limits", Status::Note, "the disk only watched", "loop devices");
        held.isolation.layers.push("disk limit".into());
        assert_finding(&judged(held), "sandbox_limits", Status::Ok, "2048 MiB of memory, 512 processes", "");
        assert_finding(&findings, "sandbox_network", Status::Ok, "by egress alone", "");
    }

    #[test]
    fn a_sandbox_that_does_not_start_is_a_problem_with_the_remedy_of_its_layer() {
        let failed = Tried::Failed { what: "namespaces: no space".into(), remedy: Some("allow user namespaces".into()) };
        assert_finding(&failed.judge(), "sandbox", Status::Problem, "namespaces: no space", "allow user namespaces");
        let failed = Tried::Failed { what: "it did not answer".into(), remedy: None };
        assert_finding(&failed.judge(), "sandbox", Status::Problem, "did not answer", "findings above");
    }

    #[test]
    fn every_missing_layer_is_a_problem() {
        let shared = inside(|inside| inside.namespaces = ["net:[1]".to_owned()].into());
        assert_finding(&shared, "sandbox_namespaces", Status::Problem, "shares with the machine: net:[1]", "report it");
        let unseen = inside(|inside| inside.namespaces.retain(|name| !name.starts_with("pid")));
        assert_finding(&unseen, "sandbox_namespaces", Status::Problem, "missing inside: pid", "/proc");
        for (findings, found) in [
            (inside(|inside| inside.is_filtered = false), "not filtered"),
            (inside(|inside| inside.no_new_privs = false), "gain privileges"),
            (inside(|inside| inside.has_capabilities = true), "has capabilities"),
        ] {
            assert_finding(&findings, "sandbox_privileges", Status::Problem, found, "report it");
        }
        let connected = inside(|inside| inside.interfaces = ["lo".to_owned(), "eth0".to_owned()].into());
        assert_finding(&connected, "sandbox_network", Status::Problem, "eth0", "report it");
        let unseen = inside(|inside| inside.interfaces.clear());
        assert_finding(&unseen, "sandbox_network", Status::Problem, "could not be seen", "/proc");
    }

    #[test]
    fn whose_ids_a_sandbox_has_decides() {
        let root = inside(|inside| inside.id_map = vec![(0, 0, 65_536)]);
        assert_eq!(
            root.iter().find(|finding| finding.name == "sandbox_ids").map(|finding| finding.status),
            Some(Status::Ok),
            "1000 is not root"
        );
        let root = inside(|inside| inside.id_map = vec![(1_000, 0, 1)]);
        assert_finding(&root, "sandbox_ids", Status::Problem, "root outside", "report it");
        let nobody = inside(|inside| inside.id_map.clear());
        assert_finding(&nobody, "sandbox_ids", Status::Problem, "nobody outside", "report it");
        let mut user = good();
        user.isolation.ids = IdMapping::ServerUser;
        user.inside.id_map = vec![(1_000, 501, 1)];
        assert_finding(&judged(user), "sandbox_ids", Status::Note, "501 outside", "run the server as root");
    }

    #[test]
    fn the_range_of_the_trial_is_the_last_of_the_block() {
        let last = |first, count| last_range(UidBlock { first, count });
        assert_eq!(last(2_000_000_000, 65_536 * 3), UidBlock { first: 2_000_131_072, count: 65_536 });
        assert_eq!(last(10, 65_536), UidBlock { first: 10, count: 65_536 });
        assert_eq!(last(10, 5), UidBlock { first: 10, count: 5 });
    }
}
