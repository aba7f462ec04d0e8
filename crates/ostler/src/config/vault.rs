//! Where the key of vaults comes from.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::file;
use super::secret::Secret;
use super::shown::Origins;
use crate::vault_key;

/// Where the key of vaults comes from.
#[derive(Debug, Clone)]
pub(crate) enum VaultKey {
    /// It was given as it is.
    Text(Secret),
    /// A file.
    File(PathBuf),
    /// What a command of a shell prints.
    Command(String),
}

/// The environment counts more than the file.
pub(super) fn read(
    file: file::Vault,
    data_dir: &Path,
    env: &impl Fn(&str) -> Option<String>,
    origins: &mut Origins,
) -> anyhow::Result<VaultKey> {
    if file.key_file.is_some() && file.key_command.is_some() {
        bail!("[vault]: key_file and key_command are two answers to one question; keep one of them");
    }
    if let Some(text) = env("OSTLER_VAULT_KEY") {
        origins.push("vault.key", &"(set)", "environment OSTLER_VAULT_KEY".to_owned());
        return Ok(VaultKey::Text(Secret::new(text)));
    }
    if let Some(path) = env("OSTLER_VAULT_KEY_FILE") {
        origins.push("vault.key_file", &path, "environment OSTLER_VAULT_KEY_FILE".to_owned());
        return Ok(VaultKey::File(std::path::absolute(path)?));
    }
    if let Some(command) = file.key_command {
        origins.push("vault.key_command", &"(set)", origins.file());
        return Ok(VaultKey::Command(command));
    }
    let is_in_file = file.key_file.is_some();
    let path = std::path::absolute(file.key_file.unwrap_or_else(|| vault_key::usual_file(data_dir)))?;
    if path.starts_with(data_dir) {
        bail!("[vault] key_file is inside the data directory, so every backup would have the key with the secrets; keep it elsewhere");
    }
    origins.note("vault.key_file", &path.display(), None, is_in_file);
    Ok(VaultKey::File(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(toml: &str, env: &[(&str, &str)]) -> String {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        match read(toml::from_str(toml).unwrap(), Path::new("/d/data"), &env, &mut Origins::new(None)) {
            Ok(VaultKey::Text(_)) => "text".into(),
            Ok(VaultKey::File(path)) => path.display().to_string(),
            Ok(VaultKey::Command(command)) => format!("$ {command}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_key_comes_from_one_place() {
        assert_eq!(found("", &[]), "/d/data.key");
        assert_eq!(found("key_file = \"/k\"", &[]), "/k");
        assert_eq!(found("key_command = \"pass show k\"", &[]), "$ pass show k");
        assert_eq!(found("key_file = \"/k\"", &[("OSTLER_VAULT_KEY_FILE", "/e")]), "/e");
        assert_eq!(found("key_file = \"/k\"", &[("OSTLER_VAULT_KEY", "ostler-key-1")]), "text");
        assert!(found("key_file = \"/k\"\nkey_command = \"x\"", &[]).contains("keep one"));
        assert!(found("key_file = \"/d/data/k\"", &[]).contains("inside the data directory"));
    }
}
