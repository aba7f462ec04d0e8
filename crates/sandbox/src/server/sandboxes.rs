//! The handle by which the server starts, finds and ends sandboxes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ostler_core::hex::hex;
use ostler_core::ids::{IncarnationId, SessionId};

use tokio::sync::{Mutex, OnceCell};

use super::connection::Connection;
use super::link::{self, Address};
use super::room;
use super::spawner::Spawner;
use crate::confine::PACKAGES;
use crate::error::{AttachError, SandboxError};
use crate::oci::Oci;
use crate::protocol::spawner::{Answer, Listed, Request};
use crate::spec::{IdMapping, Isolation, IsolationFloor, SandboxSpec, SandboxesConfig, Wishes};
use crate::{erase, layout, sys};

/// The sandboxes of one directory.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    dir: PathBuf,
    epoch: u64,
    spawner: Arc<Spawner>,
    /// Whether images are what was imported, by name and digest.
    images: Images,
    oci: Option<Arc<Oci>>,
    /// Whether layers of packages are what was built, by key.
    layers: Layers,
}

/// Certificates that sandboxes with doors trust, in the forms in which programs read them.
#[derive(Debug, Clone, Copy)]
pub struct Trusted<'a> {
    /// As most programs do.
    pub pem: &'a str,
    /// As those in Java do: a key store of type JKS.
    pub java: &'a [u8],
}

/// What is found out about each layer of packages once.
type Layers = Arc<Mutex<HashMap<String, Arc<OnceCell<Result<(), String>>>>>>;

/// What is found out about each image once.
type Images = Arc<Mutex<HashMap<(String, String), Arc<OnceCell<Result<(), String>>>>>>;

/// Before the names of sandboxes that are only tried.
const PROBE: &str = "sesn_probe-";

fn unexpected(answer: &Answer) -> SandboxError {
    SandboxError::Protocol { peer: "sandbox spawner", reason: format!("it answered out of order: {answer:?}") }
}

impl Sandboxes {
    /// Finds the living spawner or starts one.
    pub async fn start(config: SandboxesConfig) -> Result<Self, SandboxError> {
        let directory = |source| SandboxError::Directory { path: config.dir.display().to_string(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.dir).map_err(directory)?;
        let dir = std::fs::canonicalize(&config.dir).map_err(directory)?;
        std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).map_err(directory)?;
        let oci = match config.oci {
            Some(oci) => Some(Arc::new(Oci::connect(&dir, oci, &config.spawner).await?)),
            None => None,
        };
        let spawner = Arc::new(Spawner::new(dir.clone(), config.spawner, config.uid_block));
        let sandboxes = Self { dir, epoch: config.epoch, spawner, images: Arc::default(), oci, layers: Arc::default() };
        sandboxes.list().await?;
        Ok(sandboxes)
    }

    /// Starts one throw-away sandbox and removes it; says which isolation it had. The error says
    /// which layer cannot be had, and what to do.
    pub async fn probe(&self) -> Result<Isolation, SandboxError> {
        let name = hex(sys::random::<8>().map_err(SandboxError::Delete)?);
        let parse = |_| SandboxError::Protocol { peer: "sandbox spawner", reason: "a probe has no name".into() };
        let id: SessionId = format!("{PROBE}{name}").parse().map_err(parse)?;
        let incarnation: IncarnationId = format!("inc_{name}").parse().map_err(parse)?;
        let born = self.bear(&id, &incarnation, &SandboxSpec::default()).await;
        let reached = match &born {
            Ok(_) => link::open(&self.address(&id, &incarnation)).await.map(drop),
            Err(_) => Ok(()),
        };
        self.remove(&id).await?;
        let (ids, layers) = born?;
        reached.map_err(|error| match error {
            AttachError::Gone => SandboxError::Protocol { peer: "init of a sandbox", reason: "it ended right after its start".into() },
            AttachError::Other(error) => error,
        })?;
        let backend = if self.engine_for(&SandboxSpec::default()).is_some() { "oci" } else { "namespace" };
        Ok(Isolation { backend, ids, layers })
    }

    pub(super) fn base(&self) -> &Path {
        &self.dir
    }

    pub(super) fn known_images(&self) -> &Images {
        &self.images
    }

    pub(super) fn known_layers(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn directory(&self, id: &SessionId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    fn address(&self, id: &SessionId, incarnation: &IncarnationId) -> Address {
        Address { dir: self.directory(id), incarnation: incarnation.clone(), epoch: self.epoch }
    }

    async fn bear(
        &self,
        id: &SessionId,
        incarnation: &IncarnationId,
        spec: &SandboxSpec,
    ) -> Result<(IdMapping, Vec<String>), SandboxError> {
        if let Some(oci) = self.engine_for(spec) {
            return Ok((IdMapping::OwnRange, self.bear_in_container(oci, id, incarnation, spec).await?));
        }
        if let Some(oci) = &self.oci {
            oci.kill(id).await?;
        }
        let request = Request::Create { sandbox_id: id.clone(), incarnation: incarnation.clone(), spec: spec.clone() };
        match self.spawner.ask(&request).await? {
            // A spawner of an older release knows no packages and leaves them out.
            Answer::Created { layers, .. }
                if (spec.packages.is_some() || spec.build.is_some()) && !layers.iter().any(|layer| layer == PACKAGES) =>
            {
                self.stop(id).await?;
                Err(SandboxError::Isolation {
                    layer: PACKAGES.into(),
                    reason: "the living spawner is of an older release and knows no packages".into(),
                    remedy: "end its sandboxes, then start the server again".into(),
                })
            }
            Answer::Created { ids, layers, .. } => Ok((ids, layers)),
            other => Err(unexpected(&other)),
        }
    }

    /// The engine whose containers are as isolated as is asked, if it is to have this sandbox.
    fn engine_for(&self, spec: &SandboxSpec) -> Option<&Oci> {
        let asks_for_more = spec.required.isolation > IsolationFloor::OwnIds;
        self.oci.as_deref().filter(|oci| oci.config.for_all || (asks_for_more && oci.config.isolation >= spec.required.isolation))
    }

    async fn bear_in_container(
        &self,
        oci: &Oci,
        id: &SessionId,
        incarnation: &IncarnationId,
        spec: &SandboxSpec,
    ) -> Result<Vec<String>, SandboxError> {
        let refused = |layer: &str, reason: &str, remedy: &str| SandboxError::Isolation {
            layer: layer.into(),
            reason: reason.into(),
            remedy: remedy.into(),
        };
        if oci.config.isolation < spec.required.isolation {
            return Err(refused(
                "kernel",
                "the container engine's runtime isolates less than is asked",
                "set sandbox.oci.runtime to one that has a kernel of its own, or ask for less",
            ));
        }
        if spec.packages.is_some() || spec.build.is_some() {
            return Err(refused(
                PACKAGES,
                "containers cannot have packages",
                "use an image that has them, or sandboxes without a container engine",
            ));
        }
        self.stop(id).await?;
        let first_id = match self.spawner.ask(&Request::Prepare { sandbox_id: id.clone() }).await? {
            Answer::Prepared { first_id, .. } => first_id,
            other => return Err(unexpected(&other)),
        };
        let image = spec.image.as_ref().map(|name| self.dir.join(layout::IMAGES).join(name).join(layout::IMAGE_FILES));
        if image.as_ref().is_some_and(|image| !image.is_dir()) {
            return Err(refused("image", "there is none of that name", "import it with `ostler images import`"));
        }
        oci.create(&self.directory(id), image.as_deref(), id, incarnation, first_id, spec).await
    }

    /// Says which certificates sandboxes with doors trust from their next start on. Returns whether they are others than
    /// before: then those that wait for their session may trust the former ones.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn trust(&self, trusted: &Trusted<'_>) -> Result<bool, SandboxError> {
        let directory = self.dir.join(layout::TRUST);
        let write = || {
            fs::create_dir_all(&directory)?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
            let mut others = false;
            for (name, content) in [(layout::TRUST_JAVA, trusted.java), (layout::TRUST_PEM, trusted.pem.as_bytes())] {
                let path = directory.join(name);
                if fs::read(&path).is_ok_and(|kept| kept == content) {
                    continue;
                }
                let next = path.with_extension("next");
                fs::write(&next, content)?;
                fs::set_permissions(&next, fs::Permissions::from_mode(0o644))?;
                fs::rename(next, path)?;
                others = true;
            }
            Ok(others)
        };
        write().map_err(|source| SandboxError::Directory { path: directory.display().to_string(), source })
    }

    /// Whether the machine has room for one more like this; says what it lacks.
    pub fn room(&self, spec: &SandboxSpec) -> Result<(), String> {
        room::for_one_more(spec)
    }

    /// Starts the next life of a sandbox; ends an earlier one first. Its files are kept.
    pub async fn create(&self, id: &SessionId, incarnation: &IncarnationId, spec: &SandboxSpec) -> Result<Connection, SandboxError> {
        if let Some(image) = &spec.image {
            self.verified_image(image).await?;
        }
        if let Some(key) = &spec.packages
            && self.verified_layer(key).await?.is_none()
        {
            return Err(SandboxError::Packages("the layer of packages is gone; try again: it is built anew".into()));
        }
        self.bear(id, incarnation, spec).await?;
        match self.attach(id, incarnation).await {
            Ok(connection) => return Ok(connection),
            // One that waited for its session may have died just then. Nothing was given to it.
            Err(AttachError::Gone | AttachError::Other(SandboxError::Talk { .. })) => self.bear(id, incarnation, spec).await?,
            Err(AttachError::Other(error)) => return Err(error),
        };
        self.attach(id, incarnation).await.map_err(|error| match error {
            AttachError::Gone => SandboxError::Protocol { peer: "init of a sandbox", reason: "it ended right after its start".into() },
            AttachError::Other(error) => error,
        })
    }

    /// Reaches a life that may have survived the last server.
    pub async fn attach(&self, id: &SessionId, incarnation: &IncarnationId) -> Result<Connection, AttachError> {
        Connection::open(self.address(id, incarnation)).await
    }

    /// Ends a sandbox; nothing of it runs any more when this returns. Its files stay.
    pub async fn stop(&self, id: &SessionId) -> Result<(), SandboxError> {
        if let Some(oci) = &self.oci {
            oci.kill(id).await?;
        }
        match self.spawner.ask(&Request::Kill { sandbox_id: id.clone() }).await? {
            Answer::Killed { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a sandbox and deletes its files.
    pub async fn remove(&self, id: &SessionId) -> Result<(), SandboxError> {
        self.stop(id).await?;
        let dir = self.directory(id);
        let erased = tokio::task::spawn_blocking(move || erase::directory(&dir)).await;
        erased.map_err(io::Error::other).and_then(|done| done).map_err(SandboxError::Delete)
    }

    /// The sandboxes with a living init.
    pub async fn list(&self) -> Result<Vec<SessionId>, SandboxError> {
        Ok(self.living().await?.into_iter().map(|listed| listed.sandbox_id).collect())
    }

    /// The sandboxes with a living init, and what they use.
    pub async fn living(&self) -> Result<Vec<Listed>, SandboxError> {
        let (mut sandboxes, _) = self.population().await?;
        if let Some(oci) = &self.oci {
            sandboxes.extend(oci.list().await?);
        }
        Ok(sandboxes)
    }

    /// How many sandboxes are ready for sessions to come.
    pub async fn spares(&self) -> Result<u32, SandboxError> {
        self.population().await.map(|(_, spares)| spares)
    }

    async fn population(&self) -> Result<(Vec<Listed>, u32), SandboxError> {
        match self.spawner.ask(&Request::List).await? {
            Answer::Sandboxes { sandboxes, spares } => Ok((sandboxes, spares)),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that this server is there and needs these sandboxes. To be said again well within
    /// `orphan_ttl`: what no server has needed for so long is ended.
    pub async fn attend(&self, needed: Vec<SessionId>, wishes: &Wishes) -> Result<(), SandboxError> {
        let orphan_ttl_ms = u64::try_from(wishes.orphan_ttl.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Attend { sandbox_ids: needed, orphan_ttl_ms, spares: wishes.spares, spec: wishes.spec.clone() };
        match self.spawner.ask(&request).await? {
            Answer::Attended => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The sandboxes that live and are only tried, or build: nobody's session.
    pub async fn tried(&self) -> Result<Vec<SessionId>, SandboxError> {
        Ok(self.list().await?.into_iter().filter(|id| id.as_str().starts_with(PROBE) || Self::is_build(id.as_str())).collect())
    }

    /// Removes what is left of trials whose process died.
    pub async fn sweep(&self) -> Result<(), SandboxError> {
        let living = self.list().await?;
        let directory = |source| SandboxError::Directory { path: self.dir.display().to_string(), source };
        for entry in std::fs::read_dir(&self.dir).map_err(directory)?.flatten() {
            let name = entry.file_name();
            let id: Option<SessionId> = name.to_str().filter(|name| name.starts_with(PROBE)).and_then(|name| name.parse().ok());
            if let Some(id) = id.filter(|id| !living.contains(id)) {
                self.remove(&id).await?;
            }
        }
        Ok(())
    }

    /// The sandboxes that have a directory, living or not.
    pub async fn kept(&self) -> Result<Vec<SessionId>, SandboxError> {
        let directory = |source| SandboxError::Directory { path: self.dir.display().to_string(), source };
        let mut entries = tokio::fs::read_dir(&self.dir).await.map_err(directory)?;
        let mut kept = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(directory)? {
            // Other names are the spawner's own files; what is being probed belongs to its prober.
            let name = entry.file_name();
            kept.extend(name.to_str().filter(|name| !name.starts_with(PROBE) && !Self::is_build(name)).and_then(|name| name.parse().ok()));
        }
        Ok(kept)
    }

    /// Ends all sandboxes and the spawner. Their files stay. For tests and for uninstalling.
    pub async fn shutdown(&self) -> Result<(), SandboxError> {
        if let Some(oci) = &self.oci {
            for listed in oci.list().await? {
                oci.kill(&listed.sandbox_id).await?;
            }
        }
        match self.spawner.ask(&Request::Shutdown).await? {
            Answer::Bye => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}
