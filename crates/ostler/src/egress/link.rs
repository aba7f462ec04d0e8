//! The server's way to egress.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use async_trait::async_trait;
use ostler_core::egress::{Question, Terms};
use ostler_core::ids::SessionId;
use ostler_egress::control::{Ask, Client, Told};
use ostler_runtime::egress::{Egress, EgressError, Owner, TokenAnswer, TokenToRenew};
use ostler_seal::{Binding, PublicKey, Sealed};

/// Asks the egress process.
#[derive(Debug)]
pub(crate) struct EgressLink {
    client: Client,
    calls: PathBuf,
    key: PublicKey,
}

impl EgressLink {
    /// Waits until it answers, with the key that it was given.
    pub(super) async fn connect(socket: PathBuf, calls: PathBuf, key: PublicKey) -> anyhow::Result<(Self, String)> {
        let client = Client::new(socket);
        let Told::Welcome { public_key, certificates } = client.ask(&Ask::Hello, &[]).await? else { bail!("it answered out of order") };
        if public_key != key.to_string() {
            return Err(anyhow::anyhow!("it has another key")).context("asking egress who it is");
        }
        Ok((Self { client, calls, key }, certificates))
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
        self.key.clone()
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

    async fn admit(&self, session: &SessionId, terms: &Terms, doors: Vec<OwnedFd>) -> Result<Vec<String>, EgressError> {
        match self.ask(Ask::Register { session: session.clone(), terms: terms.clone() }, &doors).await? {
            Told::Terms { unusable } => Ok(unusable),
            other => Err(out_of_order(&other)),
        }
    }

    async fn change(&self, session: &SessionId, terms: &Terms) -> Result<Option<Vec<String>>, EgressError> {
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
}
