//! The networks of sandboxes. Each sandbox is introduced to egress with what its session may reach and use, and is kept known
//! there for as long as it is needed; whoever takes a credential away takes it away there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ostler_core::egress::policy::Policy;
use ostler_core::egress::{Answered, Caps, SealedGrant, Terms, Unusable, placeholder};
use ostler_core::events::client::Confirmation;
use ostler_core::ids::{CredentialId, EnvironmentId, SessionId, VaultId};
use ostler_core::limits::CREDENTIALS_PER_VAULT;
use ostler_core::resources::confirmation::Asked;
use ostler_core::resources::credential::{Auth, CredentialBody, CredentialNetworking, SECRET_VALUE};
use ostler_core::resources::session::SessionAgent;
use ostler_core::scope::{Scope, SystemReason};
use ostler_core::session::fault::{CredentialFault, FaultKind};
use ostler_store::{DocumentFilter, PageRequest};
use serde::Deserialize;

use crate::egress::EgressError;
use crate::environment;
use crate::limits;
use crate::mcp::credential::CREDENTIAL;
use crate::network_log::{self, NetworkLog};
use crate::notices::Notices;
use crate::router::SessionRouter;
use crate::sandbox::SandboxLink;
use crate::session::deps::Deps;

/// What a session's sandbox may, and where that comes from.
#[derive(Debug, Clone)]
struct Described {
    terms: Terms,
    /// The placeholders, by the names of their variables.
    environment: BTreeMap<String, String>,
    /// For each credential whose secret it may use: where it is, its variable, and whether it leads to a host.
    credentials: Vec<(CredentialFault, bool)>,
    vaults: Vec<VaultId>,
    from: EnvironmentId,
}

impl Described {
    /// Credentials that are for hosts that the environment does not allow.
    fn unreachable(&self) -> Vec<CredentialFault> {
        self.credentials.iter().filter(|(_, reaches)| !reaches).map(|(fault, _)| fault.clone()).collect()
    }

    /// What to say of those that egress cannot use.
    fn unusable(&self, unusable: &[Unusable]) -> Vec<CredentialFault> {
        let of = |found: &Unusable| self.credentials.iter().find(|(fault, _)| fault.credential == found.credential);
        unusable.iter().filter_map(of).map(|(fault, _)| CredentialFault { kind: FaultKind::Unusable, ..fault.clone() }).collect()
    }
}

#[derive(Debug)]
struct Known {
    link: Arc<dyn SandboxLink>,
    described: Described,
    /// Whether egress has these doors, and knows what is described. It is not said to be needed before.
    is_served: bool,
    is_told: bool,
    /// Whether what changed could not be read. It reaches nothing until it can.
    is_stale: bool,
    /// Whether it has no doors; its variables have placeholders all the same.
    is_offline: bool,
    /// Held by who tells egress of it, so that what is told last is what holds.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The sandboxes that egress is to know.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    known: Mutex<HashMap<SessionId, Known>>,
    /// Held while it is read what a sandbox may, until that is noted: who changes something afterwards finds it noted.
    reading: tokio::sync::Mutex<()>,
    notices: Notices,
    log: NetworkLog,
}

impl Networks {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What sessions are to be told.
    pub(crate) fn notices(&self) -> &Notices {
        &self.notices
    }

    /// What sandboxes did.
    pub(crate) fn log(&self) -> &NetworkLog {
        &self.log
    }

    /// How many sandboxes egress serves.
    pub(crate) fn served(&self) -> u64 {
        u64::try_from(self.lock().values().filter(|known| known.is_served).count()).unwrap_or(u64::MAX)
    }

    /// Whether a sandbox of this session is known.
    pub(crate) fn knows(&self, session: &SessionId) -> bool {
        self.lock().contains_key(session)
    }

    /// The variables that calls of a session bring.
    pub(crate) fn environment(&self, session: &SessionId) -> BTreeMap<String, String> {
        self.lock().get(session).map(|known| known.described.environment.clone()).unwrap_or_default()
    }
}

/// Introduces a sandbox. That goes on in the background: what connects before it is done waits. Fails when it cannot be read what it
/// may; such a sandbox is of no use.
pub(crate) async fn introduce(deps: &Arc<Deps>, session: &SessionId, link: &Arc<dyn SandboxLink>) -> Result<(), String> {
    if !deps.egress.serves_sandboxes() {
        return Ok(());
    }
    let mut tries = 0;
    let (reading, described) = loop {
        let reading = deps.networks.reading.lock().await;
        match describe(deps, session).await {
            Ok(described) => break (reading, described),
            Err(why) if tries >= limits::DESCRIBE_TRIES => return Err(format!("what it may reach cannot be read: {why}")),
            Err(why) => tracing::warn!(%session, why, "what a sandbox may reach cannot be read; trying again"),
        }
        drop(reading);
        tries += 1;
        tokio::time::sleep(limits::DESCRIBE_PAUSE).await;
    };
    deps.networks.notices.add(session, described.unreachable());
    let (is_served, is_told, is_stale, is_offline) = (false, false, false, false);
    let known = Known { link: Arc::clone(link), described, is_served, is_told, is_stale, is_offline, turn: Arc::default() };
    deps.networks.lock().insert(session.clone(), known);
    drop(reading);
    let (deps, session) = (Arc::clone(deps), session.clone());
    tokio::spawn(async move { tell(&deps, &session).await });
    Ok(())
}

/// Notes what a known sandbox may now. Where that cannot be read, it is nothing.
async fn note(deps: &Deps, session: &SessionId) {
    let _reading = deps.networks.reading.lock().await;
    let described = describe(deps, session).await;
    let mut networks = deps.networks.lock();
    let Some(known) = networks.get_mut(session) else { return };
    known.is_told = false;
    known.is_stale = described.is_err();
    match described {
        Ok(described) => {
            deps.networks.notices.add(session, described.unreachable());
            known.described = described;
        }
        Err(why) => {
            tracing::error!(%session, why, "what a sandbox may reach cannot be read; until it can, it reaches nothing");
            known.described.terms.policy = Policy::none();
            known.described.terms.grants.clear();
            known.described.terms.answers.clear();
        }
    }
}

/// Has egress know a sandbox as it is described now. What fails is tried again by the watch.
async fn tell(deps: &Deps, session: &SessionId) {
    let Some(turn) = deps.networks.lock().get(session).map(|known| Arc::clone(&known.turn)) else { return };
    let _turn = turn.lock().await;
    loop {
        let now = deps.networks.lock().get(session).map(|known| (Arc::clone(&known.link), known.described.terms.clone(), known.is_served));
        let Some((link, terms, is_served)) = now else { return };
        let told = if is_served { deps.egress.change(session, &terms).await } else { Ok(None) };
        let unusable = match told {
            Ok(Some(unusable)) => unusable,
            Ok(None) => match admit(deps, session, &link, &terms).await {
                Some(unusable) => unusable,
                None => return,
            },
            Err(error) => return tracing::warn!(%session, %error, "egress was not told of a change; it is told again"),
        };
        unusable.iter().for_each(|one| deps.networks.notices.log(session, one));
        let mut networks = deps.networks.lock();
        let Some(known) = networks.get_mut(session) else { return };
        deps.networks.notices.add(session, known.described.unusable(&unusable));
        if !Arc::ptr_eq(&known.turn, &turn) {
            // The next life was introduced meanwhile; whatever was told of it may have been told before this.
            (known.is_served, known.is_told) = (false, false);
            return;
        }
        known.is_served = true;
        known.is_told = known.described.terms == terms;
        if known.is_told {
            return;
        }
    }
}

/// Hands the doors of a sandbox to egress; the credentials that cannot be used, if some cannot. Nothing where it did not work.
async fn admit(deps: &Deps, session: &SessionId, link: &Arc<dyn SandboxLink>, terms: &Terms) -> Option<Vec<Unusable>> {
    let doors = match link.doors().await {
        Ok(Some(doors)) => doors,
        // It is offline, and there is nothing to tell.
        Ok(None) => {
            if let Some(known) = deps.networks.lock().get_mut(session) {
                known.is_offline = true;
            }
            return None;
        }
        Err(why) => {
            tracing::warn!(%session, why, "a sandbox does not hand out its doors; it is asked again");
            return None;
        }
    };
    match deps.egress.admit(session, terms, doors).await {
        Ok(unusable) => Some(unusable),
        Err(error) => {
            tracing::warn!(%session, %error, "egress does not serve a sandbox; it is asked again");
            None
        }
    }
}

/// Lets egress forget a sandbox that has ended.
pub(crate) fn leave(deps: &Arc<Deps>, session: &SessionId) {
    if deps.networks.lock().remove(session).is_none() {
        return;
    }
    let (deps, session) = (Arc::clone(deps), session.clone());
    tokio::spawn(async move {
        network_log::collect(&deps).await;
        // The next life of it takes its place there.
        if deps.networks.knows(&session) {
            return;
        }
        // One that is not let go of is when its lease ends.
        if let Err(error) = deps.egress.release(&session).await {
            tracing::debug!(%session, %error, "egress was not told of the end of a sandbox");
        }
        // With its end its connections ended, which is written down then.
        network_log::collect(&deps).await;
        if !deps.networks.knows(&session) {
            deps.networks.log.forget(&session);
        }
    });
}

/// The secrets of a credential, as they are stored.
type Parts = BTreeMap<String, String>;

#[derive(Deserialize)]
struct PartOfView {
    #[serde(default)]
    vaults: Vec<VaultId>,
    #[serde(default)]
    confirmations: Vec<Asked>,
}

async fn describe(deps: &Deps, session: &SessionId) -> Result<Described, String> {
    let scope = Scope::System(SystemReason::Recovery);
    let unread = |error: &dyn std::fmt::Display| error.to_string();
    let row = deps.store.session(&scope, session).await.map_err(|error| unread(&error))?.ok_or("there is no such session")?;
    let agent: SessionAgent = serde_json::from_str(&row.agent).map_err(|error| unread(&error))?;
    let PartOfView { vaults, confirmations } = serde_json::from_str(&row.view).map_err(|error| unread(&error))?;
    let most = &deps.policy.most_egress;
    let (policy, caps) = match environment::body(deps, &row.environment_id).await? {
        Some(body) => {
            let servers = agent.mcp_servers.iter().map(|server| server.url.as_str());
            (Policy::of_environment(&body.config, body.egress.as_ref(), servers), Caps::of(body.egress.as_ref(), most))
        }
        None => (Policy::none(), Caps::of(None, most)),
    };
    let (mut grants, mut variables, mut credentials) = (Vec::new(), BTreeMap::new(), Vec::new());
    for vault in &vaults {
        let filter = DocumentFilter { parent: Some(vault.to_string()), ..DocumentFilter::default() };
        let page = PageRequest::first(usize::try_from(CREDENTIALS_PER_VAULT).unwrap_or(usize::MAX));
        let found = deps.store.documents(&scope, CREDENTIAL, &filter, &page).await.map_err(|error| unread(&error))?;
        for document in found.rows.into_iter().filter(|document| document.workspace == row.workspace) {
            let body: CredentialBody = serde_json::from_str(&document.body).map_err(|error| unread(&error))?;
            let Auth::EnvironmentVariable { secret_name, networking, .. } = body.auth else { continue };
            let parts: Parts = document.sealed.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let (Some(sealed), Ok(credential)) = (parts.get(SECRET_VALUE), document.id.parse::<CredentialId>()) else { continue };
            // The first vault that has one counts.
            if variables.contains_key(&secret_name) {
                continue;
            }
            let hosts = match &networking {
                CredentialNetworking::Unrestricted {} => None,
                CredentialNetworking::Limited { allowed_hosts } => Some(allowed_hosts.as_slice()),
            };
            let (name, kind) = (secret_name.clone(), FaultKind::Unreachable);
            let fault = CredentialFault { credential: credential.clone(), vault: vault.clone(), name, kind };
            credentials.push((fault, policy.reaches(hosts)));
            let placeholder = placeholder(session, &secret_name);
            grants.push(SealedGrant { placeholder: placeholder.clone(), credential, sealed: sealed.clone() });
            variables.insert(secret_name, placeholder);
        }
    }
    let remembered = confirmations.into_iter().filter(Asked::is_remembered);
    let answers = remembered.map(|Asked { question, answer, .. }| {
        let is_allowed = answer.is_some_and(|answer| answer.result == Confirmation::Allow);
        Answered { question, is_allowed }
    });
    let terms = Terms { organization: row.organization, workspace: row.workspace, policy, grants, answers: answers.collect(), caps };
    Ok(Described { terms, environment: variables, credentials, vaults, from: row.environment_id })
}

/// What was changed that sandboxes may depend on.
#[derive(Debug, Clone, Copy)]
pub enum Changed<'a> {
    /// A vault, or a credential in it.
    Vault(&'a VaultId),
    /// An environment.
    Environment(&'a EnvironmentId),
    /// Perhaps everything.
    Everything,
    /// What a session remembers.
    Session(&'a SessionId),
}

impl SessionRouter {
    /// Has egress know what changed, before this returns. Connections that depended on what is gone end.
    pub async fn changed(&self, changed: Changed<'_>) {
        let deps = self.deps();
        if let Changed::Vault(vault) = changed {
            deps.mcp.changed(vault);
        }
        let concerns = |session: &SessionId, known: &Known| match changed {
            Changed::Vault(vault) => known.described.vaults.contains(vault),
            Changed::Environment(environment) => known.described.from == *environment,
            Changed::Everything => true,
            Changed::Session(changed) => session == changed,
        };
        // Who is being introduced with what was before is waited for, and found.
        let reading = deps.networks.reading.lock().await;
        let concerned: Vec<SessionId> =
            deps.networks.lock().iter().filter(|(session, known)| concerns(session, known)).map(|(session, _)| session.clone()).collect();
        drop(reading);
        for session in &concerned {
            note(deps, session).await;
        }
        // At once: an egress that hangs costs one wait, not one for each.
        futures::future::join_all(concerned.iter().map(|session| tell(deps, session))).await;
    }

    /// Keeps sandboxes known to egress until the server stops, and makes them known again to one that was started anew.
    pub async fn watch_networks(self) {
        if self.deps().egress.serves_sandboxes() {
            tokio::join!(self.keep_known(), self.watch_network_log(), self.watch_notices());
        }
    }

    async fn keep_known(&self) {
        let deps = self.deps();
        loop {
            tokio::select! {
                () = deps.stopping.cancelled() => return,
                () = tokio::time::sleep(limits::NETWORK_LOOK) => {}
            }
            let of = |fits: fn(&Known) -> bool| -> Vec<SessionId> {
                let networks = deps.networks.lock();
                networks.iter().filter(|(_, known)| !known.is_offline && fits(known)).map(|(session, _)| session.clone()).collect()
            };
            for session in of(|known| known.is_stale) {
                note(deps, &session).await;
            }
            let told = of(|known| known.is_told);
            if !told.is_empty() {
                match deps.egress.renew(&told).await {
                    Ok(unknown) => {
                        for session in unknown {
                            if let Some(known) = deps.networks.lock().get_mut(&session) {
                                (known.is_served, known.is_told) = (false, false);
                            }
                        }
                    }
                    Err(EgressError::Unavailable(why) | EgressError::Refused(why)) => {
                        tracing::warn!(why, "egress does not answer; sandboxes reach nothing until it does");
                    }
                }
            }
            if !told.is_empty() {
                self.attend_questions().await;
            }
            // Each by itself: one that does not answer keeps nobody else waiting, and has one who waits for it.
            for session in of(|known| !known.is_told) {
                let is_told_now = deps.networks.lock().get(&session).is_some_and(|known| known.turn.try_lock().is_err());
                if !is_told_now {
                    let deps = Arc::clone(deps);
                    tokio::spawn(async move { tell(&deps, &session).await });
                }
            }
        }
    }

    /// The sessions whose sandboxes are known.
    pub(crate) fn networks(&self) -> Vec<SessionId> {
        self.deps().networks.lock().keys().cloned().collect()
    }

    /// Lets go of those of these that do not live any more.
    pub(crate) fn leave_networks(&self, of: &[SessionId], living: &HashSet<SessionId>) {
        of.iter().filter(|session| !living.contains(*session)).for_each(|session| leave(self.deps(), session));
    }
}
