//! Control groups of sandboxes: what all processes of one may use together. Version 2 where it has
//! the controllers, version 1 otherwise; none where the server may make no groups. Host side only.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::spec::SandboxSpec;

/// What holds a sandbox.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// What only counts, in version 1.
const COUNTER: &str = "cpuacct";
/// Of the processor, within which a quota is given.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// A directory below which groups of sandboxes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parent {
    dir: PathBuf,
    /// Of version 1: the one controller. All of them in version 2.
    controller: Option<&'static str>,
}

/// The groups of one directory of sandboxes.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    parents: Vec<Parent>,
    /// Groups that were still in use when they were to go.
    left: Vec<PathBuf>,
}

/// What the processes of a group use together, as far as it is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) processes: Option<u64>,
    pub(crate) cpu_micros: Option<u64>,
}

/// The group of one sandbox, in each hierarchy.
#[derive(Debug)]
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    pub(crate) meters: Meters,
}

/// What init reads of its group: open files, because no group can be seen from inside.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// How many processes were killed for memory.
    kills: Option<File>,
    /// How many processes and threads there are.
    tasks: Option<File>,
}

impl Meters {
    /// Those of the container that this process is in, as far as it can see them.
    pub(crate) fn of_container() -> Self {
        let first = |names: [&str; 2]| names.iter().find_map(|name| File::open(Path::new("/sys/fs/cgroup").join(name)).ok());
        let kills = first(["memory/memory.oom_control", "memory.events"]);
        Self { kills, tasks: first(["pids/pids.current", "pids.current"]) }
    }

    /// Whether memory is limited by the kernel.
    pub(crate) fn counts_memory(&self) -> bool {
        self.kills.is_some()
    }

    /// How many processes were killed for memory so far.
    pub(crate) fn killed_for_memory(&self) -> u64 {
        self.kills.as_ref().map_or(0, |file| kills(&text(file)))
    }

    /// How many processes and threads there are, where they are counted.
    pub(crate) fn tasks(&self) -> Option<u64> {
        text(self.tasks.as_ref()?).trim().parse().ok()
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.kills, &self.tasks].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }
}

fn text(file: &File) -> String {
    let mut bytes = [0; 512];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

impl Groups {
    /// Finds where groups can be made, and removes what an earlier spawner left empty.
    pub(crate) fn find(sandboxes: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let name = format!("ostler-{:016x}", fingerprint(sandboxes.as_os_str().as_encoded_bytes()));
        let own = own_groups(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let parents = own.into_iter().filter_map(|own| prepared(own, &name)).collect();
        let groups = Self { parents, left: Vec::new() };
        groups.sweep();
        groups
    }

    /// What is limited.
    pub(crate) fn controllers(&self) -> Vec<&'static str> {
        let has = |controller: &&&str| self.parents.iter().any(|parent| parent.controller.is_none_or(|only| only == **controller));
        CONTROLLERS.iter().filter(has).copied().collect()
    }

    /// Makes a group with its limits. No two have one name: in the group of a life that is over, the kernel
    /// may still count who is dying.
    pub(crate) fn make(&mut self, name: &str, spec: &SandboxSpec) -> io::Result<Group> {
        self.remove_left();
        let mut group = Group { dirs: Vec::new(), meters: Meters::default() };
        if spec.lacks("control groups") {
            return Ok(group);
        }
        for parent in &self.parents {
            let dir = parent.dir.join(name);
            if !made(&dir) {
                return Err(io::Error::other(format!("{} cannot be made", dir.display())));
            }
            group.dirs.push(dir.clone());
            let holds = |controller: &str| parent.controller.is_none_or(|only| only == controller);
            let limited = limit(&dir, parent.controller.is_none(), spec, holds).and_then(|()| {
                if holds("memory") {
                    let name = if parent.controller.is_none() { "memory.events" } else { "memory.oom_control" };
                    group.meters.kills = Some(File::open(dir.join(name))?);
                }
                if holds("pids") {
                    group.meters.tasks = Some(File::open(dir.join("pids.current"))?);
                }
                Ok(())
            });
            if let Err(error) = limited {
                self.remove(name);
                return Err(error);
            }
        }
        Ok(group)
    }

    /// Removes a group whose processes are gone.
    pub(crate) fn remove(&mut self, name: &str) {
        if !name.is_empty() {
            self.left.extend(self.parents.iter().map(|parent| parent.dir.join(name)));
        }
        self.remove_left();
    }

    /// What the processes of a group use together.
    pub(crate) fn usage(&self, name: &str) -> Usage {
        let mut usage = Usage::default();
        for parent in self.parents.iter().filter(|_| !name.is_empty()) {
            let number = |file: &str| fs::read_to_string(parent.dir.join(name).join(file)).ok()?.trim().parse::<u64>().ok();
            match parent.controller {
                Some("memory") => usage.memory_bytes = number("memory.usage_in_bytes"),
                Some("pids") => usage.processes = number("pids.current"),
                Some(COUNTER) => usage.cpu_micros = number("cpuacct.usage").map(|nanos| nanos / 1_000),
                Some(_) => {}
                None => {
                    let stat = fs::read_to_string(parent.dir.join(name).join("cpu.stat")).unwrap_or_default();
                    usage.memory_bytes = number("memory.current");
                    usage.processes = number("pids.current");
                    usage.cpu_micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
                }
            }
        }
        usage
    }

    /// How many processes of a group were killed for memory.
    pub(crate) fn killed_for_memory(&self, name: &str) -> u64 {
        let counted = |parent: &Parent| {
            ["memory.oom_control", "memory.events"].iter().find_map(|file| fs::read_to_string(parent.dir.join(name).join(file)).ok())
        };
        self.parents.iter().filter(|_| !name.is_empty()).filter_map(counted).map(|text| kills(&text)).max().unwrap_or(0)
    }

    /// The kernel may need a moment after the last process is gone.
    fn remove_left(&mut self) {
        self.left.retain(|dir| matches!(fs::remove_dir(dir), Err(error) if error.kind() != io::ErrorKind::NotFound));
    }

    fn sweep(&self) {
        for parent in &self.parents {
            for entry in fs::read_dir(&parent.dir).into_iter().flatten().flatten() {
                // Only empty groups can be removed, so those of survivors stay.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Removes everything that is empty.
    pub(crate) fn close(&self) {
        self.sweep();
        for parent in &self.parents {
            // Unless sandboxes live on.
            let _ = fs::remove_dir(&parent.dir);
        }
    }
}

/// Where a process goes in by itself: open files, because no group can be seen from inside. To move another
/// process, the kernel waits until no processor can see any fork any more, which takes longer than all the rest.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    files: Vec<File>,
}

impl Entries {
    /// Puts this process, which has one thread, in; what it forks from then on is in as well.
    pub(crate) fn enter(&self) -> io::Result<()> {
        const ITSELF: &[u8] = b"0";
        self.files.iter().try_for_each(|mut file| file.write_all(ITSELF))
    }
}

impl Group {
    /// The ways in for the process itself. Version 1 only: in version 2 a thread alone cannot go.
    pub(crate) fn entries(&self) -> io::Result<Entries> {
        let open = |dir: &PathBuf| File::options().write(true).open(dir.join("tasks"));
        let files = self.dirs.iter().filter(|dir| dir.join("tasks").exists()).map(open).collect::<io::Result<_>>()?;
        Ok(Entries { files })
    }

    /// Puts a process in where it cannot go by itself.
    pub(crate) fn join(&self, pid: Pid) -> io::Result<()> {
        let others = self.dirs.iter().filter(|dir| !dir.join("tasks").exists());
        others.into_iter().try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }
}

/// Our own group in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    dir: PathBuf,
    controller: Option<&'static str>,
}

/// Our own groups, by `/proc/self/mountinfo` and `/proc/self/cgroup`: those of version 1 that have
/// what we want, and that of version 2, whose controllers are known later.
fn own_groups(mountinfo: &str, cgroup: &str) -> Vec<Own> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        let (Some(root), Some(at)) = (before.next(), before.next()) else { continue };
        let (Some(kind), Some(options)) = (after.next(), after.nth(1)) else { continue };
        // The path of our group as this mount shows it.
        let place = |path: &str| {
            let below = if root == "/" { path } else { path.strip_prefix(root)? };
            Some(Path::new(at).join(below.trim_start_matches('/')))
        };
        let own = |name: &str| {
            let of = |line: &'_ str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|other| other == name));
            cgroup.lines().find(|line| of(line)).and_then(|line| line.splitn(3, ':').nth(2)).and_then(place)
        };
        match kind {
            "cgroup2" => found.extend(own("").map(|dir| Own { dir, controller: None })),
            "cgroup" => {
                let here = CONTROLLERS.into_iter().chain([COUNTER]);
                let here = here.filter(|controller| options.split(',').any(|option| option == *controller));
                found.extend(here.filter_map(|controller| Some(Own { dir: own(controller)?, controller: Some(controller) })));
            }
            _ => {}
        }
    }
    found
}

/// Makes the directory for all sandboxes below our own group, if that can be done.
fn prepared(own: Own, name: &str) -> Option<Parent> {
    if own.controller.is_none() {
        // A group with processes of its own can only hand its controllers on at the top.
        return [own.dir.clone(), top(&own.dir)].into_iter().find_map(|above| unified(&above, name));
    }
    let dir = own.dir.join(name);
    made(&dir).then_some(Parent { dir, controller: own.controller })
}

fn top(dir: &Path) -> PathBuf {
    let is_group = |dir: &&Path| dir.join("cgroup.controllers").exists();
    dir.ancestors().take_while(is_group).last().unwrap_or(dir).to_path_buf()
}

fn unified(above: &Path, name: &str) -> Option<Parent> {
    let offered = fs::read_to_string(above.join("cgroup.controllers")).ok()?;
    if !CONTROLLERS.iter().all(|wanted| offered.split_whitespace().any(|offered| offered == *wanted)) {
        return None;
    }
    let hand_on = |dir: &Path| fs::write(dir.join("cgroup.subtree_control"), "+memory +pids +cpu");
    hand_on(above).ok()?;
    let dir = above.join(name);
    (made(&dir) && hand_on(&dir).is_ok()).then_some(Parent { dir, controller: None })
}

fn made(dir: &Path) -> bool {
    match fs::create_dir(dir) {
        Err(error) => error.kind() == io::ErrorKind::AlreadyExists,
        Ok(()) => true,
    }
}

fn limit(dir: &Path, is_unified: bool, spec: &SandboxSpec, holds: impl Fn(&str) -> bool) -> io::Result<()> {
    // Nothing can be made in there, and trying says no more than that.
    let set = |name: &str, value: String| File::options().write(true).open(dir.join(name))?.write_all(value.as_bytes());
    if holds("memory") {
        let bytes = spec.max_memory_bytes.to_string();
        if is_unified {
            set("memory.max", bytes)?;
            set("memory.swap.max", "0".into()).or_else(absent)?;
        } else {
            set("memory.limit_in_bytes", bytes.clone())?;
            // Memory and swap together; only there where swap is counted.
            set("memory.memsw.limit_in_bytes", bytes).or_else(absent)?;
        }
    }
    if holds("pids") {
        set("pids.max", spec.max_processes.to_string())?;
    }
    if holds("cpu") && spec.max_cpu_percent > 0 {
        let quota = spec.max_cpu_percent.saturating_mul(CPU_PERIOD_MICROS) / 100;
        if is_unified {
            set("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"))?;
        } else {
            set("cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string())?;
            set("cpu.cfs_quota_us", quota.to_string())?;
        }
    }
    Ok(())
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// How many processes of a group were killed for memory, by the text of its file.
fn kills(text: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// FNV-1a: a name for a directory that is the same in every release.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(mountinfo: &str, cgroup: &str) -> Vec<(String, Option<&'static str>)> {
        own_groups(mountinfo, cgroup).into_iter().map(|own| (own.dir.display().to_string(), own.controller)).collect()
    }

    #[test]
    fn our_groups_are_found_in_every_layout() {
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n\
            39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        let groups = "4:memory:/a/b\n8:pids:/\n1:cpu,cpuacct:/c\n0::/\n";
        assert_eq!(
            own(v1, groups),
            [
                ("/sys/fs/cgroup/cpu/c".to_owned(), Some("cpu")),
                ("/sys/fs/cgroup/cpu/c".to_owned(), Some("cpuacct")),
                ("/sys/fs/cgroup/memory/a/b".to_owned(), Some("memory")),
                ("/sys/fs/cgroup/pids/".to_owned(), Some("pids")),
            ]
        );
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(own(v2, "0::/system.slice/ostler.service\n"), [("/sys/fs/cgroup/system.slice/ostler.service".to_owned(), None)]);
        // A container that sees a part of a hierarchy.
        let part = "35 31 0:32 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(own(part, "4:memory:/docker/x/y\n"), [("/sys/fs/cgroup/memory/y".to_owned(), Some("memory"))]);
        assert_eq!(own(part, "4:memory:/elsewhere\n"), []);
        assert_eq!(own("broken\n- -\n", "::\n"), []);
    }

    #[test]
    fn kills_are_read_from_both_versions() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(kills("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(kills(""), 0);
    }

    #[test]
    fn limits_are_written_as_each_version_wants_them() {
        let spec = SandboxSpec { max_memory_bytes: 1 << 30, max_processes: 99, max_cpu_percent: 150, ..SandboxSpec::default() };
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        for name in ["memory.max", "pids.max", "cpu.max", "memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        limit(dir.path(), true, &spec, |_| true).unwrap();
        assert_eq!((read("memory.max"), read("pids.max"), read("cpu.max")), ("1073741824".into(), "99".into(), "150000 100000".into()));
        limit(dir.path(), false, &spec, |_| true).unwrap();
        assert_eq!((read("memory.limit_in_bytes"), read("cpu.cfs_quota_us")), ("1073741824".into(), "150000".into()));
    }
}
