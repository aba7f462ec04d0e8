//! What a sandbox says of itself when it is asked: the questions, and how the answer is read.

use std::collections::BTreeSet;

use super::read;

/// The namespaces of a sandbox, as `/proc/self/ns` names them.
pub(super) const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// What is run inside.
pub(super) const QUESTIONS: &str = "cat /proc/self/status\n\
    for name in user mnt pid net ipc uts cgroup; do echo \"Namespace: $(readlink /proc/self/ns/$name)\"; done\n\
    while read -r inside outside count; do echo \"Map: $inside $outside $count\"; done </proc/self/uid_map\n\
    while read -r name _; do case $name in *:) echo \"Interface: ${name%:}\";; esac; done </proc/net/dev\n";

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) uid: u32,
    /// Inside, outside, count.
    pub(super) id_map: Vec<(u64, u64, u64)>,
    pub(super) is_filtered: bool,
    pub(super) no_new_privs: bool,
    pub(super) has_capabilities: bool,
    /// Such as `net:[4026531840]`.
    pub(super) namespaces: BTreeSet<String>,
    pub(super) interfaces: BTreeSet<String>,
}

impl Inside {
    /// Reads the answer; `None` when it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let values = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| read::field(text, set));
        let id_map = values("Map").filter_map(|line| {
            let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
            Some((numbers.next()?, numbers.next()?, numbers.next()?))
        });
        Some(Self {
            uid: read::field(text, "Uid")?.split_whitespace().nth(1)?.parse().ok()?,
            id_map: id_map.collect(),
            is_filtered: read::field(text, "Seccomp")? == "2",
            no_new_privs: read::field(text, "NoNewPrivs")? == "1",
            // A set that is not told is not known to be empty.
            has_capabilities: !capabilities
                .iter()
                .all(|set| set.is_some_and(|set| !set.is_empty() && set.bytes().all(|digit| digit == b'0'))),
            namespaces: values("Namespace").filter(|link| !link.is_empty()).map(str::to_owned).collect(),
            interfaces: values("Interface").map(str::to_owned).collect(),
        })
    }

    /// Who its user is outside.
    pub(super) fn host_uid(&self) -> Option<u64> {
        let uid = u64::from(self.uid);
        let range = self.id_map.iter().find(|(inside, _, count)| (*inside..inside.saturating_add(*count)).contains(&uid));
        range.and_then(|(inside, outside, _)| outside.checked_add(uid - inside))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const SAID: &str = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t2\nNamespace: user:[9]\nNamespace: mnt:[9]\nNamespace: pid:[9]\nNamespace: net:[9]\nNamespace: ipc:[9]\n\
        Namespace: uts:[9]\nNamespace: cgroup:[9]\nMap: 0 2000000000 65536\nInterface: lo\n";

    pub(in super::super) fn good() -> Inside {
        Inside::parse(SAID).unwrap()
    }

    #[test]
    fn the_answer_is_understood() {
        let inside = good();
        assert_eq!((inside.uid, inside.host_uid()), (1_000, Some(2_000_001_000)));
        assert!(inside.is_filtered && inside.no_new_privs && !inside.has_capabilities);
        assert_eq!(inside.namespaces.len(), NAMESPACES.len());
        assert_eq!(inside.interfaces, ["lo".to_owned()].into());
        assert_eq!(Inside::parse("cat: /proc/self/status: No such file"), None);
    }

    #[test]
    fn what_is_not_said_is_not_taken_for_good() {
        let without = |line: &str| Inside::parse(&SAID.replace(line, ""));
        assert!(without("CapBnd:\t0000000000000000\n").unwrap().has_capabilities);
        assert!(Inside::parse(&SAID.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000000400")).unwrap().has_capabilities);
        assert_eq!(without("NoNewPrivs:\t1\n"), None);
        assert!(!Inside::parse(&SAID.replace("Seccomp:\t2", "Seccomp:\t0")).unwrap().is_filtered);
        assert_eq!(without("Map: 0 2000000000 65536\n").unwrap().host_uid(), None);
    }
}
