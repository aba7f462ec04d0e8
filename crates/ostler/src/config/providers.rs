//! Model providers: those that everybody knows, by the variables of their own SDKs, and any other.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use ostler_core::cost::Price;
use ostler_egress::provider::ProviderConfig;
use ostler_models::ProviderKind;

use super::file::{self, Kind};
use super::secret::Secret;
use super::shown::Origins;

/// A provider, resolved.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) name: String,
    pub(crate) kind: ProviderKind,
    pub(crate) base_url: String,
    pub(crate) key: Secret,
    pub(crate) models: Vec<String>,
}

impl Provider {
    /// What egress is told of it.
    pub(crate) fn for_egress(&self) -> ProviderConfig {
        ProviderConfig {
            name: self.name.clone(),
            base_url: self.base_url.clone(),
            kind: self.kind,
            key: self.key.expose().to_owned().into(),
        }
    }
}

/// A provider that needs no more than a key, or no more than an address.
struct Known {
    name: &'static str,
    kind: Kind,
    base_url: &'static str,
    key_env: Option<&'static str>,
    url_env: Option<&'static str>,
}

const KNOWN: [Known; 4] = [
    Known {
        name: "anthropic",
        kind: Kind::Anthropic,
        base_url: "https://api.anthropic.com",
        key_env: Some("ANTHROPIC_API_KEY"),
        url_env: Some("ANTHROPIC_BASE_URL"),
    },
    Known {
        name: "openai",
        kind: Kind::OpenAi,
        base_url: "https://api.openai.com/v1",
        key_env: Some("OPENAI_API_KEY"),
        url_env: Some("OPENAI_BASE_URL"),
    },
    Known {
        name: "openrouter",
        kind: Kind::OpenAi,
        base_url: "https://openrouter.ai/api/v1",
        key_env: Some("OPENROUTER_API_KEY"),
        url_env: None,
    },
    Known { name: "ollama", kind: Kind::OpenAi, base_url: "http://127.0.0.1:11434", key_env: None, url_env: Some("OLLAMA_HOST") },
];

/// The variables of the known providers: those that hold keys, and those that hold addresses.
pub(super) fn variables() -> (impl Iterator<Item = &'static str>, impl Iterator<Item = &'static str>) {
    (KNOWN.iter().filter_map(|known| known.key_env), KNOWN.iter().filter_map(|known| known.url_env))
}

/// The providers of the file and of the environment, by name. The environment counts more.
pub(super) fn read(
    mut file: BTreeMap<String, file::Provider>,
    env: &impl Fn(&str) -> Option<String>,
    origins: &mut Origins,
) -> anyhow::Result<Vec<Provider>> {
    let mut found = Vec::new();
    for known in &KNOWN {
        let said = file.remove(known.name).unwrap_or_default();
        let (key, key_origin) = key(known.name, &said, known.key_env, env, origins)?;
        let by_env = known.url_env.filter(|variable| env(variable).is_some());
        let base_url = known.url_env.and_then(env).map(|url| address(known.name, &url)).or_else(|| said.base_url.clone());
        // A known provider is there when it has a key or an address of its own.
        if key.is_none() && base_url.is_none() {
            continue;
        }
        let url_origin = match by_env {
            Some(variable) => format!("environment {variable}"),
            None if said.base_url.is_some() => origins.file(),
            None => "default".to_owned(),
        };
        let base_url = base_url.unwrap_or_else(|| known.base_url.to_owned());
        note(origins, known.name, (&base_url, url_origin), (key.is_some(), key_origin), &said.models);
        found.push(Provider {
            name: known.name.to_owned(),
            kind: kind(said.kind.unwrap_or(known.kind)),
            base_url,
            key: Secret::new(key.unwrap_or_default()),
            models: said.models,
        });
    }
    for (name, said) in file {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            bail!("[providers.{name:?}]: a provider's name has only letters, digits, \"-\", \"_\" and \".\"");
        }
        let (key, key_origin) = key(&name, &said, None, env, origins)?;
        let dialect = said
            .kind
            .with_context(|| format!("[providers.{name}]: say kind = \"openai\" or kind = \"anthropic\", the dialect that it speaks"))?;
        let base_url = said.base_url.with_context(|| format!("[providers.{name}]: say base_url, the address of the endpoint"))?;
        note(origins, &name, (&base_url, origins.file()), (key.is_some(), key_origin), &said.models);
        found.push(Provider { name, kind: kind(dialect), base_url, key: Secret::new(key.unwrap_or_default()), models: said.models });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn kind(kind: Kind) -> ProviderKind {
    match kind {
        Kind::Anthropic => ProviderKind::Anthropic,
        Kind::OpenAi => ProviderKind::OpenAi,
    }
}

fn note(origins: &mut Origins, name: &str, url: (&str, String), key: (bool, String), models: &[String]) {
    origins.push(&format!("providers.{name}.base_url"), &without_secrets(url.0), url.1);
    origins.push(&format!("providers.{name}.api_key"), &if key.0 { "(set)" } else { "(none)" }, key.1);
    if !models.is_empty() {
        origins.push(&format!("providers.{name}.models"), &models.join(", "), origins.file());
    }
}

/// The address without what may be secret in it; such an address is refused where it is used.
pub(super) fn without_secrets(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let marked = |rest: &str| rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("[redacted]@{host}"));
    let shown = match plain.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", marked(rest)),
        None => marked(plain),
    };
    if plain.len() < url.len() { format!("{shown}?[redacted]") } else { shown }
}

/// The key, and where it comes from.
fn key(
    name: &str,
    said: &file::Provider,
    known: Option<&str>,
    env: &impl Fn(&str) -> Option<String>,
    origins: &Origins,
) -> anyhow::Result<(Option<String>, String)> {
    if let Some(variable) = &said.api_key_env {
        // A key may stand here by mistake.
        let is_name = variable.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let shown = if is_name { variable } else { "[redacted]" };
        let missing = || format!("[providers.{name}]: the variable {shown}, named by api_key_env to hold its key, is not set");
        return Ok((Some(env(variable).with_context(missing)?), format!("environment {variable}")));
    }
    if let Some((variable, key)) = known.and_then(|variable| Some((variable, env(variable)?))) {
        return Ok((Some(key), format!("environment {variable}")));
    }
    Ok(match said.api_key.clone().filter(|key| !key.is_empty()) {
        Some(key) => (Some(key), origins.file()),
        None => (None, "default".to_owned()),
    })
}

/// `OLLAMA_HOST` may be no more than a host and port, and may name every address of the machine.
fn address(name: &str, said: &str) -> String {
    if name != "ollama" {
        return said.to_owned();
    }
    let with_scheme = if said.contains("://") { said.to_owned() } else { format!("http://{said}") };
    let with_host = with_scheme.replacen("//0.0.0.0", "//127.0.0.1", 1);
    let rest = with_host.split_once("://").map_or("", |(_, rest)| rest);
    if rest.contains(':') || with_host.starts_with("https") { with_host } else { format!("{}:11434", with_host.trim_end_matches('/')) }
}

/// Prices in US dollars per million tokens.
pub(super) fn prices(file: BTreeMap<String, file::Price>) -> anyhow::Result<BTreeMap<String, Price>> {
    file.into_iter()
        .map(|(id, said)| {
            let write = said.cache_write.unwrap_or(said.input);
            let dollars = [said.input, said.output, said.cache_read.unwrap_or(said.input), write, said.cache_write_1h.unwrap_or(write)];
            if dollars.iter().any(|dollars| !dollars.is_finite() || *dollars < 0.0 || *dollars > 1_000_000.0) {
                bail!("[prices.{id:?}]: prices are US dollars per million tokens, between 0 and 1000000");
            }
            Ok((id, ostler_models::prices::price(dollars)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(toml: &str, env: &[(&str, &str)]) -> anyhow::Result<Vec<Provider>> {
        let file: BTreeMap<String, file::Provider> = toml::from_str(toml).unwrap();
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(file, &env, &mut Origins::new(None))
    }

    fn words(toml: &str, env: &[(&str, &str)]) -> String {
        let found = found(toml, env).unwrap();
        found.iter().map(|p| format!("{}={}={:?}={}", p.name, p.base_url, p.kind, p.key.expose())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_variables_of_the_sdks_are_enough() {
        assert_eq!(words("", &[]), "");
        assert_eq!(words("", &[("ANTHROPIC_API_KEY", "a")]), "anthropic=https://api.anthropic.com=Anthropic=a");
        assert_eq!(words("", &[("OPENAI_BASE_URL", "http://x/v1")]), "openai=http://x/v1=OpenAi=");
        assert_eq!(words("", &[("OPENROUTER_API_KEY", "o")]), "openrouter=https://openrouter.ai/api/v1=OpenAi=o");
        for host in ["0.0.0.0:11434", "127.0.0.1", "http://127.0.0.1:11434"] {
            assert_eq!(words("", &[("OLLAMA_HOST", host)]), "ollama=http://127.0.0.1:11434=OpenAi=", "{host}");
        }
    }

    #[test]
    fn the_environment_counts_more_than_the_file() {
        let file = "[openai]\nbase_url = \"http://file\"\napi_key = \"f\"\n";
        assert_eq!(words(file, &[]), "openai=http://file=OpenAi=f");
        assert_eq!(words(file, &[("OPENAI_API_KEY", "e")]), "openai=http://file=OpenAi=e");
    }

    #[test]
    fn another_provider_says_what_it_speaks_and_where() {
        let file = "[local]\nkind = \"openai\"\nbase_url = \"http://l\"\napi_key_env = \"K\"\n";
        assert_eq!(words(file, &[("K", "secret")]), "local=http://l=OpenAi=secret");
        assert!(found(file, &[]).unwrap_err().to_string().contains("the variable K"));
        for (wrong, word) in [("[l]\nbase_url = \"http://l\"", "kind"), ("[l]\nkind = \"openai\"", "base_url"), ("[\"a/b\"]", "letters")] {
            assert!(found(wrong, &[]).unwrap_err().to_string().contains(word), "{wrong}");
        }
    }

    #[test]
    fn keys_are_never_printed() {
        let file = "[openai]\napi_key = \"sk-hidden\"\n";
        let parsed: BTreeMap<String, file::Provider> = toml::from_str(file).unwrap();
        assert!(!format!("{parsed:?} {:?}", found(file, &[]).unwrap()).contains("hidden"));
    }

    #[test]
    fn prices_are_dollars_per_million() {
        let read = |toml: &str| prices(toml::from_str(toml).unwrap());
        let price = read("[m]\ninput = 0.2\noutput = 0.6\n").unwrap()["m"];
        assert_eq!((price.input, price.output, price.cache_read, price.cache_write_1h), (200_000, 600_000, 200_000, 200_000));
        assert!(read("[m]\ninput = -1\noutput = 0\n").is_err());
    }
}
