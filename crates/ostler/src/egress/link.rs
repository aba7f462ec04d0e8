//! The server's way to egress.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, bail};
use async_trait::async_trait;
use ostler_core::egress::{Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_egress::control::{Ask, Client, Told};
use ostler_runtime::egress::{CredentialToTry, Egress, EgressError, Fetched, Owner, Tried};
use ostler_seal::open::KeyRing;
use ostler_seal::{Binding, KeyId, PublicKey, Sealed};

use crate::limits;

/// Asks the egress process.
#[derive(Debug)]
pub(crate) struct EgressLink {
    client: Client,
    keys: RwLock<Keys>,
}

/// The keys that egress is known to have.
#[derive(Debug, Clone)]
struct Keys {
    public: PublicKey,
    ids: Vec<KeyId>,
}

impl Keys {
    fn of(ring: &KeyRing) -> Self {
        Self { public: ring.public().clone(), ids: ring.ids() }
    }
}

impl EgressLink {
    /// Waits until it answers, with the keys that it was given.
    pub(crate) async fn connect(socket: PathBuf, ring: &KeyRing) -> anyhow::Result<(Self, String)> {
        let client = Client::new(socket);
        let Told::Welcome { keys, certificates, .. } = client.ask(&Ask::Hello, &[]).await? else { bail!("it answered out of order") };
        if keys != ring.ids() {
            return Err(anyhow::anyhow!("it has other keys")).context("asking egress who it is");
        }
        Ok((Self { client, keys: RwLock::new(Keys::of(ring)) }, certificates))
    }

    /// Waits until egress has the keys that it was told of; from then on secrets are closed for the newest.
    pub(crate) async fn await_keys(&self, ring: &KeyRing) -> anyhow::Result<()> {
        let has_them = async {
            loop {
                let told = self.client.ask(&Ask::Hello, &[]).await;
                if matches!(&told, Ok(Told::Welcome { keys, .. }) if *keys == ring.ids()) {
                    return;
                }
                tokio::time::sleep(limits::EGRESS_PAUSE_FIRST).await;
            }
        };
        tokio::time::timeout(limits::EGRESS_TAKES, has_them).await.context("egress does not take the keys; its log may say why")?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys::of(ring);
        Ok(())
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ask: Ask, descriptors: &[OwnedFd]) -> Result<Told, EgressError> {
        match self.client.ask(&ask, descriptors).await {
            Ok(Told::Refused { reason }) => Err(EgressError::Refused(reason)),
            Ok(told) => Ok(told),
            Err(error) => Err(EgressError::Unavailable(error.to_string())),
        }
    }
}

fn out_of_order(told: &Told) -> EgressError {
    EgressError::Unavailable(format!("it answered out of order: {told:?}"))
}

#[async_trait]
impl Egress for EgressLink {
    fn public_key(&self) -> PublicKey {
        self.keys().public.clone()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.keys().ids.clone()
    }

    async fn reseal(&self, _: &Owner, sealed: &Sealed, binding: &Binding) -> Result<Sealed, EgressError> {
        match self.ask(Ask::Reseal { sealed: sealed.to_string(), binding: binding.clone() }, &[]).await? {
            Told::Sealed { sealed } => sealed.parse().map_err(|_| EgressError::Unavailable("what it sealed cannot be read".into())),
            other => Err(out_of_order(&other)),
        }
    }

    async fn validate(&self, _: CredentialToTry) -> Result<Tried, EgressError> {
        Err(EgressError::Unavailable("MCP servers cannot be tried yet".into()))
    }

    fn serves_sandboxes(&self) -> bool {
        true
    }

    async fn admit(&self, session: &SessionId, terms: &Terms, doors: Vec<OwnedFd>) -> Result<Vec<Unusable>, EgressError> {
        match self.ask(Ask::Register { session: session.clone(), terms: terms.clone() }, &doors).await? {
            Told::Terms { unusable } => Ok(unusable),
            other => Err(out_of_order(&other)),
        }
    }

    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<Unusable>>, EgressError> {
        match self.ask(Ask::Change { session: session.clone(), terms: terms.clone() }, &[]).await? {
            Told::Terms { unusable } => Ok(Some(unusable)),
            Told::Unknown => Ok(None),
            other => Err(out_of_order(&other)),
        }
    }

    async fn renew(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>, EgressError> {
        match self.ask(Ask::Renew { sessions: sessions.to_vec() }, &[]).await? {
            Told::Renewed { unknown } => Ok(unknown),
            other => Err(out_of_order(&other)),
        }
    }

    async fn release(&self, session: &SessionId) -> Result<(), EgressError> {
        match self.ask(Ask::Release { session: session.clone() }, &[]).await? {
            Told::Released => Ok(()),
            other => Err(out_of_order(&other)),
        }
    }

    async fn records(&self, most: usize) -> Result<Fetched, EgressError> {
        match self.ask(Ask::Records { most }, &[]).await? {
            Told::Records { records, dropped } => Ok(Fetched { records, dropped }),
            other => Err(out_of_order(&other)),
        }
    }
}
