//! What a container is: what is mounted into it, what it may use, and all that it may not.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountBindOptions, MountType, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};

use super::{entry, program};
use crate::confine::etc;
use crate::layout::{self, SHARED};
use crate::limits;
use crate::spec::SandboxSpec;

/// What one container is made from.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) directory: &'a Path,
    /// Where the session's files are.
    pub(super) files: &'a Path,
    pub(super) image: Option<&'a Path>,
    pub(super) program: &'a Path,
    pub(super) uid: u32,
}

/// The system of a container.
#[derive(Debug, Default)]
pub(super) struct System {
    /// What is mounted read-only, and where, relative to the root.
    pub(super) directories: Vec<(PathBuf, String)>,
    /// Links in the root.
    pub(super) links: Vec<(String, PathBuf)>,
}

/// What is our own whatever the system says.
const OWN: [&str; 11] = ["dev", "proc", "sys", "tmp", "run", "home", "mnt", "workspace", "etc", "root", "lost+found"];
/// Of the host's root, what is mounted or linked.
const OF_THE_HOST: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];

impl Place<'_> {
    /// The system: the image's root, or what sandboxes have of the host's.
    pub(super) fn system(&self) -> io::Result<System> {
        let mut system = System::default();
        let root = self.image.unwrap_or(Path::new("/"));
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_wanted = if self.image.is_some() { !OWN.contains(&name.as_str()) } else { OF_THE_HOST.contains(&name.as_str()) };
            if !is_wanted || (self.image.is_none() && name == "opt") {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                system.links.push((name, fs::read_link(entry.path())?));
            } else if kind.is_dir() {
                system.directories.push((entry.path(), name));
            }
        }
        match self.image {
            Some(image) => system.directories.extend(etc_of(image)?.map(|etc| (etc, "etc".into()))),
            None => {
                for name in etc::of_the_host()? {
                    let source = Path::new("/etc").join(&name);
                    if let Ok(real) = fs::canonicalize(source) {
                        system.directories.push((real, format!("etc/{name}")));
                    }
                }
            }
        }
        system.directories.sort();
        system.links.sort();
        Ok(system)
    }
}

/// The `/etc` of an image, if it has one. What runs before anybody is confined must not be of its choosing, and
/// a link would be followed on the host.
fn etc_of(image: &Path) -> io::Result<Option<PathBuf>> {
    let etc = image.join("etc");
    match fs::symlink_metadata(&etc) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(io::Error::other("the image's /etc is no directory")),
        Err(_) => return Ok(None),
    }
    if fs::symlink_metadata(etc.join("ld.so.preload")).is_ok() {
        return Err(io::Error::other("the image has /etc/ld.so.preload, which would run before the sandbox is confined; import it again"));
    }
    Ok(Some(etc))
}

/// Writes a file that the workload is to read, whatever is in its place.
fn rewrite(path: &Path, text: &str) -> io::Result<()> {
    const READABLE_INSIDE: u32 = 0o644;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(READABLE_INSIDE).open(path)?.write_all(text.as_bytes())
}

fn mount(source: &Path, target: &str, writable: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(!writable),
        ..Mount::default()
    }
}

fn number(number: u64) -> Option<i64> {
    Some(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The container, as the engine is told.
pub(super) fn body(
    place: &Place<'_>,
    system: &System,
    spec: &SandboxSpec,
    image: String,
    command: Vec<String>,
    runtime: Option<String>,
    labels: HashMap<String, String>,
) -> io::Result<ContainerCreateBody> {
    let mut mounts: Vec<Mount> = system.directories.iter().map(|(source, target)| mount(source, &format!("/{target}"), false)).collect();
    for (name, text) in etc::own(place.uid) {
        let file = place.directory.join(entry::own_file(name));
        rewrite(&file, &text)?;
        mounts.push(mount(&file, &format!("/etc/{name}"), false));
    }
    for shared in &SHARED {
        mounts.push(mount(&place.files.join(shared.name), &format!("/{}", shared.target), shared.writable));
    }
    // Without the disk, which is mounted below it just now.
    let alone = MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() };
    mounts.push(Mount { bind_options: Some(alone), ..mount(place.directory, entry::CONTROL, true) });
    for name in entry::HELD {
        mounts.push(mount(&place.files.join(name), &format!("{}/{name}", entry::HELD_AT), true));
    }
    mounts.push(mount(place.program, program::INSIDE, false));
    let (tmp, shm) = spec.scratch_bytes();
    let limit = |name: &str, most: u64| ResourcesUlimits { name: Some(name.into()), soft: number(most), hard: number(most) };
    let cpus = if spec.max_cpu_percent == 0 { None } else { number(spec.max_cpu_percent.saturating_mul(10_000_000)) };
    let host = HostConfig {
        mounts: Some(mounts),
        runtime,
        network_mode: Some("none".into()),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".into()]),
        // For the first steps of init, which becomes somebody else with none.
        cap_add: Some(vec!["SETUID".into(), "SETGID".into(), "SETPCAP".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        ipc_mode: Some("private".into()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        pids_limit: number(spec.max_processes.max(limits::LEAST_PROCESSES)),
        memory: number(spec.max_memory_bytes),
        memory_swap: number(spec.max_memory_bytes),
        nano_cpus: cpus,
        oom_score_adj: Some(limits::OOM_SCORE.into()),
        shm_size: number(shm),
        tmpfs: Some(HashMap::from([
            ("/tmp".to_owned(), format!("rw,nosuid,nodev,exec,size={tmp},nr_inodes={},mode=1777", spec.tmp_inodes)),
            (
                format!("/{}", layout::SHELL_SCRATCH),
                format!("rw,nosuid,nodev,size={},nr_inodes={},mode=1777", limits::SHELL_SCRATCH_BYTES, limits::SHELL_SCRATCH_FILES),
            ),
        ])),
        ulimits: Some(vec![limit("nofile", spec.max_open_files.max(limits::LEAST_OPEN_FILES)), limit("core", 0)]),
        init: Some(false),
        privileged: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([("max-size".to_owned(), "64k".to_owned()), ("max-file".to_owned(), "1".to_owned())])),
        }),
        // A container that is started again is another life, which only the server begins.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        ..HostConfig::default()
    };
    Ok(ContainerCreateBody {
        image: Some(image),
        hostname: Some("sandbox".into()),
        user: Some("0:0".into()),
        working_dir: Some("/".into()),
        entrypoint: Some(command),
        env: Some(Vec::new()),
        labels: Some(labels),
        network_disabled: Some(true),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    })
}
