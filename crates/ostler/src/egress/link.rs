//! The server's way to egress.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, bail};
use async_trait::async_trait;
use ostler_core::egress::{Question, Terms, Unusable};
use ostler_core::ids::SessionId;
use ostler_egress::control::{Ask, Client, Told};
use ostler_runtime::egress::{Egress, EgressError, Fetched, Owner, TokenAnswer, TokenToRenew};
use ostler_seal::{Binding, KeyId, PublicKey, Sealed};

use crate::limits;
use crate::vault::Keys;

/// Asks the egress process.
#[derive(Debug)]
pub(crate) struct EgressLink {
    client: Client,
    calls: PathBuf,
    /// Those that egress is known to have.
    keys: RwLock<Keys>,
}

impl EgressLink {
    /// Waits until it answers, with the keys that it was given.
    pub(crate) async fn connect(socket: PathBuf, calls: PathBuf, keys: Keys) -> anyhow::Result<(Self, String)> {
        let client = Client::new(socket);
        let Told::Welcome { keys: has, certificates, .. } = client.ask(&Ask::Hello, &[]).await? else { bail!("it answered out of order") };
        if has != keys.ids() {
            return Err(anyhow::anyhow!("it has other keys")).context("asking egress who it is");
        }
        Ok((Self { client, calls, keys: RwLock::new(keys) }, certificates))
    }

    /// Waits until egress has the keys that it was told of; from then on secrets are closed for the newest.
    pub(crate) async fn await_keys(&self, keys: Keys) -> anyhow::Result<()> {
        let has_them = async {
            loop {
                let told = self.client.ask(&Ask::Hello, &[]).await;
                if matches!(&told, Ok(Told::Welcome { keys: has, .. }) if *has == keys.ids()) {
                    return;
                }
                tokio::time::sleep(limits::EGRESS_PAUSE_FIRST).await;
            }
        };
        tokio::time::timeout(limits::EGRESS_TAKES, has_them).await.context("egress does not take the keys; its log may say why")?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
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
        self.keys().newest.clone()
    }

    fn key_ids(&self) -> Vec<KeyId> {
        self.keys().ids()
    }

    async fn reseal(&self, _: &Owner, sealed: &Sealed, binding: &Binding) -> Result<Sealed, EgressError> {
        match self.ask(Ask::Reseal { sealed: sealed.to_string(), binding: binding.clone() }, &[]).await? {
            Told::Sealed { sealed } => sealed.parse().map_err(|_| EgressError::Unavailable("what it sealed cannot be read".into())),
            other => Err(out_of_order(&other)),
        }
    }

    async fn renew_token(&self, token: TokenToRenew) -> Result<TokenAnswer, EgressError> {
        let TokenToRenew { owner, refresh, refresh_token, client_secret } = token;
        match self.ask(Ask::RenewToken { owner, refresh, refresh_token, client_secret }, &[]).await? {
            Told::RenewedToken { access_token, refresh_token, expires_in } => {
                Ok(TokenAnswer::Renewed { access_token, refresh_token, expires_in })
            }
            Told::TokenNotRenewed { answer } => Ok(TokenAnswer::Failed(answer)),
            other => Err(out_of_order(&other)),
        }
    }

    fn serves_sandboxes(&self) -> bool {
        true
    }

    fn calls(&self) -> Option<&Path> {
        Some(&self.calls)
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

    async fn questions(&self) -> Result<Vec<(SessionId, Vec<Question>)>, EgressError> {
        match self.ask(Ask::Questions, &[]).await? {
            Told::Questions { waiting } => Ok(waiting),
            other => Err(out_of_order(&other)),
        }
    }

    async fn settle(&self, session: &SessionId, question: Question, is_allowed: bool) -> Result<(), EgressError> {
        match self.ask(Ask::Settle { session: session.clone(), question, is_allowed }, &[]).await? {
            Told::Settled => Ok(()),
            Told::Unknown => Err(EgressError::Unavailable("it does not know the sandbox (yet)".into())),
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
