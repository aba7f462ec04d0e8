//! Egress with one sandbox, whose network is this machine's loopback.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_core::egress::Caps;
use ostler_core::ids::{CredentialId, IdSource, OrganizationId, SessionId, VaultId, WorkspaceId};
use ostler_egress::policy::{AllowedHost, Network, Policy};
use ostler_egress::{Doors, Egress, EgressConfig, Machine, Record, ResolveConfig, SealedGrant, Terms};
use ostler_seal::open::{KeyPair, KeyRing};
use ostler_seal::{Binding, Bound, Hosts, Places};

use super::host::Ca;

pub(crate) const PLACEHOLDER: &str = "ostler_placeholder_0123456789";
pub(crate) const SECRET: &str = "s3cr3t-value-that-nobody-sees";

/// How many sandboxes were added.
static ANOTHER: AtomicU64 = AtomicU64::new(0);

/// Where a sandbox's programs find egress.
pub(crate) struct Broker {
    pub(crate) egress: Arc<Egress>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) session: SessionId,
    pub(crate) terms: Terms,
    pub(crate) proxy: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    dir: Arc<tempfile::TempDir>,
}

pub(crate) fn limited(hosts: &[&str]) -> Policy {
    let hosts = hosts.iter().map(|host| AllowedHost { host: (*host).into(), rule: "allowed_hosts".into() }).collect();
    Policy { network: Network::Limited { hosts }, inspect_all: false, rules: Vec::new() }
}

impl Broker {
    /// Starts egress, which finds these hosts at these addresses, with a sandbox that may reach them and has a secret for those
    /// that are named.
    pub(crate) fn start(ca: Ca, resolve: &[(&str, SocketAddr)], policy: Policy, secret_for: Option<&[&str]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca.write(&dir.path().join("ca.pem"));
        let resolve: BTreeMap<_, _> = resolve.iter().map(|(host, address)| ((*host).to_owned(), *address)).collect();
        let config = EgressConfig {
            resolve: ResolveConfig { resolve, ..ResolveConfig::default() },
            extra_ca: vec![dir.path().join("ca.pem")],
            ..EgressConfig::default()
        };
        let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new());
        let mut ids = IdSource::new(1, 1);
        let (organization, workspace) = (OrganizationId::mint(&mut ids), WorkspaceId::mint(&mut ids));
        let grants = secret_for.map(|hosts| {
            let credential = CredentialId::mint(&mut ids);
            let bound = Bound::EnvironmentVariable {
                name: "TOKEN".into(),
                hosts: if hosts.is_empty() { Hosts::Any } else { Hosts::Only(hosts.iter().map(|host| (*host).to_owned()).collect()) },
                places: Places { header: true, body: false },
            };
            let binding = Binding {
                organization: organization.clone(),
                workspace: workspace.clone(),
                vault: VaultId::mint(&mut ids),
                credential: credential.clone(),
                part: "secret_value".into(),
                version: 1,
                bound,
            };
            let sealed = ostler_seal::seal(ring.public(), &binding, SECRET.as_bytes()).unwrap().to_string();
            SealedGrant { placeholder: PLACEHOLDER.into(), credential, sealed }
        });
        let terms =
            Terms { organization, workspace, policy, grants: grants.into_iter().collect(), answers: Vec::new(), caps: Caps::default() };
        let egress = Egress::start(ring, &config, &[], &Machine::read(&config).unwrap()).unwrap();
        Self::admitted(egress, Arc::new(ca), SessionId::mint(&mut ids), terms, Arc::new(dir))
    }

    fn admitted(egress: Arc<Egress>, ca: Arc<Ca>, session: SessionId, terms: Terms, dir: Arc<tempfile::TempDir>) -> Self {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let doors = Doors {
            proxy: listener(),
            http: listener(),
            https: listener(),
            dns_udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            dns_tcp: listener(),
        };
        let (proxy, http) = (doors.proxy.local_addr().unwrap(), doors.http.local_addr().unwrap());
        let (https, dns) = (doors.https.local_addr().unwrap(), doors.dns_udp.local_addr().unwrap());
        assert_eq!(egress.register(session.clone(), terms.clone(), doors).unwrap(), Vec::new());
        Self { egress, ca, session, terms, proxy, https, http, dns, dir }
    }

    /// Another sandbox of the same egress.
    pub(crate) fn another(&self, terms: Terms) -> Self {
        let number = ANOTHER.fetch_add(1, Ordering::Relaxed);
        let session = format!("sesn_another{number}").parse().unwrap();
        Self::admitted(Arc::clone(&self.egress), Arc::clone(&self.ca), session, terms, Arc::clone(&self.dir))
    }

    /// A client as in the sandbox: it uses the proxy and trusts egress, and the authority of the hosts.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.builder().proxy(reqwest::Proxy::all(format!("http://{}", self.proxy)).unwrap()).build().unwrap()
    }

    pub(crate) fn builder(&self) -> reqwest::ClientBuilder {
        let certificate = reqwest::Certificate::from_pem(self.egress.certificate().as_bytes()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        self.ca.write(&dir.path().join("ca"));
        let other = reqwest::Certificate::from_pem(&std::fs::read(dir.path().join("ca")).unwrap()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([certificate, other]).redirect(reqwest::redirect::Policy::none())
    }

    /// What was recorded, once there is so much of it.
    pub(crate) async fn records(&self, count: usize) -> Vec<Record> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(self.egress.take_records(100).records);
            tokio::task::yield_now().await;
        }
        found
    }
}
