//! Parsing with remedies: what clap cannot know about where a value came from.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use super::Cli;
use crate::commands::input;
use crate::logging::say;

/// The command line of this process; ends it with help or an error.
pub(crate) fn parse() -> Cli {
    let args: Vec<OsString> = std::env::args_os().collect();
    from(&args).unwrap_or_else(|error| {
        let hint = hint(&error, &args, input::is_piped());
        if let Some(hint) = &hint {
            // clap prints the error and ends the process; the hint must come first.
            say(hint);
        }
        error.exit()
    })
}

fn from(args: &[OsString]) -> Result<Cli, clap::Error> {
    let command = without_empty(Cli::command(), &|variable| std::env::var_os(variable));
    Cli::from_arg_matches(&command.try_get_matches_from(args)?)
}

/// The command for which an empty variable is one that is not set, and which shows no variable's value.
fn without_empty(command: clap::Command, env: &impl Fn(&OsStr) -> Option<OsString>) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(env).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg.hide_env_values(true) })
        .mut_subcommands(|child| without_empty(child, env))
}

/// Whether the flag behind this variable was typed.
pub(crate) fn is_typed(variable: &str) -> bool {
    let Some(flag) = flag(&Cli::command(), OsStr::new(variable)) else { return false };
    std::env::args_os().any(|arg| arg.to_string_lossy().split('=').next() == Some(&flag))
}

/// The flag that a variable stands for.
fn flag(command: &clap::Command, variable: &OsStr) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_env() == Some(variable)).and_then(|arg| arg.get_long());
    own.map(|long| format!("--{long}")).or_else(|| command.get_subcommands().find_map(|child| flag(child, variable)))
}

/// What the error's own words leave out.
fn hint(error: &clap::Error, args: &[OsString], piped: bool) -> Option<String> {
    match error.kind() {
        ErrorKind::MissingRequiredArgument if piped && args.get(1).is_some_and(|role| role == "run") => {
            Some("hint: to read the prompt from standard input, say: ostler run -".to_owned())
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::ArgumentConflict => {
            let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
            let flag = named.split([' ', '=', '[']).next().unwrap_or_default();
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
        let error = from(&args).unwrap_err();
        assert!(hint(&error, &args, true).is_some_and(|hint| hint.contains("ostler run -")));
        assert_eq!(hint(&error, &args, false), None);
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let command = without_empty(Cli::command(), &|variable| (variable != "OSTLER_MODEL").then(OsString::new));
        let of = |name: &str| {
            let serve = command.find_subcommand("serve").unwrap();
            serve.get_arguments().find(|arg| arg.get_long() == Some(name)).unwrap().get_env().map(OsString::from)
        };
        assert_eq!((of("data-dir"), of("listen")), (None, None));
        let run = command.find_subcommand("run").unwrap();
        assert!(run.get_arguments().any(|arg| arg.get_env() == Some(OsStr::new("OSTLER_MODEL")) && arg.is_hide_env_values_set()));
        assert_eq!(flag(&Cli::command(), OsStr::new("OSTLER_ALLOWED_HOSTS")).as_deref(), Some("--allowed-host"));
    }

    #[test]
    fn flags_know_their_variables() {
        let of = |flag: &str| variable(&Cli::command(), flag);
        assert_eq!(of("--allow-plaintext"), Some("OSTLER_ALLOW_PLAINTEXT".into()));
        assert_eq!(of("--url"), Some("OSTLER_URL".into()));
        assert_eq!(of("--api-key-file"), None);
    }
}
