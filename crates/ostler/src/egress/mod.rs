//! Egress as processes of this program: a keeper, which has the secrets from who started it, exchanges keys, and starts egress again
//! when it dies, and egress itself, which is the only one that uses secrets. And the server's way to it.

mod keeper;
mod launch;
mod link;
mod listeners;
mod source;
mod worker;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;

pub(crate) use launch::{Handed, Running, start};
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

/// Says how the start went to who waits for it.
fn report(report: &launch::Report) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, report)?;
    output.write_all(b"\n")?;
    output.flush().context("saying how the start went")
}
