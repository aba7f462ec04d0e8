//! Egress itself.

use std::io::{BufRead as _, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ostler_egress::{Egress, calls, control};
use ostler_seal::open::KeyRing;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::launch::Launch;
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
    let (alone, is_alone) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut rest), Ok(count) if count > 0) {}
        let _ = alone.send(());
    });
    runtime.block_on(async {
        let egress = Egress::start(ring, &launch.config)?;
        let (listener, calls) = (listen(&launch.socket)?, listen(&launch.calls)?);
        tracing::info!(pid = std::process::id(), "egress serves sandboxes");
        tokio::select! {
            () = control::serve(Arc::clone(&egress), listener) => {}
            () = calls::serve(egress, calls) => {}
            _ = is_alone => {}
        }
        Ok(())
    })
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    // One that was killed left its socket.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("listening on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
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
