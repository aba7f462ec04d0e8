//! Settings as the server may see them: the same, but with a word in the place of each key, so that it is known that there is one.

use std::ffi::OsString;

use anyhow::Context;

use super::search::BRAVE_KEY;

/// In the place of a key.
const HELD: &str = "held-by-egress";
/// The vault key itself.
const VAULT_KEY: &str = "OSTLER_VAULT_KEY";
/// A key for the client commands.
const CLIENT_KEY: &str = "OSTLER_API_KEY";

/// The variables that the server uses, besides those of providers.
const KEPT: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "LINES",
    "LD_LIBRARY_PATH",
];
const KEPT_BEGINNINGS: [&str; 4] = ["OSTLER_", "XDG_", "LC_", "RUST_"];

/// A valid settings file without its keys and the commands that print them.
pub(crate) fn file(text: &str) -> anyhow::Result<String> {
    let mut table: toml::Table = text.parse().context("the settings file cannot be read")?;
    let hide = |value: Option<&mut toml::Value>| {
        if let Some(toml::Value::String(text)) = value
            && !text.is_empty()
        {
            HELD.clone_into(text);
        }
    };
    if let Some(toml::Value::Table(providers)) = table.get_mut("providers") {
        providers.iter_mut().for_each(|(_, provider)| hide(provider.get_mut("api_key")));
    }
    hide(table.get_mut("search").and_then(|search| search.get_mut("api_key")));
    hide(table.get_mut("vault").and_then(|vault| vault.get_mut("key_command")));
    toml::to_string(&table).context("writing the settings anew")
}

/// The variables that the server needs. `text` is the settings file, which may name more that hold keys.
pub(crate) fn environment(text: Option<&str>, variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let table: toml::Table = text.and_then(|text| text.parse().ok()).unwrap_or_default();
    let providers = table.get("providers").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let sections = providers.chain(table.get("search"));
    let (keys, addresses) = super::providers::variables();
    let named = sections.filter_map(|provider| provider.get("api_key_env")?.as_str());
    let secret: Vec<String> = named.map(str::to_owned).chain(keys.chain([VAULT_KEY, BRAVE_KEY]).map(str::to_owned)).collect();
    let addresses: Vec<&str> = addresses.collect();
    variables
        .filter_map(|(name, value)| {
            let known = name.to_str()?;
            if secret.iter().any(|name| name == known) {
                let value = if value.is_empty() { value } else { HELD.into() };
                return Some((name, value));
            }
            let is_kept =
                KEPT.contains(&known) || addresses.contains(&known) || KEPT_BEGINNINGS.iter().any(|begin| known.starts_with(begin));
            (is_kept && known != CLIENT_KEY).then_some((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Settings};
    use super::*;
    use crate::cli::CommonArgs;

    const FILE: &str = "\
data_dir = \"/d\"
# an old one: sk-comment
[providers.openai]
api_key = \"sk-file\"
[providers.local]
kind = \"openai\"
base_url = \"http://l\"
api_key_env = \"LOCAL_KEY\"
models = [\"m\"]
[search]
provider = \"brave\"
api_key_env = \"SEARCH_KEY\"
api_key = \"sk-search-file\"
[vault]
key_command = \"echo sk-command\"
[egress.resolve]
\"a.test:443\" = \"127.0.0.1:1\"
";

    fn variables() -> Vec<(OsString, OsString)> {
        let all = [
            ("PATH", "/bin"),
            ("ANTHROPIC_API_KEY", "sk-env"),
            ("ANTHROPIC_BASE_URL", "http://a"),
            ("LOCAL_KEY", "sk-local"),
            ("SEARCH_KEY", "sk-search"),
            ("BRAVE_API_KEY", "sk-brave"),
            ("OSTLER_VAULT_KEY", "sk-vault"),
            ("OSTLER_API_KEY", "sk-client"),
            ("OSTLER_LOG", "info"),
            ("OPENROUTER_API_KEY", ""),
            ("AWS_SECRET_ACCESS_KEY", "sk-other"),
        ];
        all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_server_sees_the_same_settings_without_the_keys() {
        let read = |text: &str, variables: &[(OsString, OsString)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_str().unwrap().to_owned());
            Settings::of(Some(text), &CommonArgs::default(), Flags::default(), find).unwrap()
        };
        let (text, kept) = (file(FILE).unwrap(), environment(Some(FILE), variables().into_iter()));
        assert!(!text.contains("sk-") && !format!("{kept:?}").contains("sk-"), "{text}{kept:?}");
        let (before, after) = (read(FILE, &variables()), read(&text, &kept));
        assert_eq!((after.shown, after.egress, after.data_dir), (before.shown, before.egress, before.data_dir));
        let known = |settings: &Settings| {
            settings.providers.iter().map(|p| (p.name.clone(), p.base_url.clone(), p.kind, p.models.clone())).collect::<Vec<_>>()
        };
        let (before, after) = (read(FILE, &variables()), read(&text, &kept));
        assert_eq!(known(&after), known(&before));
        assert_eq!(known(&after).len(), 3);
        assert!(after.providers.iter().all(|provider| provider.key.expose() == HELD));
    }
}
