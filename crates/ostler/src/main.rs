//! The `ostler` binary: a match over roles. Each role is a module; what they share is composed in
//! [`node`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking"))]

mod bootstrap;
mod cli;
mod client;
mod config;
mod logging;
mod node;
mod run;
mod serve;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand};

fn main() -> ExitCode {
    // The spawner forks sandboxes and must have one thread only, so it starts before anything else.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|role| role == "spawner") {
        let code = ostler_sandbox::spawner_main(args);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => run::main(args),
        Command::Serve(args) => serve::main(args),
        Command::Config { command: ConfigCommand::Default } => config::print_default(),
    };
    outcome.unwrap_or_else(|error| {
        logging::say(&format!("ostler: {}", terminal::neutral(&format!("{error:#}"))));
        ExitCode::FAILURE
    })
}
