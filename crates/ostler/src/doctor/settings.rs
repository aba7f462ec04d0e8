//! The settings as the server would read them: the file, whether what it says can be used, who
//! could reach the server, and keys that look wrong. Keys are looked at and never kept.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_models::{Catalog, CatalogProvider, Prices};

use super::report::{Finding, quote};
use super::{keys, read};
use crate::cli::ServeArgs;
use crate::config::{Flags, Provider, Secret, Settings, usual_file};

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The file that is read, if there is one.
    pub(super) file: Option<SettingsFile>,
    /// Why the settings cannot be used.
    pub(super) refused: Option<String>,
    /// Why the server would not listen where it is told to.
    pub(super) exposure: Option<String>,
    /// Whether it would listen beyond this machine.
    pub(super) is_open: bool,
    pub(super) keys: Vec<keys::Key>,
}

/// The settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SettingsFile {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    pub(super) mode: u32,
    pub(super) holds_key: bool,
}

/// Reads them; the settings are there when they can be used.
pub(super) fn look(args: &ServeArgs) -> (Seen, Option<Settings>) {
    let env = |name: &str| std::env::var(name).ok();
    let ServeArgs { common, listen, allow_plaintext, allowed_hosts } = args;
    let path = common.config.clone().or_else(|| usual_file(env));
    let file = path.as_deref().and_then(settings_file);
    let flags =
        Flags { listen: listen.clone(), allow_plaintext: *allow_plaintext, allowed_hosts: allowed_hosts.clone(), ..Flags::default() };
    let read = Settings::read(common, flags, env);
    let mut seen = Seen { file, refused: None, exposure: None, is_open: false, keys: Vec::new() };
    match read {
        Err(error) => {
            seen.refused = Some(without_values(&error, &path.as_deref().and_then(read::text).unwrap_or_default()));
            (seen, None)
        }
        Ok(settings) => {
            seen.refused = catalog(&settings).err();
            seen.exposure = settings.check_exposure().err().map(|error| error.to_string());
            seen.is_open = !settings.listen.ip().is_loopback();
            seen.keys = settings.providers.iter().map(|provider| keys::look(provider, unusable(provider))).collect();
            (seen, Some(settings))
        }
    }
}

fn settings_file(path: &Path) -> Option<SettingsFile> {
    let found = std::fs::metadata(path).ok()?;
    let holds_key = read::text(path).is_some_and(|text| holds_key(&text));
    Some(SettingsFile { path: path.to_owned(), owner: found.uid(), mode: found.mode() & 0o7777, holds_key })
}

/// The sections of a settings file that may have an `api_key`.
fn with_keys(table: &toml::Table) -> impl Iterator<Item = &toml::Value> {
    let providers = table.get("providers").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    providers.chain(table.get("search"))
}

/// Whether a settings file has a key in it.
fn holds_key(text: &str) -> bool {
    let Ok(table) = text.parse::<toml::Table>() else { return text.contains("api_key") };
    let has_key = |section: &toml::Value| section.get("api_key").and_then(toml::Value::as_str).is_some_and(|key| !key.is_empty());
    with_keys(&table).any(has_key)
}

/// The error without what of the file may be a key: the line that the parser shows, and whatever
/// stands where keys do.
fn without_values(error: &anyhow::Error, text: &str) -> String {
    possible_keys(text).into_iter().fold(format!("{error:#}"), |said, key| Secret::new(key).scrub(&said))
}

/// The keys in a settings file, and what was written in the place of a variable's name and is none.
fn possible_keys(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let values = with_keys(&table).flat_map(|provider| {
        let value = |name: &str| provider.get(name).and_then(toml::Value::as_str);
        let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        [value("api_key"), value("api_key_env").filter(|text| !is_name(text))]
    });
    let command = table.get("vault").and_then(|vault| vault.get("key_command")).and_then(toml::Value::as_str);
    values.flatten().chain(command).map(str::to_owned).collect()
}

/// Why egress could not ask a provider.
fn unusable(provider: &Provider) -> Option<String> {
    ostler_egress::provider::check(&[provider.for_egress()]).err().map(|error| error.to_string())
}

fn catalog(settings: &Settings) -> Result<(), String> {
    if settings.providers.is_empty() {
        return Ok(());
    }
    let known = |provider: &Provider| CatalogProvider { name: provider.name.clone(), kind: provider.kind, models: provider.models.clone() };
    let known = settings.providers.iter().map(known).collect();
    Catalog::new(known, settings.routes.clone(), Prices::new(settings.prices.clone())).map(drop)
}

impl Seen {
    pub(super) fn judge(&self) -> Vec<Finding> {
        let mut findings = vec![self.file(), self.exposure()];
        findings.extend(self.keys.iter().map(keys::Key::judge));
        findings
    }

    fn file(&self) -> Finding {
        const NAME: &str = "settings";
        let source = match &self.file {
            Some(file) => format!("{} and the environment", quote(&file.path.display().to_string())),
            None => "no settings file; defaults and the environment".to_owned(),
        };
        match &self.refused {
            None => Finding::ok(NAME, source),
            Some(error) => Finding::problem(
                NAME,
                format!("{source}: {}", quote(error)),
                "correct it; `ostler config default` prints every setting with its meaning",
            ),
        }
    }

    fn exposure(&self) -> Finding {
        const NAME: &str = "exposure";
        if let Some(error) = &self.exposure {
            let (found, remedy) = error.split_once("; ").or_else(|| error.split_once(": ")).unwrap_or((error, "listen on 127.0.0.1"));
            return Finding::problem(NAME, quote(found), quote(remedy));
        }
        if self.is_open {
            return Finding::note(
                NAME,
                "listens beyond this machine without TLS: API keys cross the network readable",
                "put a proxy in front that adds TLS, and keep the port itself closed to others",
            );
        }
        if self.refused.is_some() {
            return Finding::aside(NAME, "not judged, because the settings cannot be used");
        }
        Finding::ok(NAME, "only this machine can connect")
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> Seen {
        Seen { file: None, refused: None, exposure: None, is_open: false, keys: Vec::new() }
    }

    #[test]
    fn good_settings_have_nothing_to_be_said_of() {
        assert!(good().judge().iter().all(|finding| finding.status == Status::Ok));
        let file = SettingsFile { path: "/o.toml".into(), owner: 0, mode: 0o600, holds_key: false };
        assert_finding(&Seen { file: Some(file), ..good() }.judge(), "settings", Status::Ok, "/o.toml", "");
    }

    #[test]
    fn settings_that_are_refused_are_a_problem() {
        let seen = Seen { refused: Some("line 3: unknown field `lissten`".into()), ..good() };
        assert_finding(&seen.judge(), "settings", Status::Problem, "lissten", "ostler config default");
        assert_finding(&seen.judge(), "exposure", Status::Note, "not judged", "");
    }

    #[test]
    fn a_server_that_strangers_reach_is_told_of() {
        let refused = Seen { exposure: Some("listening on 0.0.0.0:1 sends keys: say --allow-plaintext".into()), is_open: true, ..good() };
        assert_finding(&refused.judge(), "exposure", Status::Problem, "sends keys", "--allow-plaintext");
        let guessable = Seen { exposure: Some("it has fewer than 32 characters; make one with: openssl".into()), is_open: true, ..good() };
        assert_finding(&guessable.judge(), "exposure", Status::Problem, "32 characters", "make one with: openssl");
        assert_finding(&Seen { is_open: true, ..good() }.judge(), "exposure", Status::Note, "beyond this machine", "TLS");
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn refused(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.toml");
        std::fs::write(&path, text).unwrap();
        let words = ["ostler", "--config", path.to_str().unwrap(), "--data-dir", dir.path().to_str().unwrap()];
        look(&<Line as clap::Parser>::parse_from(words).serve).0.refused.unwrap()
    }

    #[test]
    fn a_broken_file_is_told_of_by_its_line_and_not_by_its_content() {
        for broken in [
            "[providers.openai]\napi_key = \"sk-secret\n",
            "[providers.openai]\napi_key = [\"sk-secret\"]\n",
            "\n[providers.openai.api_key]\nsk-secret = 1\n x",
        ] {
            let refused = refused(broken);
            assert!(refused.contains(": line ") && !refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn a_key_in_the_place_of_a_variables_name_is_not_repeated() {
        let refused_key = refused("[providers.openai]\napi_key_env = \"sk-secret\"\n");
        assert!(refused_key.contains("the variable [redacted]"), "{refused_key}");
        let refused_name = refused("[providers.openai]\napi_key_env = \"NO_SUCH_KEY\"\n");
        assert!(refused_name.contains("the variable NO_SUCH_KEY"), "{refused_name}");
    }

    #[test]
    fn a_file_with_a_key_is_known_as_one() {
        for (text, holds) in [
            ("[providers.a]\napi_key = \"k\"\n", true),
            ("providers = { a = { api_key = \"k\" } }\n", true),
            ("[providers.a]\napi_key = \"k\nbroken", true),
            ("[search]\nprovider = \"brave\"\napi_key = \"k\"\n", true),
            ("[providers.a]\napi_key = \"\"\napi_key_env = \"K\"\n", false),
            ("[server]\nlisten = \"127.0.0.1:1\"\n", false),
        ] {
            assert_eq!(holds_key(text), holds, "{text}");
        }
    }
}
