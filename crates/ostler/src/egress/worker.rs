//! Egress itself.

use std::io::BufRead as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ostler_egress::{Egress, control};
use ostler_seal::open::KeyRing;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::launch::{Launch, NewKeys};
use crate::logging;

pub(super) fn main() -> anyhow::Result<()> {
    harden()?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).context("hearing the keys")?;
    let mut launch: Launch = serde_json::from_str(&line).context("what was said cannot be read")?;
    drop(line);
    logging::start(Some(&launch.log), "info")?;
    let ring = KeyRing::parse(&launch.keys).context("the keys cannot be read")?;
    launch.keys = Zeroizing::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    // The end of it is the end of who started this.
    let (heard, mut keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Zeroizing::new(String::new());
            match input.read_line(&mut line) {
                Ok(count) if count > 0 => {}
                _ => return,
            }
            match serde_json::from_str::<NewKeys>(&line).ok().and_then(|said| KeyRing::parse(&said.keys)) {
                Some(ring) => drop(heard.send(ring)),
                None => tracing::error!("what was said is no key"),
            }
        }
    });
    runtime.block_on(async {
        let egress = Egress::start(ring, &launch.config)?;
        // One that was killed left its socket.
        let _ = std::fs::remove_file(&launch.socket);
        let listener = UnixListener::bind(&launch.socket).with_context(|| format!("listening on {}", launch.socket.display()))?;
        std::fs::set_permissions(&launch.socket, std::fs::Permissions::from_mode(0o600))?;
        tracing::info!(pid = std::process::id(), "egress serves sandboxes");
        let mut serving = std::pin::pin!(control::serve(Arc::clone(&egress), listener));
        loop {
            tokio::select! {
                () = &mut serving => return Ok(()),
                said = keys.recv() => match said {
                    Some(ring) => {
                        tracing::info!(newest = %ring.public().id(), keys = ring.ids().len(), "egress opens secrets with other keys from now on");
                        egress.take_keys(ring);
                    }
                    None => return Ok(()),
                },
            }
        }
    })
}

/// What a secret of this process must not get out by: a core dump, another process of this user, a program with more rights.
fn harden() -> anyhow::Result<()> {
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}
