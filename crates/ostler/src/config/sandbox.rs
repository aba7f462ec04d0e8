//! The settings of sandboxes: what each has, what environments may ask, how they are kept.

use std::time::Duration;

use ostler_core::resources::sandbox::SandboxSettings;
use ostler_runtime::limits;
use ostler_runtime::policy::SandboxPolicy;
use ostler_sandbox::{IsolationFloor, OciConfig, SandboxSpec, UidBlock, Wishes};

use super::file;
use super::shown::Origins;

/// 32,767 sandboxes of 65,536 ids, living or parked, far above what systems give to people and services.
pub(super) const DEFAULT_UIDS: UidBlock = ostler_sandbox::DEFAULT_UIDS;
/// Sandboxes that are ready for sessions to come.
const DEFAULT_SPARES: u32 = 2;
/// Less would end what runs in it before it has done anything.
const LEAST_MEMORY_MIB: u64 = 64;
const LEAST_DISK_MIB: u64 = 16;
const LEAST_FILES: u64 = 64;
/// A server says every minute what it needs.
const LEAST_ORPHAN: Duration = Duration::from_secs(180);

/// What was set.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) uids: UidBlock,
    pub(crate) policy: SandboxPolicy,
    /// How long one without work lives on; `None`: as long as its session.
    pub(crate) idle: Option<Duration>,
    pub(crate) spares: u32,
    pub(crate) orphan_ttl: Duration,
    /// A container engine, if one is to be used.
    pub(crate) oci: Option<OciConfig>,
}

impl Sandbox {
    /// What the spawner is to do.
    pub(crate) fn wishes(&self) -> Wishes {
        // A container engine starts its own.
        let spares = if self.oci.as_ref().is_some_and(|oci| oci.for_all) { 0 } else { self.spares };
        Wishes { orphan_ttl: self.orphan_ttl, spares, spec: self.policy.usual.clone() }
    }
}

/// Reads them.
pub(super) fn read(file: &file::Sandbox, origins: &mut Origins) -> anyhow::Result<Sandbox> {
    let uids = UidBlock { first: file.uid_first.unwrap_or(DEFAULT_UIDS.first), count: file.uid_count.unwrap_or(DEFAULT_UIDS.count) };
    origins.note("sandbox.uid_first", &uids.first, None, file.uid_first.is_some());
    origins.note("sandbox.uid_count", &uids.count, None, file.uid_count.is_some());
    let usual = usual(file, origins)?;
    let most = most(&file.most, &usual, origins)?;
    let idle = file.idle_seconds.unwrap_or(limits::SANDBOX_IDLE.as_secs());
    origins.note("sandbox.idle_seconds", &idle, None, file.idle_seconds.is_some());
    let spares = file.spares.unwrap_or(DEFAULT_SPARES);
    anyhow::ensure!(
        usize::try_from(spares).is_ok_and(|spares| spares <= ostler_sandbox::limits::SPARES),
        "[sandbox] spares must be at most {}",
        ostler_sandbox::limits::SPARES
    );
    origins.note("sandbox.spares", &spares, None, file.spares.is_some());
    let orphan_ttl = file.orphan_seconds.map_or(limits::ORPHAN_TTL, Duration::from_secs);
    anyhow::ensure!(orphan_ttl >= LEAST_ORPHAN, "[sandbox] orphan_seconds must be at least {}", LEAST_ORPHAN.as_secs());
    origins.note("sandbox.orphan_seconds", &orphan_ttl.as_secs(), None, file.orphan_seconds.is_some());
    let oci = oci(&file.oci, origins)?;
    let idle = (idle > 0).then(|| Duration::from_secs(idle));
    Ok(Sandbox { uids, policy: SandboxPolicy { usual, most, ..SandboxPolicy::default() }, idle, spares, orphan_ttl, oci })
}

fn oci(file: &file::Oci, origins: &mut Origins) -> anyhow::Result<Option<OciConfig>> {
    let Some(socket) = file.socket.clone() else {
        let others = file.runtime.is_some() || file.isolation.is_some() || file.for_all.is_some();
        anyhow::ensure!(!others, "[sandbox.oci] needs the socket of a container engine, such as socket = \"/var/run/docker.sock\"");
        return Ok(None);
    };
    origins.note("sandbox.oci.socket", &socket.display(), None, true);
    origins.note("sandbox.oci.runtime", &file.runtime.as_deref().unwrap_or("(the engine's)"), None, file.runtime.is_some());
    let isolation = file.isolation.unwrap_or(IsolationFloor::OwnIds);
    let shown = serde_json::to_value(isolation)?;
    origins.note("sandbox.oci.isolation", &shown.as_str().unwrap_or_default(), None, file.isolation.is_some());
    let for_all = file.for_all.unwrap_or(false);
    origins.note("sandbox.oci.for_all", &for_all, None, file.for_all.is_some());
    Ok(Some(OciConfig { socket, runtime: file.runtime.clone(), isolation, for_all }))
}

fn usual(file: &file::Sandbox, origins: &mut Origins) -> anyhow::Result<SandboxSpec> {
    let mut spec = SandboxSpec::default();
    for (name, said, least, of_spec, unit) in [
        ("memory_mib", file.memory_mib, LEAST_MEMORY_MIB, &mut spec.max_memory_bytes, 1 << 20),
        ("processes", file.processes, ostler_sandbox::limits::LEAST_PROCESSES, &mut spec.max_processes, 1),
        ("cpu_percent", file.cpu_percent, 0, &mut spec.max_cpu_percent, 1),
        ("disk_mib", file.disk_mib, LEAST_DISK_MIB, &mut spec.disk_bytes, 1 << 20),
        ("files", file.files, LEAST_FILES, &mut spec.disk_inodes, 1),
    ] {
        if let Some(said) = said {
            anyhow::ensure!(said >= least && said <= u64::from(u32::MAX), "[sandbox] {name} must be at least {least}");
            *of_spec = said * unit;
        }
        origins.note(&format!("sandbox.{name}"), &(*of_spec / unit), None, said.is_some());
    }
    spec.max_file_bytes = spec.max_file_bytes.max(spec.disk_bytes);
    spec.required.isolation = file.isolation.unwrap_or_default();
    let isolation = serde_json::to_value(spec.required.isolation)?;
    origins.note("sandbox.isolation", &isolation.as_str().unwrap_or_default(), None, file.isolation.is_some());
    spec.required.hard_limits = file.hard_limits.unwrap_or_default();
    origins.note("sandbox.hard_limits", &spec.required.hard_limits, None, file.hard_limits.is_some());
    Ok(spec)
}

/// What is not said is enough for most work, and no less than what is usual.
fn most(file: &file::Most, usual: &SandboxSpec, origins: &mut Origins) -> anyhow::Result<SandboxSettings> {
    const MIB: u64 = 1 << 20;
    let or = |said: Option<u64>, enough: u64, usual: u64| said.or(Some(enough.max(usual)));
    let most = SandboxSettings {
        memory_mib: or(file.memory_mib, 8_192, usual.max_memory_bytes / MIB),
        processes: or(file.processes, 4_096, usual.max_processes),
        // Without a limit of its own, an environment may ask for all there is.
        cpu_percent: file.cpu_percent.or(Some(usual.max_cpu_percent).filter(|percent| *percent > 0)),
        disk_mib: or(file.disk_mib, 32_768, usual.disk_bytes / MIB),
        files: or(file.files, 2_097_152, usual.disk_inodes),
        open_files: or(file.open_files, 16_384, usual.max_open_files),
        output_kib: or(file.output_kib, 262_144, usual.max_output_bytes >> 10),
        command_seconds: file.command_seconds,
        life_seconds: file.life_seconds,
        ..SandboxSettings::default()
    };
    let said = [
        file.memory_mib,
        file.processes,
        file.cpu_percent,
        file.disk_mib,
        file.files,
        file.open_files,
        file.output_kib,
        file.command_seconds,
        file.life_seconds,
    ];
    for ((name, value, least), said) in most.numbers().into_iter().zip(said) {
        anyhow::ensure!(value.is_none_or(|value| value >= least), "[sandbox.most] {name} must be at least {least}");
        let shown = value.map_or_else(|| "no limit".to_owned(), |value| value.to_string());
        origins.note(&format!("sandbox.most.{name}"), &shown, None, said.is_some());
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_the_units_that_people_use() {
        let of = |text: &str| read(&toml::from_str(text).unwrap(), &mut Origins::new(None));
        let set = of("memory_mib = 512\nprocesses = 100\ncpu_percent = 150\ndisk_mib = 9000\n[most]\nmemory_mib = 600").unwrap();
        let spec = &set.policy.usual;
        assert_eq!((spec.max_memory_bytes, spec.max_processes, spec.max_cpu_percent), (512 << 20, 100, 150));
        assert_eq!((spec.disk_bytes, spec.max_file_bytes, set.policy.most.memory_mib), (9_000 << 20, 9_000 << 20, Some(600)));
        assert_eq!(of("").unwrap().policy.usual, SandboxSpec::default());
        let idle = |text: &str| of(text).unwrap().idle;
        assert_eq!(
            (idle("idle_seconds = 5"), idle("idle_seconds = 0"), idle("")),
            (Some(Duration::from_secs(5)), None, Some(limits::SANDBOX_IDLE))
        );
        let wrong = |text: &str| of(text).unwrap_err().to_string();
        assert!(wrong("memory_mib = 1").contains("at least 64"));
        assert!(wrong("spares = 1000").contains("at most"));
        assert!(wrong("orphan_seconds = 1").contains("at least 180"));
        assert!(wrong("[most]\nfiles = 1").contains("[sandbox.most] files"));
    }
}
