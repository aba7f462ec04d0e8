//! Egress itself.

use std::io::{BufRead as _, Read as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use nix::unistd::Uid;
use ostler_egress::confine::{self, Confinement};
use ostler_egress::{Egress, Machine, calls, control};
use ostler_seal::open::KeyRing;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::launch::{Launch, Report};
use super::listeners::Listeners;
use crate::logging;

pub(super) fn main() -> anyhow::Result<()> {
    serve().or_else(|error| super::report(&Report::Failed(format!("{error:#}"))))
}

fn serve() -> anyhow::Result<()> {
    confine::prepare()?;
    nix::sys::prctl::set_name(c"ostler")?;
    let listeners = Listeners::borrow(std::io::stdin()).context("taking the sockets")?;
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).context("hearing the keys")?;
    let mut launch: Launch = serde_json::from_str(&line).context("what was said cannot be read")?;
    drop(line);
    logging::start(Some(&launch.log), "info")?;
    let ring = KeyRing::parse(&launch.keys).context("the keys cannot be read")?;
    launch.keys = Zeroizing::default();
    // The last look at files, and then the only thread there is gives up what it does not need.
    let machine = Machine::read(&launch.config)?;
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let confinement = confine::enter(launch.config.user)?;
    let (alone, is_alone) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(std::io::stdin().lock().read(&mut rest), Ok(count) if count > 0) {}
        let _ = alone.send(());
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.context("starting the async runtime")?.block_on(async {
        let egress = Egress::start(ring, &launch.config, &launch.providers, &machine)?;
        drop(machine);
        launch.providers.clear();
        let (control, calls) = (listener(listeners.control)?, listener(listeners.calls)?);
        super::report(&Report::Serves)?;
        let Confinement { own_user, has_landlock } = confinement;
        let user = own_user.map_or_else(|| "the server's".to_owned(), |user| user.to_string());
        tracing::info!(pid = std::process::id(), user, has_landlock, "egress serves the server and its sandboxes");
        let server = Uid::from_raw(launch.server);
        tokio::select! {
            () = control::serve(Arc::clone(&egress), control, server) => {}
            () = calls::serve(egress, calls, server) => {}
            _ = is_alone => {}
        }
        Ok(())
    })
}

fn listener(socket: OwnedFd) -> anyhow::Result<UnixListener> {
    UnixListener::from_std(socket.into()).context("listening to the server")
}
