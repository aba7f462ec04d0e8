//! The key of vaults: whether it is there and private, or can be made where the settings say.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::report::{Finding, quote};
use crate::config::{Settings, VaultKey};
use crate::vault_key;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vault {
    /// It can be used; says where it comes from.
    Ready(String),
    /// There is none yet, and one can be made there.
    ToBeMade(PathBuf),
    /// There is none, though there is a database whose secrets may need it.
    Gone(PathBuf),
    /// It cannot be made there.
    NoPlace(PathBuf),
    /// It cannot be used; says why and what to do.
    Unusable(String),
    /// A command prints it, which is not run to look.
    ByCommand,
}

pub(super) fn look(settings: &Settings) -> Vault {
    let path = match &settings.vault_key {
        VaultKey::Command(_) => return Vault::ByCommand,
        VaultKey::Text(_) => None,
        VaultKey::File(path) => Some(path.as_path()),
    };
    match path {
        Some(path) if path.symlink_metadata().is_err() => missing(path, &settings.data_dir),
        _ => match vault_key::read(&settings.vault_key) {
            Ok(_) => Vault::Ready(path.map_or_else(|| "OSTLER_VAULT_KEY".to_owned(), |path| path.display().to_string())),
            Err(error) => Vault::Unusable(format!("{error:#}")),
        },
    }
}

fn missing(path: &Path, data_dir: &Path) -> Vault {
    let above = path.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    if access(above, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        Vault::NoPlace(path.to_owned())
    } else if data_dir.join("ostler.db").exists() {
        Vault::Gone(path.to_owned())
    } else {
        Vault::ToBeMade(path.to_owned())
    }
}

impl Vault {
    pub(super) fn judge(&self) -> Finding {
        const NAME: &str = "vault_key";
        let shown = |path: &Path| quote(&path.display().to_string());
        match self {
            Self::Ready(from) => Finding::ok(NAME, format!("from {}", quote(from))),
            Self::ToBeMade(path) => Finding::ok(NAME, format!("none yet; the first start makes {}", shown(path))),
            Self::Gone(path) => Finding::note(
                NAME,
                format!("there is no {}, though the data directory is not new; secrets that were sealed before stay closed", shown(path)),
                "bring the file back from where you keep it before the next start, which would make a new one",
            ),
            Self::NoPlace(path) => Finding::problem(
                NAME,
                format!("{} cannot be made: its directory is not this user's to write", shown(path)),
                "set OSTLER_VAULT_KEY_FILE, or key_file in [vault] of the settings, to a place outside of the data directory that this user can write",
            ),
            Self::Unusable(why) => Finding::problem(NAME, quote(why), "correct it, or bring the file back from where you keep it"),
            Self::ByCommand => Finding::aside(NAME, "a command prints it, which is not run to look"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    #[test]
    fn every_state_of_the_key_is_told_with_what_to_do() {
        let path = PathBuf::from("/k");
        let table = [
            (Vault::Ready("/k".into()), Status::Ok, "from /k", ""),
            (Vault::ToBeMade(path.clone()), Status::Ok, "first start", ""),
            (Vault::Gone(path.clone()), Status::Note, "stay closed", "bring the file back"),
            (Vault::NoPlace(path), Status::Problem, "cannot be made", "OSTLER_VAULT_KEY_FILE"),
            (Vault::Unusable("chmod 600".into()), Status::Problem, "chmod 600", "correct it"),
            (Vault::ByCommand, Status::Note, "not run", ""),
        ];
        for (vault, status, found, remedy) in table {
            assert_finding(&[vault.judge()], "vault_key", status, found, remedy);
        }
    }

    #[test]
    fn a_key_that_is_missing_from_a_used_directory_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("k");
        assert_eq!(missing(&key, dir.path()), Vault::ToBeMade(key.clone()));
        std::fs::write(dir.path().join("ostler.db"), "").unwrap();
        assert_eq!(missing(&key, dir.path()), Vault::Gone(key));
    }
}
