//! The first steps of init in a container: what it needs is opened, then it becomes the agent with the same
//! filters as everywhere, and what was opened cannot be reached by anybody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ostler_core::ids::IncarnationId;
use serde::{Deserialize, Serialize};

use crate::cgroup::Meters;
use crate::confine::{self, Held};
use crate::init::{self, Life};
use crate::layout;
use crate::spawner::{prepare_life, socket};
use crate::spec::SandboxSpec;
use crate::sys::{self, Alone};

/// The argument that says so.
pub(crate) const ROLE: &str = "init";
/// The sandbox's directory, inside; only root may enter it, and nobody inside is root any more.
pub(super) const CONTROL: &str = "/run/ostler-control";
/// What init holds of the session's files, and where, inside; below a directory that is root's as well.
pub(super) const HELD: [&str; 2] = [layout::CALLS, layout::UPLOADS];
pub(super) const HELD_AT: &str = "/run/ostler-held";
const LAUNCH: &str = "launch.json";

/// What it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Launch {
    incarnation: IncarnationId,
    uid: u32,
    spec: SandboxSpec,
    watches_disk: bool,
}

/// Where a file of the sandbox's own `/etc` lies in its directory.
pub(super) fn own_file(name: &str) -> String {
    format!("etc-{name}")
}

/// Writes down what init is told, on the host.
pub(super) fn prepare(directory: &Path, incarnation: &IncarnationId, uid: u32, spec: &SandboxSpec, watches_disk: bool) -> io::Result<()> {
    prepare_life(directory, incarnation)?;
    let launch = Launch { incarnation: incarnation.clone(), uid, spec: spec.clone(), watches_disk };
    let next = directory.join(LAUNCH);
    let _ = fs::remove_file(&next);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(next)?;
    file.write_all(&serde_json::to_vec(&launch)?)
}

/// Becomes the init of a container. Returns only what went wrong.
pub(crate) fn run() -> io::Error {
    match begin() {
        Ok((alone, life)) => init::run(alone, life),
        Err(error) => error,
    }
}

fn begin() -> io::Result<(Alone, Life)> {
    let alone = Alone::check()?;
    let control = Path::new(CONTROL);
    let launch: Launch = serde_json::from_slice(&fs::read(control.join(LAUNCH))?)?;
    let secret = fs::read_to_string(control.join(layout::SECRET))?;
    let open = |directory: &Path, name: &str| -> io::Result<OwnedFd> { Ok(File::open(directory.join(name))?.into()) };
    let held_at = Path::new(HELD_AT);
    let held = Held {
        calls: open(held_at, layout::CALLS)?,
        uploads: open(held_at, layout::UPLOADS)?,
        results: open(control, layout::RESULTS)?,
        transfers: open(control, layout::TRANSFERS)?,
    };
    let meters = Meters::of_container();
    // Nothing follows: this life has its name already.
    let (summons, _) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let summons = File::from(summons);
    let listener = socket(control)?;
    confine::enter_container(&launch.spec, launch.uid, &held)
        .map_err(|error| io::Error::other(format!("{}: {}", error.layer, error.reason)))?;
    let keep = [listener.as_raw_fd(), summons.as_raw_fd(), 0, 1, 2].into_iter();
    let keep: Vec<_> = keep.chain(held.descriptors()).chain(meters.descriptors()).collect();
    sys::close_all_but(&keep)?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for number in 0..3 {
        sys::dup_to(&null, number)?;
    }
    let watches_disk = launch.watches_disk && launch.spec.disk_bytes > 0;
    let incarnation = Some(launch.incarnation);
    Ok((alone, Life { incarnation, summons, secret, spec: launch.spec, listener, held, doors: None, meters, watches_disk }))
}
