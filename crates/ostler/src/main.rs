//! The `ostler` binary: a match over roles. Each role is a module; what they share is composed in
//! [`node`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod admin;
mod bootstrap;
mod cli;
mod client;
mod commands;
mod config;
mod doctor;
mod egress;
mod handover;
mod limits;
mod logging;
mod node;
mod run;
mod serve;
mod terminal;
mod vault;
mod vault_key;

use std::process::ExitCode;

use crate::cli::{Command, ConfigCommand};
use crate::client::Usage;
use crate::commands::{ReaderGone, complete};

fn main() -> ExitCode {
    // The spawner forks sandboxes and must have one thread only, so it starts before anything else.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|role| role == "spawner") {
        let code = ostler_sandbox::spawner_main(args);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|role| role == egress::ROLE) {
        return egress::main(args);
    }
    // Before anything is written: a shell takes all of it for completions.
    if let Some(code) = complete::answer() {
        return code;
    }
    let cli = cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => run::main(args),
        Command::Serve(args) => serve::main(args),
        Command::Agents { command } => commands::agents(command),
        Command::Environments { command } => commands::environments(command),
        Command::Sessions { command } => commands::sessions(command),
        Command::Events { command } => commands::events(command),
        Command::Models { command } => commands::models(command),
        Command::Sandboxes { command } => commands::sandboxes(command),
        Command::Images { command } => commands::images(command),
        Command::Vault { command } => vault::main(command),
        Command::Doctor(args) => doctor::main(args),
        Command::Config { command: ConfigCommand::Default } => config::print_default(),
        Command::Config { command: ConfigCommand::Show(args) } => config::show(args),
        Command::Completions { shell } => complete::print(shell),
    };
    outcome.unwrap_or_else(|error| failed(&error))
}

/// Says what went wrong; the status tells wrong usage from failure.
fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<ReaderGone>()
        || error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return ExitCode::SUCCESS;
    }
    logging::say(&format!("ostler: {}", terminal::neutral(&format!("{error:#}"))));
    if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
