//! Whether the machine has room for one more sandbox. The limits of a sandbox bound it alone; many of them
//! share one memory, one table of processes and one of open files, which nobody else looks after.

use std::path::Path;

use crate::limits;
use crate::spec::SandboxSpec;

/// What the machine has left; what the kernel does not say is no reason to refuse.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    memory_bytes: Option<u64>,
    processes: Option<u64>,
    open_files: Option<u64>,
}

impl Left {
    /// Reads it from a directory like `/proc`.
    fn read(proc: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap_or_default();
        let number = |name: &str| text(name).trim().parse::<u64>().ok();
        let memory = text("meminfo");
        let kib = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        // The fourth word is "running/all", of processes and threads.
        let running = text("loadavg").split_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse::<u64>().ok());
        let most = number("sys/kernel/pid_max").into_iter().chain(number("sys/kernel/threads-max")).min();
        let files = text("sys/fs/file-nr");
        let mut files = files.split_whitespace().map(str::parse::<u64>);
        let (open, _, all) = (files.next(), files.next(), files.next());
        Self {
            memory_bytes: kib.map(|kib| kib << 10),
            processes: most.zip(running).map(|(most, running)| most.saturating_sub(running)),
            open_files: open.zip(all).and_then(|(open, all)| Some(all.ok()?.saturating_sub(open.ok()?))),
        }
    }

    /// Whether this sandbox may start; says what is missing.
    fn admits(&self, spec: &SandboxSpec) -> Result<(), String> {
        let enough = |what: &str, left: Option<u64>, wanted: u64, unit: &str| match left {
            Some(left) if left < wanted => {
                Err(format!("the machine has {left}{unit} of {what} left, and {wanted}{unit} must be there for one more sandbox"))
            }
            _ => Ok(()),
        };
        let memory = self.memory_bytes.map(|bytes| bytes >> 20);
        enough("memory", memory, limits::ROOM_MEMORY >> 20, " MiB")?;
        enough("its processes", self.processes, spec.max_processes.saturating_add(limits::ROOM_PROCESSES), "")?;
        enough("its open files", self.open_files, spec.max_open_files.saturating_add(limits::ROOM_OPEN_FILES), "")
    }
}

/// Whether the machine has room for such a sandbox; says what it lacks.
pub(super) fn for_one_more(spec: &SandboxSpec) -> Result<(), String> {
    Left::read(Path::new("/proc")).admits(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proc(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_left_is_what_the_kernel_says() {
        let dir = proc(&[
            ("meminfo", "MemTotal:       24000000 kB\nMemAvailable:   1048576 kB\n"),
            ("loadavg", "0.10 0.20 0.30 2/345 6789\n"),
            ("sys/kernel/pid_max", "32768\n"),
            ("sys/kernel/threads-max", "190000\n"),
            ("sys/fs/file-nr", "1000\t0\t9000\n"),
        ]);
        let left = Left::read(dir.path());
        assert_eq!(left, Left { memory_bytes: Some(1 << 30), processes: Some(32_423), open_files: Some(8_000) });
        assert_eq!(Left::read(Path::new("/nowhere")), Left::default());
        let real = Left::read(Path::new("/proc"));
        assert!(real.memory_bytes.is_some() && real.processes.is_some() && real.open_files.is_some(), "{real:?}");
    }

    #[test]
    fn one_that_would_take_the_last_is_not_admitted() {
        let spec = SandboxSpec::default();
        let plenty = || Left { memory_bytes: Some(1 << 40), processes: Some(1 << 20), open_files: Some(1 << 20) };
        assert_eq!(plenty().admits(&spec), Ok(()));
        assert_eq!(Left::default().admits(&spec), Ok(()));
        let refused = |left: Left| left.admits(&spec).unwrap_err();
        assert!(refused(Left { memory_bytes: Some(100 << 20), ..plenty() }).contains("100 MiB of memory"));
        assert!(refused(Left { processes: Some(spec.max_processes), ..plenty() }).contains("processes"));
        assert!(refused(Left { open_files: Some(spec.max_open_files), ..plenty() }).contains("open files"));
    }
}
