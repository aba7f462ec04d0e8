//! A fresh `/proc` of the sandbox's own processes, without what tells of the host's kernel.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount as mount_at};

use super::mounts;
use crate::spec::SandboxSpec;
use crate::sys;

/// Files that read as empty.
const MASKED_FILES: [&str; 11] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "slabinfo",
    "sysrq-trigger",
    "kallsyms",
    "latency_stats",
];
/// More of them, on some kernels.
const MASKED_FILES_MORE: [&str; 5] = ["sched_debug", "kmsg", "config.gz", "vmallocinfo", "iomem"];
/// Directories that are empty.
const MASKED_DIRECTORIES: [&str; 4] = ["acpi", "asound", "scsi", "firmware"];
/// What can be read and not written, whoever asks.
const READ_ONLY: [&str; 5] = ["sys", "irq", "bus", "fs", "mtrr"];

const PAGE: u64 = 4_096;

pub(super) fn mount(spec: &SandboxSpec) -> io::Result<()> {
    mounts::directory("proc")?;
    if spec.lacks("pid namespace") {
        return mounts::bind("/proc", "proc", 0);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_at(Some("proc"), "proc", Some("proc"), flags, None::<&str>)?;
    // Of the segments of System V, which outlive who made them. Where it cannot be set, the memory limit holds.
    let _ = std::fs::write("proc/sys/kernel/shmall", (spec.scratch_bytes().1 / PAGE).to_string());
    if spec.lacks("masks") {
        return Ok(());
    }
    for name in MASKED_FILES.iter().chain(&MASKED_FILES_MORE) {
        let path = format!("proc/{name}");
        if Path::new(&path).exists() {
            mounts::bind("/dev/null", &path, sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC)?;
        }
    }
    for name in MASKED_DIRECTORIES {
        let path = format!("proc/{name}");
        if Path::new(&path).is_dir() {
            mount_at(Some("tmpfs"), path.as_str(), Some("tmpfs"), flags | MsFlags::MS_RDONLY, Some("size=4k,nr_inodes=2,mode=555"))?;
        }
    }
    for name in READ_ONLY {
        let path = format!("proc/{name}");
        if Path::new(&path).exists() {
            mounts::bind(&path, &path, sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV | sys::MOUNT_NOEXEC)?;
        }
    }
    Ok(())
}
