//! The sandboxes that may reach anything: who they are, what they may, and until when.

use std::collections::HashMap;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use ostler_core::egress::{Question, Terms};
use ostler_core::ids::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::grants::Grants;
use crate::pool::Place;
use crate::questions::Questions;
use crate::service::Egress;
use crate::shares::Share;
use crate::traffic::Traffic;
use crate::{dns, limits, proxy, transparent};
use ostler_core::egress::policy::Policy;

/// The sockets of a sandbox on which it is listened to. They belong to its network and to nobody else's.
#[derive(Debug)]
pub struct Doors {
    /// The proxy.
    pub proxy: TcpListener,
    /// Port 80 of every name.
    pub http: TcpListener,
    /// Port 443 of every name.
    pub https: TcpListener,
    /// The name server.
    pub dns_udp: UdpSocket,
    /// The same over TCP.
    pub dns_tcp: TcpListener,
}

/// What holds for a sandbox now.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) terms: Terms,
    pub(crate) policy: Policy,
    pub(crate) grants: Arc<Grants>,
    /// Cancelled when the policy is another one.
    pub(crate) policy_ended: CancellationToken,
    /// Cancelled when the policy or the grants are others.
    pub(crate) grants_ended: CancellationToken,
}

impl Live {
    /// Where connections to a host are kept for those that may do the same.
    pub(crate) fn place(&self, host: &str, port: u16) -> Place {
        let mut credentials: Vec<_> = self.grants.at(host).map(|grant| (grant.credential.clone(), grant.version)).collect();
        credentials.sort();
        Place { workspace: self.terms.workspace.clone(), is_of_server: false, credentials, host: host.to_owned(), port }
    }

    /// Whether TLS with a host is opened.
    pub(crate) fn opens(&self, host: &str) -> bool {
        self.policy.inspect_all || self.grants.at(host).next().is_some()
    }
}

/// A sandbox that is known.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) session: SessionId,
    live: RwLock<Arc<Live>>,
    /// Cancelled when nothing of it is passed on any more.
    pub(crate) ended: CancellationToken,
    /// Requests that wait for a person.
    pub(crate) questions: Questions,
    /// What it moves.
    pub(crate) traffic: Arc<Traffic>,
    /// When all certificates that were made to refuse it something would have been made at their rate.
    refusals: Mutex<Instant>,
    lease: Mutex<Instant>,
    exchanges: Arc<Semaphore>,
}

/// A place among what is passed on at once.
#[derive(Debug)]
pub(crate) struct Permit {
    _own: OwnedSemaphorePermit,
    _share: Share,
}

impl Sandbox {
    /// What holds now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place for one exchange, if there is one here and among those of all.
    pub(crate) fn exchange(&self, egress: &Egress) -> Option<Permit> {
        let own = Arc::clone(&self.exchanges).try_acquire_owned().ok()?;
        Some(Permit { _own: own, _share: egress.exchanges.try_take(&self.live().terms.workspace)? })
    }

    /// Whether another certificate may be made to refuse it something.
    pub(crate) fn may_refuse(&self) -> bool {
        let mut paid_at = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = (*paid_at).max(now) + limits::REFUSAL_EVERY;
        let may = next.duration_since(now) <= limits::REFUSAL_EVERY * limits::REFUSALS_AT_ONCE;
        if may {
            *paid_at = next;
        }
        may
    }

    /// Ends everything that is passed on. What comes next is decided anew.
    fn cut(&self) {
        let policy_ended = self.ended.child_token();
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let next = Live {
            terms: live.terms.clone(),
            policy: live.policy.clone(),
            grants: Arc::clone(&live.grants),
            grants_ended: policy_ended.child_token(),
            policy_ended,
        };
        let former = std::mem::replace(&mut *live, Arc::new(next));
        drop(live);
        former.policy_ended.cancel();
    }

    fn is_over(&self) -> bool {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now()
    }

    fn renew(&self) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + limits::LEASE;
    }
}

/// All that are known.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    known: Mutex<HashMap<SessionId, Arc<Sandbox>>>,
}

impl Sandboxes {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<Sandbox>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sandbox in, in the place of one of the same name, and listens to it.
    pub(crate) fn register(
        &self,
        egress: &Arc<Egress>,
        session: SessionId,
        terms: Terms,
        grants: Grants,
        doors: Doors,
    ) -> std::io::Result<()> {
        let traffic = Traffic::new(terms.caps);
        let questions = Questions::default();
        questions.answer(&terms.answers);
        let ended = CancellationToken::new();
        let policy_ended = ended.child_token();
        let live =
            Live { policy: terms.policy.clone(), terms, grants: Arc::new(grants), grants_ended: policy_ended.child_token(), policy_ended };
        let sandbox = Arc::new(Sandbox {
            session: session.clone(),
            live: RwLock::new(Arc::new(live)),
            ended,
            questions,
            traffic,
            refusals: Mutex::new(Instant::now()),
            lease: Mutex::new(Instant::now() + limits::LEASE),
            exchanges: Arc::new(Semaphore::new(limits::EXCHANGES_PER_SANDBOX)),
        });
        let mut known = self.lock();
        // The same sandbox, whose server was started again.
        if let Some(former) = known.get(&session) {
            sandbox.traffic.resume(&former.traffic);
        }
        listen(egress, &sandbox, doors)?;
        if let Some(former) = known.insert(session, Arc::clone(&sandbox)) {
            former.ended.cancel();
        }
        drop(known);
        tokio::spawn(async move {
            let cutting = async {
                loop {
                    sandbox.traffic.spent().await;
                    tracing::warn!(session = %sandbox.session, "a sandbox has sent and received as much as it may");
                    sandbox.cut();
                }
            };
            tokio::select! {
                () = cutting => {}
                () = sandbox.ended.cancelled() => {}
            }
        });
        Ok(())
    }

    /// Other terms; connections end that the former ones allowed, and these would not in the same way. Whether the sandbox is known.
    pub(crate) fn change(&self, session: &SessionId, terms: Terms, grants: Grants) -> bool {
        let Some(sandbox) = self.lock().get(session).cloned() else { return false };
        sandbox.renew();
        sandbox.traffic.cap(terms.caps);
        sandbox.questions.answer(&terms.answers);
        let mut live = sandbox.live.write().unwrap_or_else(PoisonError::into_inner);
        // Answers and caps hold without ending anything.
        if live.terms.policy == terms.policy && live.terms.grants == terms.grants {
            return true;
        }
        let is_same_policy = live.policy == terms.policy;
        if is_same_policy && live.grants.is_same(&grants) {
            // A secret that was only sealed anew is the same secret.
            *live = Arc::new(Live {
                policy: terms.policy.clone(),
                terms,
                grants: Arc::clone(&live.grants),
                policy_ended: live.policy_ended.clone(),
                grants_ended: live.grants_ended.clone(),
            });
            return true;
        }
        let policy_ended = if is_same_policy { live.policy_ended.clone() } else { sandbox.ended.child_token() };
        let next =
            Live { policy: terms.policy.clone(), terms, grants: Arc::new(grants), grants_ended: policy_ended.child_token(), policy_ended };
        let former = std::mem::replace(&mut *live, Arc::new(next));
        drop(live);
        former.grants_ended.cancel();
        if !is_same_policy {
            former.policy_ended.cancel();
        }
        true
    }

    /// Keeps these for another while. Returns those that are not known.
    pub(crate) fn renew(&self, sessions: &[SessionId]) -> Vec<SessionId> {
        let known = self.lock();
        let (mine, unknown): (Vec<_>, Vec<_>) = sessions.iter().partition(|session| known.contains_key(*session));
        mine.into_iter().filter_map(|session| known.get(session)).for_each(|sandbox| sandbox.renew());
        unknown.into_iter().cloned().collect()
    }

    /// The requests that wait for a person, by their sandboxes.
    pub(crate) fn questions(&self) -> Vec<(SessionId, Vec<Question>)> {
        let known = self.lock();
        // One that asks much leaves room for the others.
        let share = (limits::QUESTIONS_TOLD / known.len().max(1)).max(1);
        let waiting = known.iter().map(|(session, sandbox)| (session.clone(), sandbox.questions.waiting(share)));
        waiting.filter(|(_, questions)| !questions.is_empty()).take(limits::QUESTIONS_TOLD).collect()
    }

    /// Gives one request of a sandbox its answer. Whether the sandbox is known.
    pub(crate) fn settle(&self, session: &SessionId, question: Question, is_allowed: bool) -> bool {
        let sandbox = self.lock().get(session).cloned();
        sandbox.map(|sandbox| sandbox.questions.settle(question, is_allowed)).is_some()
    }

    /// Lets one go; its connections end.
    pub(crate) fn release(&self, session: &SessionId) {
        if let Some(sandbox) = self.lock().remove(session) {
            sandbox.ended.cancel();
        }
    }

    /// Lets go of those whose lease is over.
    pub(crate) fn expire(&self) {
        let mut known = self.lock();
        known.retain(|session, sandbox| {
            let is_over = sandbox.is_over();
            if is_over {
                tracing::warn!(%session, "nobody renewed the lease of a sandbox; it reaches nothing any more");
                sandbox.ended.cancel();
            }
            !is_over
        });
    }
}

/// What a door leads to.
#[derive(Clone, Copy)]
enum Door {
    Proxy,
    Names(u16),
    NameServer,
}

fn listen(egress: &Arc<Egress>, sandbox: &Arc<Sandbox>, doors: Doors) -> std::io::Result<()> {
    let Doors { proxy, http, https, dns_udp, dns_tcp } = doors;
    // All of them before anything listens: what listens must be known.
    let listener = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    let listeners = [
        (listener(proxy)?, Door::Proxy),
        (listener(http)?, Door::Names(80)),
        (listener(https)?, Door::Names(443)),
        (listener(dns_tcp)?, Door::NameServer),
    ];
    dns_udp.set_nonblocking(true)?;
    let names = tokio::net::UdpSocket::from_std(dns_udp)?;
    for (listener, door) in listeners {
        tokio::spawn(attend(Arc::clone(egress), Arc::clone(sandbox), listener, door));
    }
    tokio::spawn(dns::udp(Arc::clone(sandbox), names));
    Ok(())
}

async fn attend(egress: Arc<Egress>, sandbox: Arc<Sandbox>, listener: tokio::net::TcpListener, door: Door) {
    let ended = sandbox.ended.clone();
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Without a descriptor to spare it would fail again at once.
                    tracing::warn!(%error, "a connection of a sandbox could not be taken");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Only for what is there: a door at which nobody waits keeps no place from the others.
            let place = sandbox.traffic.place().await;
            let _ = stream.set_nodelay(true);
            let (egress, sandbox) = (Arc::clone(&egress), Arc::clone(&sandbox));
            tokio::spawn(async move {
                match door {
                    Door::Proxy => proxy::serve(egress, sandbox, stream).await,
                    Door::Names(port) => transparent::serve(egress, sandbox, stream, port).await,
                    Door::NameServer => dns::tcp(stream).await,
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = ended.cancelled() => {}
    }
}
