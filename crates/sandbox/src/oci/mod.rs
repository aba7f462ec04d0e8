//! The backend `oci`: sandboxes as containers of a Docker-compatible engine, under the runtime that is set. The
//! same init, protocol and directories as everywhere; the system is the host's or an image's, mounted read-only
//! into an otherwise empty container. Needs the engine on this machine, and root.

mod container;
pub(crate) mod entry;
mod program;
mod skeleton;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
};
use futures::StreamExt as _;
use ostler_core::ids::{IncarnationId, SessionId};

use crate::disk::{self, Staged};
use crate::error::SandboxError;
use crate::layout::{self, SHARED};
use crate::limits;
use crate::protocol::spawner::Listed;
use crate::spawner::furnish;
use crate::spec::{OciConfig, SandboxSpec, SpawnerCommand};
use container::Place;

const LABEL_INSTALL: &str = "ostler.install";
const LABEL_SANDBOX: &str = "ostler.sandbox";
const LABEL_INCARNATION: &str = "ostler.incarnation";
const ENGINE_SECONDS: u64 = 60;
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// Containers of one engine that belong to one directory of sandboxes.
#[derive(Debug)]
pub(crate) struct Oci {
    docker: Docker,
    pub(crate) config: OciConfig,
    dir: PathBuf,
    /// Which directory; containers of others are not ours.
    install: String,
    /// The files that init is started from.
    program: PathBuf,
    command: Vec<String>,
}

fn engine(error: &Error) -> SandboxError {
    SandboxError::Isolation {
        layer: "container engine".into(),
        reason: error.to_string(),
        remedy: "see the log of the engine; sandbox.oci.socket and sandbox.oci.runtime say which one is used".into(),
    }
}

fn has_status(error: &Error, status: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == status)
}

impl Oci {
    /// Finds the engine, and puts down what init is started from.
    pub(crate) async fn connect(dir: &Path, config: OciConfig, spawner: &SpawnerCommand) -> Result<Self, SandboxError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(SandboxError::Isolation {
                layer: "ids".into(),
                reason: "the server is an ordinary user, who cannot give a container ids of its own".into(),
                remedy: "run the server as root to use the backend oci".into(),
            });
        }
        let socket = config.socket.display().to_string();
        let docker = Docker::connect_with_unix(&socket, ENGINE_SECONDS, bollard::API_DEFAULT_VERSION).map_err(|error| engine(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| engine(&error))?;
        let program = program::install(dir, &spawner.program)
            .map_err(|source| SandboxError::Directory { path: dir.display().to_string(), source })?;
        let install = format!("{:016x}", crate::cgroup::fingerprint(dir.as_os_str().as_encoded_bytes()));
        let command = program::command(&spawner.args);
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let stage = entry.path().join(layout::STAGE);
            if stage.exists() {
                disk::unstage(&stage);
            }
        }
        Ok(Self { docker, config, dir: dir.to_path_buf(), install, program, command })
    }

    fn name(&self, id: &SessionId) -> String {
        format!("ostler-{}-{id}", self.install)
    }

    /// Starts the container of a sandbox whose directory is ready; returns when its init listens.
    pub(crate) async fn create(
        &self,
        directory: &Path,
        image: Option<&Path>,
        id: &SessionId,
        incarnation: &IncarnationId,
        first_id: u32,
        spec: &SandboxSpec,
    ) -> Result<Vec<String>, SandboxError> {
        let uid = first_id + crate::layout::AGENT_ID;
        let refused = |source: std::io::Error| SandboxError::Directory { path: directory.display().to_string(), source };
        // Mounted where the engine sees it until the container has what is on it.
        let staged = self.staged(directory, spec)?;
        let files = staged.as_ref().map_or(directory, Staged::path);
        furnish(files, &SHARED.map(|shared| shared.name), Some(uid)).map_err(refused)?;
        let place = Place { directory, files, image, program: &self.program, uid };
        entry::prepare(directory, incarnation, uid, spec, staged.is_none()).map_err(refused)?;
        let system = place.system().map_err(refused)?;
        let skeleton = skeleton::ensure(&self.docker, &system).await.map_err(|error| engine(&error))?;
        let labels = HashMap::from([
            (LABEL_INSTALL.to_owned(), self.install.clone()),
            (LABEL_SANDBOX.to_owned(), id.to_string()),
            (LABEL_INCARNATION.to_owned(), incarnation.to_string()),
        ]);
        let body =
            container::body(&place, &system, spec, skeleton, self.command.clone(), self.config.runtime.clone(), labels).map_err(refused)?;
        let name = self.name(id);
        let options = CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        let started = async {
            self.docker.create_container(Some(options), body).await.map_err(|error| engine(&error))?;
            self.docker.start_container(&name, None).await.map_err(|error| engine(&error))?;
            self.listens(directory, &name).await
        };
        let started = started.await;
        if started.is_err() {
            self.kill(id).await?;
        }
        started?;
        let runtime = self.config.runtime.as_deref().unwrap_or("the engine's runtime");
        let disk = if staged.is_some() { "disk limit" } else { "watched disk" };
        let layers = [&format!("container ({runtime})"), "capabilities", "landlock", "seccomp", disk, "control groups (memory, pids, cpu)"];
        Ok(layers.map(str::to_owned).into())
    }

    /// Its disk, if it can have one. A sandbox whose files lie in plain directories keeps them there.
    fn staged(&self, directory: &Path, spec: &SandboxSpec) -> Result<Option<Staged>, SandboxError> {
        let is_plain = directory.join(SHARED[0].name).exists();
        if spec.disk_bytes == 0 || (is_plain && !disk::exists(directory)) {
            return Ok(None);
        }
        match disk::open(&self.dir, directory, &directory.join(layout::STAGE), spec) {
            Ok(staged) => Ok(Some(staged)),
            Err(error) if spec.required.hard_limits || disk::exists(directory) || !disk::is_impossible(&error) => {
                Err(SandboxError::Isolation {
                    layer: "disk limit".into(),
                    reason: error.to_string(),
                    remedy: "let the server use loop devices, and install mkfs.ext4".into(),
                })
            }
            Err(_) => Ok(None),
        }
    }

    /// Waits until init can be connected to, or the container ends.
    async fn listens(&self, directory: &Path, name: &str) -> Result<(), SandboxError> {
        let deadline = tokio::time::Instant::now() + limits::CONTAINER_START;
        let mut looks = 0_u32;
        loop {
            if crate::server::listens(directory).await {
                return Ok(());
            }
            looks += 1;
            if looks.is_multiple_of(limits::CONTAINER_LOOKS) {
                let state = self.docker.inspect_container(name, None).await.map_err(|error| engine(&error))?.state.unwrap_or_default();
                if !state.running.unwrap_or(false) {
                    return Err(self.fell_over(name).await);
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(self.fell_over(name).await);
            }
            tokio::time::sleep(limits::CONTAINER_LOOK).await;
        }
    }

    /// What init said before it ended.
    async fn fell_over(&self, name: &str) -> SandboxError {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail("20").build();
        let lines = self.docker.logs(name, Some(options)).filter_map(|line| async { line.ok().map(|line| line.to_string()) });
        let said: Vec<String> = lines.collect().await;
        SandboxError::Isolation {
            layer: "container".into(),
            reason: format!("its init did not start: {}", said.concat().trim()),
            remedy: "check that the runtime can run containers with read-only mounts of this machine, and unix sockets in them (gVisor: --host-uds=all)".into(),
        }
    }

    /// Ends a container, whatever it does about it; nothing of it is left when this returns.
    pub(crate) async fn kill(&self, id: &SessionId) -> Result<bool, SandboxError> {
        let name = self.name(id);
        let mut was_there = false;
        for _ in 0..limits::CONTAINER_KILLS {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match self.docker.remove_container(&name, Some(options)).await {
                Err(error) if has_status(&error, NOT_FOUND) => return Ok(was_there),
                // Somebody else is removing it.
                Err(error) if has_status(&error, CONFLICT) => tokio::time::sleep(limits::CONTAINER_LOOK).await,
                Err(error) => return Err(engine(&error)),
                Ok(()) => {}
            }
            was_there = true;
        }
        Err(SandboxError::Isolation {
            layer: "container".into(),
            reason: format!("{name} is not gone"),
            remedy: "see the log of the container engine".into(),
        })
    }

    /// The containers of ours that run.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, SandboxError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL_INSTALL}={}", self.install)])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await.map_err(|error| engine(&error))?;
        let mut listed = Vec::new();
        for container in found {
            if let Some(one) = self.listed(&container).await {
                listed.push(one);
            }
        }
        Ok(listed)
    }

    async fn listed(&self, container: &ContainerSummary) -> Option<Listed> {
        let labels = container.labels.as_ref()?;
        let (sandbox_id, incarnation) = (labels.get(LABEL_SANDBOX)?.parse().ok()?, labels.get(LABEL_INCARNATION)?.parse().ok()?);
        let born = Duration::from_secs(u64::try_from(container.created?).ok()?);
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().ok()?.saturating_sub(born);
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats =
            self.docker.stats(container.id.as_deref()?, Some(options)).boxed().next().await.and_then(Result::ok).unwrap_or_default();
        Some(Listed {
            sandbox_id,
            incarnation,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            memory_bytes: stats.memory_stats.and_then(|memory| memory.usage),
            processes: stats.pids_stats.and_then(|pids| pids.current),
            cpu_ms: stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).map(|nanos| nanos / 1_000_000),
        })
    }
}
