//! Egress itself.

use std::io::BufRead as _;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use nix::unistd::Uid;
use ostler_egress::confine::{self, Confinement};
use ostler_egress::{Egress, Machine, calls, control};
use ostler_seal::open::KeyRing;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::launch::{Launch, NewKeys, Report};
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
        let mut controlled = std::pin::pin!(control::serve(Arc::clone(&egress), control, server));
        let mut called = std::pin::pin!(calls::serve(Arc::clone(&egress), calls, server));
        loop {
            tokio::select! {
                () = &mut controlled => return Ok(()),
                () = &mut called => return Ok(()),
                said = keys.recv() => match said {
                    Some(ring) => {
                        tracing::info!(newest = %ring.public().id(), keys = ring.ids().len(), "egress opens secrets with these keys from now on");
                        egress.take_keys(ring);
                    }
                    None => return Ok(()),
                },
            }
        }
    })
}

fn listener(socket: OwnedFd) -> anyhow::Result<UnixListener> {
    UnixListener::from_std(socket.into()).context("listening to the server")
}
