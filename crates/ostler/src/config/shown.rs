//! `ostler config show`: what the settings come to, and where each comes from.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::{Flags, Settings};
use crate::cli::{ConfigShowArgs, ServeArgs};
use crate::terminal;

/// One setting as people see it. Secrets are never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Its name in the file.
    pub(crate) name: String,
    /// What it is; `(set)` for a secret.
    pub(crate) value: String,
    /// `flag`, `environment VARIABLE`, `file PATH` or `default`.
    pub(crate) origin: String,
}

/// Collects settings as they are read.
#[derive(Debug)]
pub(super) struct Origins {
    file: String,
    pub(super) shown: Vec<Shown>,
}

impl Origins {
    /// `file` is the settings file that was read, if there is one.
    pub(super) fn new(file: Option<&std::path::Path>) -> Self {
        Self { file: file.map_or_else(|| "file".to_owned(), |path| format!("file {}", path.display())), shown: Vec::new() }
    }

    /// Notes a setting. `given` came by a flag or by its variable, which clap reads alike; the
    /// variable's value tells which.
    pub(super) fn note(&mut self, name: &str, value: &dyn std::fmt::Display, given: Option<(&str, Option<String>)>, in_file: bool) {
        let origin = match given {
            Some((variable, Some(_))) => format!("environment {variable}"),
            Some((_, None)) => "flag".to_owned(),
            None if in_file => self.file.clone(),
            None => "default".to_owned(),
        };
        self.push(name, value, origin);
    }

    /// Notes a setting that comes from a variable, the file, or nowhere.
    pub(super) fn push(&mut self, name: &str, value: &dyn std::fmt::Display, origin: String) {
        self.shown.push(Shown { name: name.to_owned(), value: value.to_string(), origin });
    }

    pub(super) fn file(&self) -> String {
        self.file.clone()
    }
}

/// `ostler config show`: one setting a line.
pub(crate) fn show(args: ConfigShowArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { common, listen, allow_plaintext, allowed_hosts } = args.serve;
    let flags = Flags { listen, allow_plaintext, allowed_hosts, model: args.model };
    let settings = Settings::read(&common, flags, |name| std::env::var(name).ok())?;
    let mut out = std::io::stdout().lock();
    if args.json {
        for shown in &settings.shown {
            writeln!(out, "{}", serde_json::to_string(shown)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let width = |part: fn(&Shown) -> &str| settings.shown.iter().map(|shown| part(shown).chars().count()).max().unwrap_or_default();
    let (names, values) = (width(|shown| &shown.name), width(|shown| &shown.value).min(60));
    for Shown { name, value, origin } in &settings.shown {
        writeln!(out, "{name:<names$}  {:<values$}  {origin}", terminal::neutral(value))?;
    }
    Ok(ExitCode::SUCCESS)
}
