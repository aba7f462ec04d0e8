//! Egress for tests that ask over real connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use nix::unistd::geteuid;
use ostler_core::egress::calls::ProviderKind;
use ostler_egress::provider::ProviderConfig;
use ostler_egress::{Egress, EgressConfig, Machine, calls};
use ostler_seal::open::{KeyPair, KeyRing};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use crate::{HttpTransport, ModelTransport, ProviderRequest, ProviderResponse, TransportError};

/// A provider whose key is `sk-test`.
pub(crate) fn provider(name: &str, base_url: &str, kind: ProviderKind) -> ProviderConfig {
    ProviderConfig { name: name.into(), base_url: base_url.into(), kind, key: "sk-test".to_owned().into() }
}

/// The way to it.
#[derive(Debug)]
pub(crate) struct TestEgress {
    transport: HttpTransport,
    _dir: TempDir,
    connections: Arc<AtomicUsize>,
}

impl TestEgress {
    pub(crate) fn start(providers: Vec<ProviderConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = EgressConfig::default();
        let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
        let egress = Egress::start(ring, &config, &providers, &Machine::read(&config).unwrap()).unwrap();
        let inner = dir.path().join("inner");
        tokio::spawn(calls::serve(egress, UnixListener::bind(&inner).unwrap(), geteuid()));
        let outer = UnixListener::bind(dir.path().join("calls")).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = outer.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let Ok(mut to) = UnixStream::connect(&inner).await else { return };
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
            }
        });
        let transport = HttpTransport::new(dir.path().join("calls")).unwrap();
        Self { transport, _dir: dir, connections }
    }

    /// How many connections have been made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ModelTransport for TestEgress {
    async fn send(&self, provider: &str, request: ProviderRequest) -> Result<ProviderResponse, TransportError> {
        self.transport.send(provider, request).await
    }
}
