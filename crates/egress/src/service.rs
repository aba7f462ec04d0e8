//! All of egress in one process: what it knows, and what can be asked of it.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use ostler_core::egress::{Question, Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_seal::PublicKey;
use ostler_seal::open::KeyRing;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::authority::{Authority, AuthorityError, Protocols};
use crate::confine::User;
use crate::grants::{self, GrantError, Grants};
use crate::machine::Machine;
use crate::pool::Pool;
use crate::provider::{Dialer, ProviderConfig, ProviderSetupError, Providers};
use crate::record::{Records, Taken};
use crate::resolve::{ResolveConfig, Resolver};
use crate::sandboxes::{Doors, Sandboxes};
use crate::shares::Shares;
use crate::upstream::Left;
use crate::{limits, trust};

/// How egress is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressConfig {
    /// Names and addresses that the operator knows.
    pub resolve: ResolveConfig,
    /// Files with certificates of authorities that are trusted as well.
    pub extra_ca: Vec<PathBuf>,
    /// As whom its process runs.
    pub user: User,
    /// Who is asked when something is searched.
    pub search: Option<SearchEngine>,
}

/// A search engine of the operator's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchEngine {
    /// Its address, to which a query is added.
    pub url: String,
    /// The header that has its key, and the key.
    pub key: Option<(String, Zeroizing<String>)>,
}

impl std::fmt::Debug for SearchEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchEngine").field("has_key", &self.key.is_some()).finish_non_exhaustive()
    }
}

/// Why egress does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file with certificates.
    #[error("the certificates in {0} (extra_ca of [egress] in the settings) cannot be read: {1}")]
    Trust(String, String),
    /// TLS as a client.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A model provider.
    #[error(transparent)]
    Provider(#[from] ProviderSetupError),
}

/// The protocols that a host is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offers {
    pub(crate) http2: bool,
    pub(crate) http1: bool,
}

impl Offers {
    pub(crate) const HTTP1: Self = Self { http2: false, http1: true };
    pub(crate) const HTTP2: Self = Self { http2: true, http1: false };
}

/// Egress.
#[derive(Debug)]
pub struct Egress {
    ring: RwLock<Arc<KeyRing>>,
    pub(crate) authority: Authority,
    trusted: String,
    pub(crate) resolver: Resolver,
    pub(crate) providers: Providers,
    both: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// Connections to hosts that nobody uses.
    pub(crate) pool: Pool<Left>,
    pub(crate) records: Arc<Records>,
    /// Places for what is passed on at once, and for bodies that are held meanwhile.
    pub(crate) exchanges: Shares,
    pub(crate) bodies: Shares,
    pub(crate) search: Option<SearchEngine>,
    /// Finds hosts that the operator named.
    pub(crate) named_by_operator: Dialer,
    sandboxes: Sandboxes,
}

impl Egress {
    /// Starts it. Opens no file. Needs a runtime of tokio.
    pub fn start(ring: KeyRing, config: &EgressConfig, providers: &[ProviderConfig], machine: &Machine) -> Result<Arc<Self>, StartError> {
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = trust::client(machine.roots(), &provider)?;
        // A ticket would tell a host that two sandboxes are of one installation, and one tenant of another's visits.
        tls.resumption = Resumption::disabled();
        let with = |names: &[Protocols]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = names.iter().map(|protocols| protocols.name().to_vec()).collect();
            Arc::new(tls)
        };
        let egress = Arc::new(Self {
            authority: Authority::of(ring.authority(), provider)?,
            ring: RwLock::new(Arc::new(ring)),
            trusted: trust::pem(machine.roots()),
            resolver: Resolver::new(&config.resolve, machine),
            providers: Providers::new(providers, &config.resolve, machine)?,
            both: with(&[Protocols::Http2, Protocols::Http1]),
            http1: with(&[Protocols::Http1]),
            http2: with(&[Protocols::Http2]),
            pool: Pool::default(),
            records: Arc::default(),
            exchanges: Shares::new(limits::CONNECTIONS, limits::CONNECTIONS_PER_WORKSPACE),
            bodies: Shares::new(limits::INJECTED_BODIES, limits::INJECTED_BODIES_PER_WORKSPACE),
            search: config.search.clone(),
            named_by_operator: Dialer::new(&config.resolve, machine),
            sandboxes: Sandboxes::default(),
        });
        let watched = Arc::downgrade(&egress);
        tokio::spawn(async move {
            let mut every = tokio::time::interval(limits::LEASE_WATCH);
            loop {
                every.tick().await;
                let Some(egress) = watched.upgrade() else { return };
                egress.sandboxes.expire();
            }
        });
        Ok(egress)
    }

    /// The key that secrets are closed for.
    pub fn public_key(&self) -> PublicKey {
        self.ring().public().clone()
    }

    /// The keys that open secrets.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens and closes with other keys from now on. What was opened before goes on.
    pub fn take_keys(&self, ring: KeyRing) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The certificate of this installation's authority, in PEM.
    pub fn certificate(&self) -> String {
        self.authority.certificate()
    }

    /// All that sandboxes are to trust, in PEM: the authority, and whom egress trusts itself, for connections that are not opened.
    pub fn certificates(&self) -> String {
        self.authority.certificate() + &self.trusted
    }

    pub(crate) fn tls(&self, offers: Offers) -> Arc<ClientConfig> {
        Arc::clone(match offers {
            Offers { http2: true, http1: true } => &self.both,
            Offers { http2: true, http1: false } => &self.http2,
            Offers { http2: false, .. } => &self.http1,
        })
    }

    /// Listens to a sandbox from now on, for as long as its lease is renewed. Returns why grants are left out, if any are.
    pub fn register(self: &Arc<Self>, session: SessionId, terms: Terms, doors: Doors) -> std::io::Result<Vec<Unusable>> {
        let (grants, unusable) = self.open(&terms);
        self.sandboxes.register(self, session, terms, grants, doors)?;
        Ok(unusable)
    }

    /// Changes what a sandbox may; what went on by the former terms ends. None: the sandbox is not known.
    pub fn change(&self, session: &SessionId, terms: Terms) -> Option<Vec<Unusable>> {
        let (grants, unusable) = self.open(&terms);
        self.sandboxes.change(session, terms, grants).then_some(unusable)
    }

    /// Renews leases; returns those that are not known.
    pub fn renew(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        self.sandboxes.renew(sessions)
    }

    /// Lets a sandbox go.
    pub fn release(&self, session: &SessionId) {
        self.sandboxes.release(session);
    }

    /// The requests that wait for a person, by their sandboxes.
    pub fn questions(&self) -> Vec<(SessionId, Vec<Question>)> {
        self.sandboxes.questions()
    }

    /// Gives one request its answer: the first that waits, or the next that comes. Whether the sandbox is known.
    pub fn settle(&self, session: &SessionId, question: Question, is_allowed: bool) -> bool {
        self.sandboxes.settle(session, question, is_allowed)
    }

    /// Takes what was recorded, and how many records of which sandboxes were lost.
    pub fn take_records(&self, most: usize) -> Taken {
        self.records.take(most)
    }

    fn open(&self, terms: &Terms) -> (Grants, Vec<Unusable>) {
        let (ring, mut grants, mut unusable) = (self.ring(), Vec::new(), Vec::new());
        let mut room = limits::SECRETS;
        for grant in &terms.grants {
            let opened = grants::opened(&ring, &terms.organization, &terms.workspace, grant.clone());
            let fits = opened.and_then(|grant| match room.checked_sub(grant.secret.expose().len()) {
                Some(left) => {
                    room = left;
                    Ok(grant)
                }
                None => Err(GrantError::TooMuch(grant.credential)),
            });
            match fits {
                Ok(grant) => grants.push(grant),
                Err(error) => unusable.push(Unusable { credential: grant.credential.clone(), reason: error.to_string() }),
            }
        }
        (Grants::new(grants), unusable)
    }
}
