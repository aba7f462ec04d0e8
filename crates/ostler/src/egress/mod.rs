//! Egress as processes of this program: a keeper, which has the secrets from the server that started it and starts egress again
//! when it dies, and egress itself, which is the only one that opens secrets. And the server's way to it.

mod keeper;
mod launch;
mod link;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use launch::{Running, start};
#[cfg(test)]
pub(crate) use link::EgressLink;

/// The first argument of these processes.
pub(crate) const ROLE: &str = "egress";
const KEEPER: &str = "keeper";
const WORKER: &str = "worker";

/// Becomes one of them. What they need comes on standard input, because arguments and variables can be read by others; its end is
/// the end of who started them, and theirs.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let role = args.next();
    let outcome = match role.as_deref().and_then(|role| role.to_str()) {
        Some(KEEPER) => keeper::main(),
        Some(WORKER) => worker::main(),
        _ => Err(anyhow::anyhow!("`ostler egress` is started by `ostler serve`, which gives it what it needs")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::logging::say(&format!("ostler egress: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
