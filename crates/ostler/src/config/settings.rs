//! What the settings come to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ostler_core::cost::Price;
use ostler_egress::EgressConfig;

use super::providers::{self, Provider};
use super::sandbox::{self, Sandbox};
use super::search::{self, Search};
use super::secret::Secret;
use super::shown::{Origins, Shown};
use super::vault::{self, VaultKey};
use super::{egress, file};
use crate::cli::{CommonArgs, is_typed};

/// The settings of this process, resolved.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) allow_plaintext: bool,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) model: String,
    pub(crate) max_output_tokens: u32,
    /// The configured providers; none means the demo model.
    pub(crate) providers: Vec<Provider>,
    /// For a model id, who is asked instead.
    pub(crate) routes: BTreeMap<String, Vec<String>>,
    /// Prices that count more than the built-in ones.
    pub(crate) prices: BTreeMap<String, Price>,
    pub(crate) bootstrap_key: Option<String>,
    /// What opens the counters of the server.
    pub(crate) metrics_token: Option<Secret>,
    pub(crate) sandbox: Sandbox,
    pub(crate) vault_key: VaultKey,
    pub(crate) egress: EgressConfig,
    pub(crate) search: Option<Search>,
    /// What is logged, as it was said.
    pub(crate) log: Option<String>,
    /// Each of them for people, with its origin.
    pub(crate) shown: Vec<Shown>,
}

/// What flags of single roles say; absent ones say nothing.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) listen: Option<String>,
    pub(crate) allow_plaintext: Option<bool>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) model: Option<String>,
}

const DEFAULT_LISTEN: &str = "127.0.0.1:8787";
const DEFAULT_MODEL: &str = "claude-sonnet-5";
/// Characters of the shortest key for `/metrics`.
const MIN_METRICS_TOKEN: usize = 16;

impl Settings {
    /// Reads file and environment; `env` looks a variable up.
    pub(crate) fn read(common: &CommonArgs, flags: Flags, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let text = Self::text(common, &env)?;
        Self::of(text.as_deref(), common, flags, env)
    }

    /// The settings file as it is, if there is one.
    pub(crate) fn text(common: &CommonArgs, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<String>> {
        file::text(common.config.as_deref(), file::usual(env).as_deref())
    }

    /// What a settings file and the environment come to.
    pub(crate) fn of(text: Option<&str>, common: &CommonArgs, flags: Flags, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let home = env("HOME").map(PathBuf::from);
        let usual = file::usual(env);
        let path = common.config.as_deref().or(usual.as_deref());
        let file = text.map(|text| file::parse(path.unwrap_or(Path::new("the settings")), text)).transpose()?.unwrap_or_default();
        let mut origins = Origins::new(path);

        let data_home = env("XDG_DATA_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".local/share")));
        // clap reads a flag and its variable alike, and the flag counts more.
        let by = |variable: &'static str, given: bool| given.then(|| (variable, env(variable).filter(|_| !is_typed(variable))));
        let (given, in_file) = (by("OSTLER_DATA_DIR", common.data_dir.is_some()), file.data_dir.is_some());
        let data_dir = common.data_dir.clone().or(file.data_dir).or_else(|| data_home.map(|dir| dir.join("ostler")));
        let data_dir = data_dir.context("no data directory: HOME is not set; say --data-dir DIR")?;
        let data_dir = std::path::absolute(&data_dir).with_context(|| format!("data directory {}", data_dir.display()))?;
        origins.note("data_dir", &data_dir.display(), given, in_file);
        let (given, in_file) = (by("OSTLER_LISTEN", flags.listen.is_some()), file.server.listen.is_some());
        let listen = flags.listen.or(file.server.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let listen: SocketAddr = listen
            .parse()
            .with_context(|| format!("the address to listen on, {listen:?}, is not ADDRESS:PORT with a numeric address, such as 127.0.0.1:8787; it comes from --listen, OSTLER_LISTEN or listen in the settings file"))?;
        origins.note("server.listen", &listen, given, in_file);
        let allow_plaintext = flags.allow_plaintext.or(file.server.allow_plaintext).unwrap_or(false);
        origins.note(
            "server.allow_plaintext",
            &allow_plaintext,
            by("OSTLER_ALLOW_PLAINTEXT", flags.allow_plaintext.is_some()),
            file.server.allow_plaintext.is_some(),
        );
        let (given, in_file) = (by("OSTLER_ALLOWED_HOSTS", !flags.allowed_hosts.is_empty()), file.server.allowed_hosts.is_some());
        let allowed_hosts =
            if flags.allowed_hosts.is_empty() { file.server.allowed_hosts.unwrap_or_default() } else { flags.allowed_hosts };

        origins.note("server.allowed_hosts", &allowed_hosts.join(", "), given, in_file);
        let bootstrap_key = env("OSTLER_BOOTSTRAP_API_KEY");
        if bootstrap_key.is_some() {
            origins.push("bootstrap key", &"(set)", "environment OSTLER_BOOTSTRAP_API_KEY".to_owned());
        }
        let metrics_token = env("OSTLER_METRICS_TOKEN").map(Secret::new);
        if let Some(token) = &metrics_token {
            if token.expose().len() < MIN_METRICS_TOKEN {
                anyhow::bail!("OSTLER_METRICS_TOKEN has fewer than {MIN_METRICS_TOKEN} characters; make one with: openssl rand -hex 32");
            }
            origins.push("metrics token", &"(set)", "environment OSTLER_METRICS_TOKEN".to_owned());
        }
        let (given, in_file) = (by("OSTLER_MODEL", flags.model.is_some()), file.model.default.is_some());
        let model = flags.model.or(file.model.default).unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        origins.note("model.default", &model, given, in_file);
        let max_output_tokens = file.model.max_output_tokens.unwrap_or(ostler_core::limits::MAX_OUTPUT_TOKENS);
        origins.note("model.max_output_tokens", &max_output_tokens, None, file.model.max_output_tokens.is_some());
        let providers = providers::read(file.providers, &env, &mut origins)?;
        let routes: BTreeMap<String, Vec<String>> = file.models.into_iter().map(|(id, route)| (id, route.targets)).collect();
        for (id, targets) in &routes {
            origins.note(&format!("models.{id:?}.targets"), &targets.join(", "), None, true);
        }
        for id in file.prices.keys() {
            origins.note(&format!("prices.{id:?}"), &"(set)", None, true);
        }
        let prices = providers::prices(file.prices)?;
        let mut sandbox = sandbox::read(&file.sandbox, &mut origins)?;
        sandbox.policy.most_egress = egress::most(&file.egress.most, &mut origins)?;
        let egress = egress::read(file.egress, &mut origins)?;
        let search = search::read(file.search, &env, &mut origins)?;
        let vault_key = vault::read(file.vault, &data_dir, &env, &mut origins)?;
        Ok(Self {
            data_dir,
            listen,
            allow_plaintext,
            allowed_hosts,
            model,
            max_output_tokens,
            providers,
            routes,
            prices,
            bootstrap_key,
            metrics_token,
            sandbox,
            vault_key,
            egress,
            search,
            log: common.log.clone(),
            shown: origins.shown,
        })
    }

    /// Refuses to listen where keys would cross a network readable, and presets that can be guessed.
    pub(crate) fn check_exposure(&self) -> anyhow::Result<()> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        if !self.allow_plaintext {
            anyhow::bail!(
                "listening on {} sends API keys unencrypted over the network: listen on 127.0.0.1 behind a proxy that adds TLS, or say --allow-plaintext",
                self.listen
            );
        }
        if self.bootstrap_key.as_ref().is_some_and(|key| key.chars().count() < 32) {
            anyhow::bail!(
                "OSTLER_BOOTSTRAP_API_KEY has fewer than 32 characters, which is only accepted on a loopback address; make one with: openssl rand -hex 32"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn settings(file: &str, env: &[(&str, &str)], flags: Flags) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ostler.toml");
        std::fs::write(&path, file).unwrap();
        let mut env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.insert("HOME".into(), "/home/u".into());
        let common = CommonArgs { config: Some(path), ..CommonArgs::default() };
        Settings::read(&common, flags, |name| env.get(name).cloned())
    }

    #[test]
    fn the_printed_default_file_is_valid_and_changes_nothing() {
        let bare = settings("", &[], Flags::default()).unwrap();
        let commented = settings(super::super::DEFAULT_TOML, &[], Flags::default()).unwrap();
        assert_eq!(bare.shown, commented.shown);
        // With every "#" removed from the settings it is still valid, but for the two answers to where the key is.
        let all: String = super::super::DEFAULT_TOML
            .lines()
            .filter(|line| !line.starts_with("# key_command"))
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') => format!("{rest}\n"),
                Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_')) => {
                    format!("{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let set = settings(&all, &[("LOCAL_API_KEY", "k"), ("SEARCH_API_KEY", "s")], Flags::default()).unwrap();
        let names: Vec<&str> = set.providers.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(names, ["anthropic", "local", "ollama", "openai"], "a provider is there once it has a key or an address");
        assert_eq!((set.routes.len(), set.prices.len()), (1, 1));
        assert_eq!(set.listen.to_string(), "127.0.0.1:8787");
        assert_eq!(set.data_dir, PathBuf::from("/var/lib/ostler"));
        assert_eq!(set.sandbox.uids, super::sandbox::DEFAULT_UIDS);
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = "data_dir = \"/file\"\n[providers.anthropic]\nbase_url = \"http://file\"\n[model]\ndefault = \"file\"\n";
        let set =
            settings(file, &[("ANTHROPIC_BASE_URL", "http://env")], Flags { model: Some("flag".into()), ..Flags::default() }).unwrap();
        assert_eq!((set.data_dir.to_str(), set.model.as_str()), (Some("/file"), "flag"));
        assert_eq!(set.providers[0].base_url, "http://env");
    }

    #[test]
    fn each_setting_shows_where_it_comes_from_and_no_secret() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[providers.openai]\napi_key = \"sk-file\"\n[prices.m]\ninput = 1\noutput = 1\n";
        let env = [("ANTHROPIC_API_KEY", "sk-env"), ("OSTLER_DATA_DIR", "/env"), ("OSTLER_BOOTSTRAP_API_KEY", "sk-boot")];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ostler.toml");
        std::fs::write(&path, file).unwrap();
        let common = CommonArgs { config: Some(path.clone()), data_dir: Some("/env".into()), ..CommonArgs::default() };
        let flags = Flags { model: Some("m".into()), ..Flags::default() };
        let set = Settings::read(&common, flags, |name| env.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned())).unwrap();
        let origin = |name: &str| set.shown.iter().find(|shown| shown.name == name).map(|shown| shown.origin.clone()).unwrap_or_default();
        let in_file = format!("file {}", path.display());
        assert_eq!(origin("data_dir"), "environment OSTLER_DATA_DIR");
        assert_eq!(origin("server.listen"), in_file);
        assert_eq!(origin("server.allow_plaintext"), "default");
        assert_eq!(origin("model.default"), "flag");
        assert_eq!(origin("providers.anthropic.api_key"), "environment ANTHROPIC_API_KEY");
        assert_eq!(origin("providers.anthropic.base_url"), "default");
        assert_eq!(origin("providers.openai.api_key"), in_file);
        assert_eq!(origin("prices.\"m\""), in_file);
        assert!(!format!("{:?}", set.shown).contains("sk-"));
    }

    #[test]
    fn a_flag_says_no_where_the_file_says_yes() {
        let file = "[server]\nallow_plaintext = true\n";
        let of = |allow_plaintext| settings(file, &[], Flags { allow_plaintext, ..Flags::default() }).unwrap().allow_plaintext;
        assert_eq!((of(None), of(Some(false)), of(Some(true))), (true, false, true));
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        let file = "[providers.a]\nkind = \"openai\"\nbase_url = \"https://user:sekret@gw/v1?token=tok\"\n";
        let shown = settings(file, &[], Flags::default()).unwrap().shown;
        let url = &shown.iter().find(|shown| shown.name == "providers.a.base_url").unwrap().value;
        assert_eq!(url, "https://[redacted]@gw/v1?[redacted]");
    }

    #[test]
    fn typos_are_refused() {
        assert!(settings("[server]\nlissten = \"x\"\n", &[], Flags::default()).is_err());
    }

    #[test]
    fn exposure_needs_a_word() {
        let open = |allow: bool, key: Option<&str>| {
            let mut set =
                settings("", &[], Flags { listen: Some("0.0.0.0:1".into()), allow_plaintext: Some(allow), ..Flags::default() }).unwrap();
            set.bootstrap_key = key.map(str::to_owned);
            set.check_exposure().is_ok()
        };
        assert!(!open(false, None));
        assert!(open(true, None));
        assert!(!open(true, Some("short")));
        assert!(open(true, Some(&"x".repeat(32))));
    }
}
