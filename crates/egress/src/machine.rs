//! What egress has to know of the machine it is on. It is read at the start, because later egress can open no file.

use std::sync::Arc;

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use rustls::pki_types::CertificateDer;

use crate::service::{EgressConfig, StartError};
use crate::{limits, trust};

/// Whom the machine trusts, and whom it asks for addresses.
pub struct Machine {
    roots: Vec<CertificateDer<'static>>,
    /// None where it names no server.
    names: Option<(ResolverConfig, ResolverOpts)>,
    hosts: Arc<Hosts>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}

impl Machine {
    /// Reads it, and the files that the operator names.
    ///
    /// # Errors
    /// When a file with certificates cannot be read.
    pub fn read(config: &EgressConfig) -> Result<Self, StartError> {
        let names = system_conf::read_system_conf();
        let names = names.inspect_err(|error| tracing::warn!(%error, "no name server is known; hosts cannot be resolved")).ok();
        Ok(Self { roots: trust::roots(&config.extra_ca)?, names, hosts: Arc::new(Hosts::from_system().unwrap_or_default()) })
    }

    /// How many authorities it trusts.
    pub fn authorities(&self) -> usize {
        self.roots.len()
    }

    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Finds hosts that sandboxes name.
    pub(crate) fn resolver(&self) -> Option<TokioResolver> {
        // With its dot at the end a name is whole; and the host's own file names machines of its own network.
        self.built(|options| options.ndots = 0)
    }

    /// Finds hosts as programs of this machine do, with its search list, but for those of [`Self::hosts`].
    pub(crate) fn resolver_of_programs(&self) -> Option<TokioResolver> {
        self.built(|_| {})
    }

    /// The machine's own file of hosts, which counts first for its programs.
    pub(crate) fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.hosts)
    }

    fn built(&self, set: impl FnOnce(&mut ResolverOpts)) -> Option<TokioResolver> {
        let (config, options) = self.names.clone()?;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.positive_max_ttl = Some(limits::NAME_KEPT);
        options.negative_max_ttl = Some(limits::NAME_KEPT);
        options.timeout = limits::NAME_TIMEOUT;
        options.use_hosts_file = ResolveHosts::Never;
        set(options);
        builder.build().inspect_err(|error| tracing::warn!(%error, "hosts cannot be resolved")).ok()
    }
}
