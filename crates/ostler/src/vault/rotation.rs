//! Exchanging the key in steps. Each begins with what is on disk and changes nothing that is done already, so that whoever is
//! killed anywhere is finished by whoever begins anew. At every moment the key file has all keys that a stored secret needs.

use std::sync::Arc;

use anyhow::{Context, bail};
use ostler_core::ids::CredentialId;
use ostler_runtime::egress::Egress;
use ostler_runtime::reseal::{Resealed, keys_in_use, reseal};
use ostler_runtime::router::SessionRouter;
use ostler_store::Store;

use super::KeyHolder;
use crate::config::VaultKey;
use crate::limits;

/// Where progress is told.
pub(crate) type Say = dyn Fn(String) + Send + Sync;

/// An exchange of the key.
#[derive(Clone)]
pub(crate) struct Rotation {
    /// Where the key comes from.
    pub(crate) from: VaultKey,
    /// Whether former keys stay when nothing needs them any more.
    pub(crate) keep_former: bool,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) holder: Arc<dyn KeyHolder>,
    /// Of a server that runs.
    pub(crate) router: Option<SessionRouter>,
    pub(crate) say: Arc<Say>,
}

/// A part of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A new key is in the file, beside the former one.
    AddKey,
    /// Egress opens with all of them, and seals for the new one.
    HandOver,
    /// Every stored secret is sealed for the new one.
    Reseal,
    /// The former ones are not in the file any more, and egress has forgotten them.
    DropFormer,
}

impl Step {
    /// All, in their order.
    pub(super) const ALL: [Self; 4] = [Self::AddKey, Self::HandOver, Self::Reseal, Self::DropFormer];
}

impl Rotation {
    /// Does all of it, or what is left of it.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        for step in Step::ALL {
            self.step(step).await?;
        }
        Ok(())
    }

    pub(super) async fn step(&self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::AddKey => self.add_key().await,
            Step::HandOver => self.hand_over().await,
            Step::Reseal => self.reseal().await.map(drop),
            Step::DropFormer => self.drop_former().await,
        }
    }

    fn say(&self, text: impl Into<String>) {
        (self.say)(text.into());
    }

    async fn add_key(&self) -> anyhow::Result<()> {
        let keys = self.holder.look().await?;
        let is_begun = !keys.former.is_empty() || self.egress.key_ids() != keys.ids();
        if is_begun {
            self.say(format!("an exchange that was begun is finished; {} has {} keys", self.place(), keys.ids().len()));
            return Ok(());
        }
        match &self.from {
            VaultKey::File(path) => {
                let next = self.holder.add(&keys).await?;
                tracing::info!(key = %next.newest.id(), former = %keys.newest.id(), path = %path.display(), "a new key of vaults was added");
                self.say(format!("added the key {} to {}", next.newest.id(), self.place()));
                Ok(())
            }
            VaultKey::Text(_) | VaultKey::Command(_) => bail!(
                "{} has one key, and this cannot change it: run `ostler vault new-key` with the same settings, keep all that it prints where the key comes from, {} and run `ostler vault rotate-key` again",
                self.place(),
                self.reread()
            ),
        }
    }

    async fn hand_over(&self) -> anyhow::Result<()> {
        let keys = self.holder.look().await?;
        // Nobody seals for a key meanwhile that is gone then.
        let _still = match &self.router {
            Some(router) => Some(router.no_sealing().await),
            None => None,
        };
        let (known, has) = (self.egress.key_ids(), keys.ids());
        let lost: Vec<_> = known.iter().filter(|key| !has.contains(key)).collect();
        if !lost.is_empty() {
            let in_use = keys_in_use(self.store.as_ref()).await.context("looking which keys are needed")?;
            for key in lost {
                if let Some(count) = in_use.get(key) {
                    bail!(
                        "the secrets of {count} credentials are sealed for the key {key}, which {} does not have any more; put it back behind the new one, and run this again",
                        self.place()
                    );
                }
                self.say(format!("the key {key} is not needed any more"));
            }
        }
        self.holder.take(&keys).await?;
        tracing::info!(key = %keys.newest.id(), keys = has.len(), "secrets are sealed for this key from now on");
        self.say(format!("new secrets are sealed for the key {}", keys.newest.id()));
        Ok(())
    }

    async fn reseal(&self) -> anyhow::Result<Resealed> {
        let say = Arc::clone(&self.say);
        let progress = move |done: usize| {
            if done > 0 {
                say(format!("sealed {done} credentials anew"));
            }
        };
        let resealed = match &self.router {
            Some(router) => router.reseal(&progress).await,
            None => reseal(self.store.as_ref(), self.egress.as_ref(), &progress).await,
        };
        resealed.context("sealing the stored secrets anew; what is done stays done, and running this again does the rest")
    }

    async fn drop_former(&self) -> anyhow::Result<()> {
        let keys = self.holder.look().await?;
        // Whoever sealed with a former key has stored it by now, or waits and seals with the new one.
        let _still = match &self.router {
            Some(router) => Some(router.no_sealing().await),
            None => None,
        };
        let Resealed { stuck, foreign, .. } = self.reseal().await?;
        if !foreign.is_empty() {
            self.say(format!(
                "{} are sealed for a key that is not here and cannot be used: {}; update them with their secrets",
                credentials(foreign.len()),
                named(&foreign)
            ));
        }
        if !stuck.is_empty() {
            bail!(
                "{} have a secret that does not open with its key, so the former key stays: {}; update them with their secrets or delete them, then run this again",
                credentials(stuck.len()),
                named(&stuck)
            );
        }
        self.say(format!("every secret that opens is sealed for the key {}", keys.newest.id()));
        if keys.former.is_empty() {
            return Ok(());
        }
        if self.keep_former {
            self.say(format!("{} keeps its former keys, as asked", self.place()));
            return Ok(());
        }
        let VaultKey::File(path) = &self.from else {
            let lines: String = keys.former.iter().map(|key| format!("\n  ostler-key-1 {key} ...")).collect();
            self.say(format!(
                "nothing needs these any more; take them out of {}, and leave the other lines as they are:{lines}\nthen {}",
                self.place(),
                match &self.from {
                    VaultKey::Command(_) => "run `ostler vault rotate-key` again, so that they are forgotten",
                    _ => "restart the server",
                }
            ));
            return Ok(());
        };
        self.holder.drop_former(&keys).await?;
        for former in &keys.former {
            tracing::info!(key = %former.id(), path = %path.display(), "a former key of vaults was taken away");
            self.say(format!("took the key {} out of {}", former.id(), self.place()));
        }
        self.say("done; keep a copy of the key apart from the backups, and of the former one for as long as you keep backups of before");
        Ok(())
    }

    /// Where the key comes from, for people.
    fn place(&self) -> String {
        match &self.from {
            VaultKey::Text(_) => "OSTLER_VAULT_KEY".to_owned(),
            VaultKey::File(path) => path.display().to_string(),
            VaultKey::Command(_) => "what vault.key_command prints".to_owned(),
        }
    }

    /// What makes a server see another value.
    fn reread(&self) -> &'static str {
        match (&self.from, &self.router) {
            (VaultKey::Text(_), Some(_)) => "restart the server with it,",
            _ => "",
        }
    }
}

fn credentials(count: usize) -> String {
    if count == 1 { "1 credential".to_owned() } else { format!("{count} credentials") }
}

fn named(ids: &[CredentialId]) -> String {
    let mut text = ids.iter().take(limits::CREDENTIALS_NAMED).map(CredentialId::as_str).collect::<Vec<_>>().join(", ");
    if ids.len() > limits::CREDENTIALS_NAMED {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests;
