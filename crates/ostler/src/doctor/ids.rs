//! User ids for sandboxes: the block of the settings when we are root, what an ordinary user has.

use nix::unistd::{AccessFlags, Uid, access};
use ostler_sandbox::UidBlock;
use ostler_sandbox::limits::IDS_PER_SANDBOX;

use super::read;
use super::report::{Finding, quote};

const NAME: &str = "id_ranges";

/// Ids that somebody has, and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) who: String,
    pub(super) first: u64,
    pub(super) count: u64,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) block: UidBlock,
    /// Users, groups and the ranges given to users.
    pub(super) taken: Vec<Taken>,
    /// Of these: the ranges of this user.
    pub(super) own: Vec<Taken>,
    pub(super) has_newuidmap: bool,
    /// The ids that exist in this process's own user namespace: first and count.
    pub(super) mapped: Vec<(u64, u64)>,
}

pub(super) fn look(block: UidBlock) -> Ids {
    let uid = Uid::effective();
    let file = |path: &str| read::text(path).unwrap_or_default();
    let passwd = file("/etc/passwd");
    let subuid = ranges("/etc/subuid", &file("/etc/subuid"));
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()));
    let name = name.and_then(|line| line.split(':').next()).unwrap_or_default().to_owned();
    let own = subuid.iter().filter(|(who, _)| *who == name || *who == uid.to_string()).map(|(_, range)| range.clone()).collect();
    let mut taken = people("user", &passwd);
    taken.extend(people("group", &file("/etc/group")));
    taken.extend(subuid.into_iter().chain(ranges("/etc/subgid", &file("/etc/subgid"))).map(|(_, range)| range));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_newuidmap = std::env::split_paths(&path).any(|dir| access(&dir.join("newuidmap"), AccessFlags::X_OK).is_ok());
    Ids { uid: uid.as_raw(), block, taken, own, has_newuidmap, mapped: mapped(&file("/proc/self/uid_map")) }
}

/// The ids in `/etc/passwd` or `/etc/group`.
fn people(what: &str, text: &str) -> Vec<Taken> {
    let person = |line: &str| {
        let mut fields = line.split(':');
        let who = format!("{what} {}", fields.next()?);
        Some(Taken { who, first: fields.nth(1)?.parse().ok()?, count: 1 })
    };
    text.lines().filter_map(person).collect()
}

/// The ranges in `/etc/subuid` or `/etc/subgid`, by whom they were given to.
fn ranges(path: &str, text: &str) -> Vec<(String, Taken)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?.to_owned();
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((who.clone(), Taken { who: format!("the range of {who} in {path}"), first, count }))
    };
    text.lines().filter_map(range).collect()
}

/// The ids of a `uid_map`.
fn mapped(text: &str) -> Vec<(u64, u64)> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.nth(1)?.ok()?))
    };
    text.lines().filter_map(line).collect()
}

impl Ids {
    pub(super) fn judge(&self) -> Vec<Finding> {
        vec![if self.uid == 0 { self.block() } else { self.own_user() }]
    }

    fn block(&self) -> Finding {
        let (first, count) = (u64::from(self.block.first), u64::from(self.block.count));
        let end = first.saturating_add(count);
        let found = format!("root gives sandboxes the ids from {first} to {}", end.saturating_sub(1));
        let settings = "set uid_first and uid_count in the [sandbox] section of ostler.toml";
        if first == 0 || end > u64::from(u32::MAX) || count < u64::from(IDS_PER_SANDBOX) {
            let remedy = format!("{settings}: from 1 to 4294967294, and {IDS_PER_SANDBOX} for each sandbox");
            return Finding::problem(NAME, format!("{found}, which is no block for sandboxes"), remedy);
        }
        if !self.mapped.iter().any(|(from, ids)| *from <= first && from.saturating_add(*ids) >= end) {
            let remedy =
                format!("run the server as root of the host or as an ordinary user, or {settings} to ids that /proc/self/uid_map has");
            return Finding::problem(NAME, format!("{found}, which this root does not have: it is in a user namespace"), remedy);
        }
        let meets = |taken: &&Taken| taken.first < end && taken.first.saturating_add(taken.count) > first;
        if let Some(taken) = self.taken.iter().find(meets) {
            let remedy = format!("{settings} to ids that nobody has");
            return Finding::problem(NAME, format!("{found}, and {} has some of them", quote(&taken.who)), remedy);
        }
        Finding::ok(NAME, format!("{found}: {} sandboxes, each with ids of its own", count / u64::from(IDS_PER_SANDBOX)))
    }

    fn own_user(&self) -> Finding {
        let count: u64 = self.own.iter().map(|range| range.count).sum();
        let range = match (count, self.has_newuidmap) {
            (0, _) => "no ids of /etc/subuid".to_owned(),
            (count, true) => format!("{count} ids of /etc/subuid and newuidmap, which are not used yet"),
            (count, false) => format!("{count} ids of /etc/subuid without newuidmap, which are not used yet"),
        };
        let found = format!("sandboxes share the id of this user, {} ({range})", self.uid);
        Finding::note(
            NAME,
            found,
            "do not let sessions of people who distrust each other share this server, or run it as root: each sandbox then has ids of its own",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn root() -> Ids {
        let taken = vec![Taken { who: "user root".into(), first: 0, count: 1 }];
        Ids { uid: 0, block: UidBlock::default(), taken, own: Vec::new(), has_newuidmap: false, mapped: vec![(0, u64::from(u32::MAX))] }
    }

    fn with(who: &str, first: u64, count: u64) -> Ids {
        Ids { taken: vec![Taken { who: who.into(), first, count }], ..root() }
    }

    #[test]
    fn a_block_that_nobody_else_has_is_good() {
        assert_finding(&root().judge(), NAME, Status::Ok, "from 2000000000 to 4147418111: 32767 sandboxes", "");
        for neighbour in [with("user a", 1_999_999_999, 1), with("user b", 4_147_418_112, 1), with("c", 1_999_934_464, 65_536)] {
            assert_finding(&neighbour.judge(), NAME, Status::Ok, "32767", "");
        }
    }

    #[test]
    fn a_block_that_others_have_ids_in_is_a_problem() {
        for taken in [with("user a", 2_000_000_000, 1), with("user a", 2_134_217_727, 1), with("user a", 1_999_999_999, 2)] {
            assert_finding(&taken.judge(), NAME, Status::Problem, "user a has some of them", "uid_first");
        }
    }

    #[test]
    fn a_block_that_cannot_be_is_a_problem() {
        for (first, count) in [(0, 65_536), (1, 65_535), (u32::MAX - 65_535, 65_536), (u32::MAX, u32::MAX)] {
            let ids = Ids { block: UidBlock { first, count }, ..root() };
            assert_finding(&ids.judge(), NAME, Status::Problem, "no block for sandboxes", "65536 for each");
        }
        let contained = Ids { mapped: vec![(0, 65_536)], ..root() };
        assert_finding(&contained.judge(), NAME, Status::Problem, "in a user namespace", "as an ordinary user");
    }

    #[test]
    fn an_ordinary_user_shares_its_id_and_is_told_so() {
        let own = vec![Taken { who: "x".into(), first: 100_000, count: 65_536 }];
        let user = Ids { uid: 1_000, own, has_newuidmap: true, ..root() };
        assert_finding(&user.judge(), NAME, Status::Note, "65536 ids of /etc/subuid and newuidmap", "run it as root");
        let without = Ids { has_newuidmap: false, ..user.clone() };
        assert_finding(&without.judge(), NAME, Status::Note, "without newuidmap", "run it as root");
        assert_finding(&Ids { own: Vec::new(), ..user }.judge(), NAME, Status::Note, "no ids of /etc/subuid", "run it as root");
    }

    #[test]
    fn the_files_of_the_system_are_understood() {
        assert_eq!(people("user", "root:x:0:0:::\nbroken\n+::::\n"), [Taken { who: "user root".into(), first: 0, count: 1 }]);
        let range = Taken { who: "the range of ann in /etc/subuid".into(), first: 100_000, count: 65_536 };
        assert_eq!(ranges("/etc/subuid", "# no\nann:100000:65536\nx:y:z\n"), [("ann".to_owned(), range)]);
        assert_eq!(mapped("         0     100000      65536\n     65536 1 1\n"), [(0, 65_536), (65_536, 1)]);
    }
}
