//! Parsing with remedies: what clap cannot know about where a value came from.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::Cli;
use crate::commands::input;
use crate::logging::say;

/// The command line of this process; ends it with help or an error.
pub(crate) fn parse() -> Cli {
    let args: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&args).unwrap_or_else(|error| {
        let hint = hint(&error, &args, input::is_piped());
        if let Some(hint) = &hint {
            // clap prints the error and ends the process; the hint must come first.
            say(hint);
        }
        error.exit()
    })
}

/// What the error's own words leave out.
fn hint(error: &clap::Error, args: &[OsString], piped: bool) -> Option<String> {
    match error.kind() {
        ErrorKind::MissingRequiredArgument if piped && args.get(1).is_some_and(|role| role == "run") => {
            Some("hint: to read the prompt from standard input, say: ostler run -".to_owned())
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::ArgumentConflict => {
            let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
            let flag = named.split([' ', '=']).next().unwrap_or_default();
            let typed = |arg: &OsString| arg.to_string_lossy().split('=').next() == Some(flag);
            if args.iter().any(typed) {
                return None;
            }
            let variable = variable(&Cli::command(), flag)?;
            std::env::var_os(&variable)?;
            Some(format!("hint: the value of {flag} comes from the environment variable {}", variable.to_string_lossy()))
        }
        _ => None,
    }
}

/// The environment variable behind a flag.
fn variable(command: &clap::Command, flag: &str) -> Option<OsString> {
    let name = flag.strip_prefix("--")?;
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(name)).and_then(|arg| arg.get_env()).map(OsString::from);
    own.or_else(|| command.get_subcommands().find_map(|child| variable(child, flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_prompt_without_a_dash_is_explained() {
        let args: Vec<OsString> = ["ostler", "run"].map(OsString::from).into();
        let error = Cli::try_parse_from(&args).unwrap_err();
        assert!(hint(&error, &args, true).is_some_and(|hint| hint.contains("ostler run -")));
        assert_eq!(hint(&error, &args, false), None);
    }

    #[test]
    fn flags_know_their_variables() {
        let of = |flag: &str| variable(&Cli::command(), flag);
        assert_eq!(of("--allow-plaintext"), Some("OSTLER_ALLOW_PLAINTEXT".into()));
        assert_eq!(of("--url"), Some("OSTLER_URL".into()));
        assert_eq!(of("--api-key-file"), None);
    }
}
