//! The search engine behind `web_search`.

use anyhow::{Context, bail};
use ostler_egress::SearchEngine;
use ostler_runtime::web::Engine;
use zeroize::Zeroizing;

use super::file;
use super::providers::without_secrets;
use super::shown::Origins;

/// The variable of the key of the Brave Search API.
pub(super) const BRAVE_KEY: &str = "BRAVE_API_KEY";
const BRAVE_URL: &str = "https://api.search.brave.com";

/// The search engine, resolved.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) engine: Engine,
    /// What egress needs to know, if it is asked.
    pub(crate) for_egress: Option<SearchEngine>,
}

/// The environment counts more than the file.
pub(super) fn read(file: file::Search, env: &impl Fn(&str) -> Option<String>, origins: &mut Origins) -> anyhow::Result<Option<Search>> {
    let Some(provider) = file.provider else {
        if file.base_url.is_some() || file.api_key.is_some() || file.api_key_env.is_some() || !file.command.is_empty() {
            bail!("[search]: say provider = \"searxng\", \"brave\" or \"command\"");
        }
        return Ok(None);
    };
    let by_variable = match (&file.api_key_env, provider) {
        (Some(variable), _) => {
            // A key may stand here by mistake.
            let is_name = variable.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let shown = if is_name { variable } else { "[redacted]" };
            let key = env(variable)
                .with_context(|| format!("[search]: the variable {shown}, named by api_key_env to hold the key, is not set"))?;
            Some((key, format!("environment {variable}")))
        }
        (None, file::SearchProvider::Brave) => env(BRAVE_KEY).map(|key| (key, format!("environment {BRAVE_KEY}"))),
        (None, _) => None,
    };
    let key = by_variable.or_else(|| file.api_key.filter(|key| !key.is_empty()).map(|key| (key, origins.file())));
    origins.push("search.provider", &provider.name(), origins.file());
    if let Some((_, origin)) = &key {
        origins.push("search.api_key", &"(set)", origin.clone());
    }
    let key = key.map(|(key, _)| Zeroizing::new(key));
    if let Some(url) = &file.base_url {
        origins.push("search.base_url", &without_secrets(url), origins.file());
        check_url(url)?;
    }
    let at = |base: &str, path: &str| format!("{}{path}", base.trim_end_matches('/'));
    let (engine, for_egress) = match provider {
        file::SearchProvider::Searxng => {
            let base = file.base_url.context("[search]: say base_url, the address of the SearXNG instance")?;
            let key = key.map(|key| ("authorization".to_owned(), Zeroizing::new(format!("Bearer {}", *key))));
            (Engine::Searxng, Some(SearchEngine { url: at(&base, "/search"), key }))
        }
        file::SearchProvider::Brave => {
            let key = key.with_context(|| format!("[search]: the Brave Search API needs a key; set {BRAVE_KEY}, or api_key"))?;
            let base = file.base_url.as_deref().unwrap_or(BRAVE_URL);
            let key = Some(("x-subscription-token".to_owned(), key));
            (Engine::Brave, Some(SearchEngine { url: at(base, "/res/v1/web/search"), key }))
        }
        file::SearchProvider::Command => {
            if file.command.first().is_none_or(String::is_empty) {
                bail!("[search]: say command, a list of a program and its arguments");
            }
            origins.push("search.command", &file.command.join(" "), origins.file());
            (Engine::Command(file.command), None)
        }
    };
    Ok(Some(Search { engine, for_egress }))
}

fn check_url(url: &str) -> anyhow::Result<()> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    if !is_web || url.contains(['@', '?', '#']) {
        bail!("[search]: base_url is an http or https address without a password, a query or a fragment");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(toml: &str, env: &[(&str, &str)]) -> anyhow::Result<Option<Search>> {
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        read(toml::from_str(toml).unwrap(), &env, &mut Origins::new(None))
    }

    fn words(toml: &str, env: &[(&str, &str)]) -> String {
        match found(toml, env) {
            Ok(None) => "none".into(),
            Ok(Some(search)) => match search.for_egress {
                Some(SearchEngine { url, key }) => {
                    format!("{:?} {url} {}", search.engine, key.map(|(name, key)| format!("{name}: {}", *key)).unwrap_or_default())
                }
                None => format!("{:?}", search.engine),
            },
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_engine_is_configured_by_its_name() {
        let brave = [("BRAVE_API_KEY", "b")];
        for (file, env, expected) in [
            ("", &brave[..], "none"),
            ("provider = \"searxng\"\nbase_url = \"http://10.0.0.1:8080/\"", &[], "Searxng http://10.0.0.1:8080/search "),
            ("provider = \"searxng\"\nbase_url = \"http://s\"\napi_key = \"k\"", &brave, "Searxng http://s/search authorization: Bearer k"),
            ("provider = \"brave\"", &brave, "Brave https://api.search.brave.com/res/v1/web/search x-subscription-token: b"),
            (
                "provider = \"brave\"\napi_key = \"f\"\nbase_url = \"http://l\"",
                &[],
                "Brave http://l/res/v1/web/search x-subscription-token: f",
            ),
            (
                "provider = \"brave\"\napi_key_env = \"K\"",
                &[("K", "k")],
                "Brave https://api.search.brave.com/res/v1/web/search x-subscription-token: k",
            ),
            ("provider = \"command\"\ncommand = [\"/s\", \"-x\"]", &[], "Command([\"/s\", \"-x\"])"),
        ] {
            assert_eq!(words(file, env), expected, "{file}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (file, word) in [
            ("provider = \"searxng\"", "base_url"),
            ("provider = \"brave\"", "BRAVE_API_KEY"),
            ("provider = \"command\"", "command"),
            ("base_url = \"http://s\"", "provider"),
            ("provider = \"searxng\"\nbase_url = \"http://user:pass@s\"", "without a password"),
            ("provider = \"brave\"\napi_key_env = \"K\"", "variable K"),
            ("provider = \"brave\"\napi_key_env = \"sk-secret\"", "[redacted]"),
        ] {
            assert!(words(file, &[]).contains(word), "{file}: {}", words(file, &[]));
        }
    }

    #[test]
    fn the_key_is_never_printed() {
        let file: file::Search = toml::from_str("provider = \"brave\"\napi_key = \"sk-hidden\"").unwrap();
        assert!(!format!("{file:?}").contains("hidden"));
        let search = found("provider = \"brave\"\napi_key = \"sk-hidden\"", &[]).unwrap().unwrap();
        assert!(!format!("{search:?}").contains("hidden"));
    }
}
