//! Settings: what the file says, what the environment says, what the flags say, and what that
//! comes to. Read once and passed by value.

mod egress;
mod file;
mod keyless;
mod providers;
mod sandbox;
mod search;
mod secret;
mod settings;
mod shown;
mod vault;

use std::io::Write;
use std::process::ExitCode;

pub(crate) use file::usual as usual_file;
pub(crate) use keyless::{environment as keyless_environment, file as keyless_file};
pub(crate) use providers::Provider;
pub(crate) use secret::Secret;
pub(crate) use settings::{Flags, Settings};
pub(crate) use shown::show;
pub(crate) use vault::VaultKey;

/// The commented file with every setting and its default; also the documentation of the settings.
pub(crate) const DEFAULT_TOML: &str = include_str!("ostler.default.toml");

/// `ostler config default`.
pub(crate) fn print_default() -> anyhow::Result<ExitCode> {
    std::io::stdout().lock().write_all(DEFAULT_TOML.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
