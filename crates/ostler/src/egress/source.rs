//! Where the keys come from, for the keeper: it reads and changes them when they are exchanged, so that the server, which orders it,
//! never has one.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, bail};
use ostler_seal::KeyId;
use ostler_seal::open::{KeyPair, KeyRing};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{Secret, VaultKey};
use crate::vault_key;

/// Where the keys come from, with what a command needs to say them again.
#[derive(Serialize, Deserialize)]
pub(super) enum Source {
    Text(Zeroizing<String>),
    File(PathBuf),
    Command { command: Zeroizing<String>, variables: Vec<(OsString, OsString)>, dir: PathBuf },
}

/// What the server has the keeper do, one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Say which keys there are.
    Look,
    /// Put a new key into the file, in front of these.
    Add(Vec<KeyId>),
    /// Have egress use these.
    Take(Vec<KeyId>),
    /// Leave the newest of these alone in the file, and have egress use it.
    DropFormer(Vec<KeyId>),
}

/// How it went, one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    /// The public halves of the keys that there are now, the newest first.
    Keys(Vec<String>),
    /// It is not done.
    Failed(String),
}

impl Source {
    /// What a person's process knows of it.
    pub(super) fn of(from: &VaultKey) -> anyhow::Result<Self> {
        Ok(match from {
            VaultKey::Text(text) => Self::Text(Zeroizing::new(text.expose().to_owned())),
            VaultKey::File(path) => Self::File(path.clone()),
            VaultKey::Command(command) => Self::Command {
                command: Zeroizing::new(command.clone()),
                variables: std::env::vars_os().collect(),
                dir: std::env::current_dir().context("finding the current directory, in which vault.key_command runs")?,
            },
        })
    }

    /// Does what was ordered. The keys that there are then, and whether egress is to use them.
    pub(super) fn obey(&self, order: &Order) -> anyhow::Result<(KeyRing, bool)> {
        let ring = self.read()?;
        let (Order::Add(expected) | Order::Take(expected) | Order::DropFormer(expected)) = order else { return Ok((ring, false)) };
        if ring.ids() != *expected {
            bail!("somebody else changed the vault keys just now; run this again");
        }
        let ring = match (order, self) {
            (Order::Look | Order::Take(_), _) => return Ok((ring, true)),
            (Order::Add(_), Self::File(path)) => {
                let next = ring.with_new(KeyPair::generate().context("no randomness for a vault key")?);
                vault_key::replace(path, &next)?;
                return Ok((next, false));
            }
            (Order::DropFormer(_), Self::File(path)) => {
                let alone = ring.newest_alone();
                vault_key::replace(path, &alone)?;
                alone
            }
            (Order::Add(_) | Order::DropFormer(_), _) => bail!("only in a file can this change keys"),
        };
        Ok((ring, true))
    }

    fn read(&self) -> anyhow::Result<KeyRing> {
        match self {
            Self::File(path) if path.symlink_metadata().is_err() => {
                bail!("there is no vault key at {}; bring it back, or let the first start of the server make one", path.display())
            }
            Self::File(path) => vault_key::read(&VaultKey::File(path.clone())),
            Self::Text(text) => vault_key::read(&VaultKey::Text(Secret::new(text.as_str()))),
            Self::Command { command, variables, dir } => vault_key::from_command(command, |shell| {
                shell.env_clear().envs(variables.iter().map(|(name, value)| (name, value))).current_dir(dir);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_the_expected_ones_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let source = Source::of(&VaultKey::File(path.clone())).unwrap();
        assert!(source.obey(&Order::Look).unwrap_err().to_string().contains("there is no vault key"));
        let first = vault_key::read(&VaultKey::File(path.clone())).unwrap();
        let (both, _) = source.obey(&Order::Add(first.ids())).unwrap();
        for order in [Order::Add(first.ids()), Order::Take(first.ids()), Order::DropFormer(first.ids())] {
            assert!(source.obey(&order).unwrap_err().to_string().contains("run this again"), "{order:?}");
        }
        assert_eq!(source.obey(&Order::Look).unwrap().0.ids(), both.ids());
        let (alone, is_used) = source.obey(&Order::DropFormer(both.ids())).unwrap();
        assert_eq!((alone.ids(), is_used), (both.newest_alone().ids(), true));
    }

    #[test]
    fn a_command_runs_as_it_did_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let ring = vault_key::read(&VaultKey::File(dir.path().join("k"))).unwrap();
        let source = Source::Command {
            command: Zeroizing::new("cat \"$NAME\"".into()),
            variables: vec![("NAME".into(), "k".into()), ("PATH".into(), std::env::var_os("PATH").unwrap())],
            dir: dir.path().to_owned(),
        };
        let source: Source = serde_json::from_str(&serde_json::to_string(&source).unwrap()).unwrap();
        assert_eq!(source.obey(&Order::Look).unwrap().0.ids(), ring.ids());
        assert!(source.obey(&Order::Add(ring.ids())).is_err());
    }
}
