//! The shape of `ostler.toml`. Unknown settings are refused, because they are usually typos.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ostler_sandbox::IsolationFloor;
use serde::Deserialize;

/// What the file says; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) server: Server,
    pub(super) model: Model,
    pub(super) providers: BTreeMap<String, Provider>,
    pub(super) models: BTreeMap<String, Route>,
    pub(super) prices: BTreeMap<String, Price>,
    pub(super) sandbox: Sandbox,
    pub(super) vault: Vault,
    pub(super) egress: Egress,
    pub(super) search: Search,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: Option<String>,
    pub(super) allow_plaintext: Option<bool>,
    pub(super) allowed_hosts: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Model {
    pub(super) default: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
}

/// One of `[providers.NAME]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Provider {
    pub(super) kind: Option<Kind>,
    pub(super) base_url: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) api_key_env: Option<String>,
    pub(super) models: Vec<String>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Anthropic,
    OpenAi,
}

/// One of `[models."ID"]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    pub(super) targets: Vec<String>,
}

/// One of `[prices."ID"]`: US dollars per million tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    pub(super) input: f64,
    pub(super) output: f64,
    pub(super) cache_read: Option<f64>,
    pub(super) cache_write: Option<f64>,
    pub(super) cache_write_1h: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sandbox {
    pub(super) uid_first: Option<u32>,
    pub(super) uid_count: Option<u32>,
    pub(super) memory_mib: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) cpu_percent: Option<u64>,
    pub(super) disk_mib: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) idle_seconds: Option<u64>,
    pub(super) spares: Option<u32>,
    pub(super) orphan_seconds: Option<u64>,
    pub(super) isolation: Option<IsolationFloor>,
    pub(super) hard_limits: Option<bool>,
    pub(super) most: Most,
    pub(super) oci: Oci,
}

/// The way out of sandboxes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Egress {
    pub(super) resolve: BTreeMap<String, String>,
    pub(super) allow_private: Vec<String>,
    pub(super) extra_ca: Vec<PathBuf>,
    pub(super) user: Option<User>,
    pub(super) most: MostEgress,
}

/// As whom egress runs: an id, or `"server"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum User {
    Id(u32),
    Word(String),
}

/// The search engine of `web_search`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    pub(super) provider: Option<SearchProvider>,
    pub(super) base_url: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) api_key_env: Option<String>,
    pub(super) command: Vec<String>,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search")
            .field("provider", &self.provider)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// A kind of search engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SearchProvider {
    Searxng,
    Brave,
    Command,
}

impl SearchProvider {
    /// As the file says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Searxng => "searxng",
            Self::Brave => "brave",
            Self::Command => "command",
        }
    }
}

/// The most that a sandbox may move.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MostEgress {
    pub(super) connections: Option<u64>,
    pub(super) transfer_mib: Option<u64>,
    pub(super) rate_kib: Option<u64>,
}

/// Where the key of vaults comes from.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Vault {
    pub(super) key_file: Option<PathBuf>,
    pub(super) key_command: Option<String>,
}

/// A container engine for sandboxes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Oci {
    pub(super) socket: Option<PathBuf>,
    pub(super) runtime: Option<String>,
    pub(super) isolation: Option<IsolationFloor>,
    pub(super) for_all: Option<bool>,
}

/// The most that an environment may ask.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Most {
    pub(super) memory_mib: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) cpu_percent: Option<u64>,
    pub(super) disk_mib: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) output_kib: Option<u64>,
    pub(super) command_seconds: Option<u64>,
    pub(super) life_seconds: Option<u64>,
}

/// The file that is read when none is named.
pub(crate) fn usual(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let env = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = env("XDG_CONFIG_HOME").or_else(|| env("HOME").map(|home| home.join(".config")))?;
    Some(dir.join("ostler/ostler.toml"))
}

/// The text of the named file, which must exist, or of the usual one, if it does.
pub(super) fn text(named: Option<&Path>, usual: Option<&Path>) -> anyhow::Result<Option<String>> {
    let path = match (named, usual) {
        (Some(path), _) => path,
        (None, Some(path)) if path.exists() => path,
        _ => return Ok(None),
    };
    std::fs::read_to_string(path).map(Some).with_context(|| format!("reading {}", path.display()))
}

/// What a file says.
pub(super) fn parse(path: &Path, text: &str) -> anyhow::Result<File> {
    // The parser's own text repeats the line, which may hold a key.
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1);
        anyhow::anyhow!(
            "{} is not a valid settings file; `ostler config default` prints one: line {line}: {}",
            path.display(),
            without_value(error.message())
        )
    })
}

/// A message of the parser without the value that it complains of.
fn without_value(message: &str) -> String {
    let about_value =
        ["invalid type", "invalid value", "invalid length", "unknown variant"].into_iter().find(|start| message.starts_with(start));
    match about_value {
        Some(what) => message.rfind(", expected").map_or(what.to_owned(), |at| format!("{what}{}", message.get(at..).unwrap_or_default())),
        None => message.lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_says_comes_without_values() {
        let table = [
            ("invalid type: string \"sk-secret, expected\", expected u32", "invalid type, expected u32"),
            ("invalid value: integer `7`", "invalid value"),
            ("unknown variant `sk-secret`, expected `anthropic` or `openai`", "unknown variant, expected `anthropic` or `openai`"),
            ("unknown field `lissten`, expected `listen`", "unknown field `lissten`, expected `listen`"),
        ];
        for (said, told) in table {
            assert_eq!(without_value(said), told);
        }
    }
}
