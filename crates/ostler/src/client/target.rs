//! Which server is asked, and with which key.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::error::Usage;
use crate::bootstrap;
use crate::cli::ServerArgs;
use crate::config::{Flags, Settings};
use crate::limits;

/// How to reach a server and as whom; kept in the data directory with 0600.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    /// `http://host:port`.
    pub(crate) url: String,
    /// The API key.
    pub(crate) key: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("url", &self.url).field("key", &"***").finish()
    }
}

/// Reads how to reach the server that holds this data directory.
fn read_access(file: &Path) -> anyhow::Result<Access> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
}

/// A server as one caller reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(super) access: Access,
    /// Where the key was found, for messages: "in OSTLER_API_KEY".
    pub(super) key_from: String,
    /// The file that says where the server is, if one does.
    file: Option<PathBuf>,
}

impl Target {
    /// The server that this process runs itself.
    pub(crate) fn own(access: Access) -> Self {
        Self { access, key_from: "of this process".to_owned(), file: None }
    }

    /// The server that holds a data directory. Reads only; nothing is made or started.
    pub(crate) fn of_data_dir(data_dir: &Path) -> anyhow::Result<Self> {
        let file = bootstrap::access_file(data_dir);
        let key_from = format!("kept in {}", data_dir.display());
        Ok(Self { access: read_access(&file)?, key_from, file: Some(file) })
    }

    /// The server that the arguments and the environment name; `env` looks a variable up.
    pub(crate) fn find(args: &ServerArgs, env: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let key = key(args.api_key_file.as_deref(), env("OSTLER_API_KEY"))?;
        let data_dir = || Settings::read(&args.common, Flags::default(), &env).map(|settings| settings.data_dir);
        if let Some(url) = args.url.as_deref().filter(|url| !url.is_empty()) {
            let url = server_url(url)?.as_str().trim_end_matches('/').to_owned();
            if let Some((key, key_from)) = key {
                return Ok(Self { access: Access { url, key }, key_from, file: None });
            }
            // The key in the data directory is for the server there and for no other.
            let own = data_dir().and_then(|dir| Self::of_data_dir(&dir)).ok().filter(|own| own.access.url.trim_end_matches('/') == url);
            return own
                .map(|own| Self { file: None, ..own })
                .ok_or_else(|| Usage(format!("no API key for {url}: set OSTLER_API_KEY, or give --api-key-file FILE")).into());
        }
        let data_dir = data_dir().map_err(|error| Usage(format!("{error:#}")))?;
        let file = bootstrap::access_file(&data_dir);
        if matches!(file.try_exists(), Ok(false)) {
            anyhow::bail!(
                "no server holds the data directory {}: start one with `ostler serve`, \
                 or name one with --url (or OSTLER_URL) and its key in OSTLER_API_KEY",
                data_dir.display()
            );
        }
        let mut target = Self::of_data_dir(&data_dir)?;
        if let Some((key, key_from)) = key {
            (target.access.key, target.key_from) = (key, key_from);
        }
        Ok(target)
    }

    /// The same, looked up again, where a file says where the server is.
    pub(super) fn again(&self) -> Option<Self> {
        let access = read_access(self.file.as_deref()?).ok()?;
        let key = if self.key_from.starts_with("kept in") { access.key } else { self.access.key.clone() };
        Some(Self { access: Access { url: access.url, key }, ..self.clone() })
    }

    pub(super) fn server(&self) -> anyhow::Result<Url> {
        server_url(&self.access.url)
    }
}

fn server_url(text: &str) -> anyhow::Result<Url> {
    let refused = |why: &str| {
        Usage(format!("{text:?} is no address of a server ({why}); say, for example, http://127.0.0.1:8787 (--url or OSTLER_URL)"))
    };
    let url: Url = text.parse().map_err(|error| refused(&format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("it must begin with http:// or https://").into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        // The text may hold a secret, so it is not repeated.
        return Err(Usage(
            "--url (or OSTLER_URL) must name a server and perhaps a path, without user, password, query or fragment".to_owned(),
        )
        .into());
    }
    Ok(url)
}

/// Whether the server is on this machine, where no proxy is wanted.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The key and where it was found. The flag wins over the environment.
fn key(file: Option<&Path>, variable: Option<String>) -> anyhow::Result<Option<(String, String)>> {
    let (text, from) = match (file, variable) {
        (Some(file), _) => {
            let mut text = String::new();
            let opened = std::fs::File::open(file).and_then(|opened| opened.take(limits::KEY_FILE_BYTES).read_to_string(&mut text));
            opened.map_err(|error| Usage(format!("--api-key-file {}: {error}", file.display())))?;
            (text, format!("in {}", file.display()))
        }
        (None, Some(text)) if !text.is_empty() => (text, "in OSTLER_API_KEY".to_owned()),
        _ => return Ok(None),
    };
    let text = text.trim();
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Usage(format!("what is {from} is no API key: it must be one word of plain characters")).into());
    }
    Ok(Some((text.to_owned(), from)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CommonArgs;

    fn find(url: Option<&str>, dir: &Path, env_key: Option<&str>) -> Result<Target, String> {
        let common = CommonArgs { data_dir: Some(dir.to_owned()), ..CommonArgs::default() };
        let args = ServerArgs { url: url.map(str::to_owned), common, ..ServerArgs::default() };
        let env = |name: &str| (name == "OSTLER_API_KEY").then(|| env_key.map(str::to_owned)).flatten();
        Target::find(&args, env).map_err(|error| error.to_string())
    }

    #[test]
    fn the_kept_key_goes_to_no_server_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.json"), r#"{"url":"http://127.0.0.1:9","key":"kept"}"#).unwrap();
        assert_eq!(find(None, dir.path(), None).unwrap().access.key, "kept");
        assert_eq!(find(Some("http://127.0.0.1:9/"), dir.path(), None).unwrap().access.key, "kept");
        let refused = find(Some("http://127.0.0.1:8"), dir.path(), None).unwrap_err();
        assert!(refused.contains("OSTLER_API_KEY") && refused.contains("--api-key-file"), "{refused}");
        let given = find(Some("http://127.0.0.1:8"), dir.path(), Some("mine")).unwrap();
        assert_eq!((given.access.url.as_str(), given.access.key.as_str()), ("http://127.0.0.1:8", "mine"));
        assert_eq!(find(None, dir.path(), Some("mine")).unwrap().access.key, "mine");
    }

    #[test]
    fn without_any_server_the_error_says_how_to_get_one_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let told = find(None, &data, None).unwrap_err();
        assert!(told.contains("ostler serve") && told.contains("--url"), "{told}");
        assert!(!data.exists());
    }

    #[test]
    fn an_address_is_checked_and_a_secret_in_it_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["127.0.0.1:8787", "localhost:8787", "ftp://h", "http://"] {
            assert!(find(Some(url), dir.path(), Some("k")).unwrap_err().contains("http://127.0.0.1:8787"), "{url}");
        }
        assert!(!find(Some("http://u:secret@h"), dir.path(), Some("k")).unwrap_err().contains("secret"));
        assert!(!find(Some("http://h"), dir.path(), Some("two words")).unwrap_err().contains("two"));
    }
}
