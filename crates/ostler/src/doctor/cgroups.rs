//! Control groups: which there are and whether we may make some. Sandboxes that have none are limited
//! less, which is said with the sandbox itself, so nothing here is a problem.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::read;
use super::report::Finding;

const NAME: &str = "cgroups";
/// The controllers that can hold a sandbox.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroups {
    pub(super) kind: Kind,
    /// Of [`WANTED`]: those that our own group offers.
    pub(super) controllers: BTreeSet<String>,
    /// Those below which we may make groups.
    pub(super) writable: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Version 2 alone.
    Unified,
    /// Version 1, perhaps with an empty version 2 beside it.
    Legacy,
    None,
}

pub(super) fn look() -> Cgroups {
    let mounts = read::text("/proc/self/mounts").unwrap_or_default();
    let own = read::text("/proc/self/cgroup").unwrap_or_default();
    let groups = groups(&mounts, &own);
    let may_write = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
    let mut seen = Cgroups { kind: groups.kind, controllers: BTreeSet::new(), writable: BTreeSet::new() };
    for (controllers, path) in groups.of_controllers {
        let offered = match controllers {
            Some(named) => named,
            None => read::text(path.join("cgroup.controllers")).unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        };
        for controller in offered.into_iter().filter(|controller| WANTED.contains(&controller.as_str())) {
            if may_write(&path) {
                seen.writable.insert(controller.clone());
            }
            seen.controllers.insert(controller);
        }
    }
    seen
}

/// Where our own groups are.
#[derive(Debug, PartialEq, Eq)]
struct Groups {
    kind: Kind,
    /// The controllers of a hierarchy, where its mount names them, and our directory in it.
    of_controllers: Vec<(Option<Vec<String>>, PathBuf)>,
}

/// Reads `/proc/self/mounts` and `/proc/self/cgroup`.
fn groups(mounts: &str, own: &str) -> Groups {
    let mount = |line: &str| {
        let mut fields = line.split_whitespace().skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?, fields.next()?))
    };
    let mounts: Vec<(String, String, String)> = mounts.lines().filter_map(mount).collect();
    let mut kind = if mounts.iter().any(|(_, of, _)| of == "cgroup2") { Kind::Unified } else { Kind::None };
    let mut of_controllers = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let below = |at: &str| Path::new(at).join(path.trim_start_matches('/'));
        if controllers.is_empty() {
            of_controllers.extend(mounts.iter().find(|(_, of, _)| of == "cgroup2").map(|(at, _, _)| (None, below(at))));
        } else if !controllers.starts_with("name=") {
            let named: Vec<String> = controllers.split(',').map(str::to_owned).collect();
            let has = |options: &str| named.iter().all(|name| options.split(',').any(|option| option == name));
            if let Some((at, _, _)) = mounts.iter().find(|(_, of, options)| of == "cgroup" && has(options)) {
                kind = Kind::Legacy;
                of_controllers.push((Some(named), below(at)));
            }
        }
    }
    Groups { kind, of_controllers }
}

impl Cgroups {
    pub(super) fn judge(&self) -> Vec<Finding> {
        let all = |set: &BTreeSet<String>| WANTED.iter().all(|wanted| set.contains(*wanted));
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let version = match self.kind {
            Kind::Unified => "version 2",
            Kind::Legacy => "version 1",
            Kind::None => return vec![Finding::aside(NAME, "none mounted; sandboxes do without")],
        };
        if self.controllers.is_empty() {
            return vec![Finding::aside(NAME, format!("{version} without cpu, memory or pids; sandboxes do without"))];
        }
        let found = format!("{version} with {}", list(&self.controllers));
        vec![if all(&self.writable) {
            Finding::ok(NAME, format!("{found}, writable"))
        } else {
            let writable = if self.writable.is_empty() { "not writable".into() } else { format!("only {} writable", list(&self.writable)) };
            Finding::aside(NAME, format!("{found}, {writable}; sandboxes do without those that are not"))
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn none_of_it_is_a_problem() {
        let all = set(&["cpu", "memory", "pids"]);
        let table = [
            (Kind::Unified, all.clone(), all.clone(), Status::Ok, "version 2 with cpu, memory, pids, writable"),
            (Kind::Unified, all.clone(), set(&[]), Status::Note, "not writable"),
            (Kind::Legacy, all.clone(), set(&["cpu"]), Status::Note, "version 1 with cpu, memory, pids, only cpu writable"),
            (Kind::Unified, set(&[]), set(&[]), Status::Note, "without cpu"),
            (Kind::None, set(&[]), set(&[]), Status::Note, "none mounted"),
        ];
        for (kind, controllers, writable, status, found) in table {
            assert_finding(&Cgroups { kind, controllers, writable }.judge(), NAME, status, found, "");
        }
    }

    #[test]
    fn our_groups_are_found_in_both_versions() {
        let unified = groups("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "0::/user.slice/a\n");
        assert_eq!(unified, Groups { kind: Kind::Unified, of_controllers: vec![(None, "/sys/fs/cgroup/user.slice/a".into())] });
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let hybrid = groups(mounts, "4:cpu,cpuacct:/x\n1:name=systemd:/y\n0::/z\n");
        let cpu = Some(vec!["cpu".to_owned(), "cpuacct".to_owned()]);
        let places = vec![(cpu, "/sys/fs/cgroup/cpu,cpuacct/x".into()), (None, "/sys/fs/cgroup/unified/z".into())];
        assert_eq!(hybrid, Groups { kind: Kind::Legacy, of_controllers: places });
        assert_eq!(groups("", "nonsense\n").kind, Kind::None);
    }
}
