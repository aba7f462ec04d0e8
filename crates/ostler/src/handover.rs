//! How the server comes to have no keys. What a person starts reads everything, keys too, gives the keys to the keeper of egress, and
//! starts this program anew in its own place: the same process for the terminal and the service manager, with an empty memory,
//! without the variables that held keys, and with what is below.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ostler_egress::EgressConfig;
use ostler_store::DataDirLock;
use serde::{Deserialize, Serialize};

use crate::config::{Provider, Settings, keyless_environment, keyless_file};
use crate::{egress, vault_key};

/// Says which descriptor has the handover.
const VARIABLE: &str = "OSTLER_HANDOVER";

/// What the server needs and cannot read for itself.
#[derive(Serialize, Deserialize)]
struct Handover {
    settings: Option<String>,
    prompt: Option<String>,
    lock: RawFd,
    egress: egress::Handed,
}

/// What the server begins with.
pub(crate) struct Begun {
    /// The settings file as it was read, with a word in the place of each key.
    pub(crate) settings: Option<String>,
    /// What `ostler run` is to do.
    pub(crate) prompt: Option<String>,
    pub(crate) lock: DataDirLock,
    pub(crate) egress: egress::Handed,
}

/// Starts egress with the keys, and becomes a server without them. `text` is the settings file. Returns only when it fails.
pub(crate) fn become_server(
    settings: &Settings,
    text: Option<&str>,
    lock: DataDirLock,
    prompt: Option<String>,
    log: &str,
) -> anyhow::Result<Infallible> {
    let keys = vault_key::read(&settings.vault_key)?;
    let providers = settings.providers.iter().map(Provider::for_egress).collect();
    let search = settings.search.as_ref().and_then(|search| search.for_egress.clone());
    let config = EgressConfig { search, ..settings.egress.clone() };
    let keeper = egress::start(&settings.data_dir, &settings.vault_key, &keys, &config, providers, log)?;
    let handover = Handover {
        settings: text.map(keyless_file).transpose()?,
        prompt,
        lock: left_open(&lock)?,
        egress: keeper.handed().context("leaving the way to egress open")?,
    };
    let memory: OwnedFd = memfd_create("ostler-handover", MFdFlags::empty()).context("making room for what the server needs")?;
    File::from(memory.try_clone()?).write_all(&serde_json::to_vec(&handover)?).context("writing what the server needs")?;
    let mut words = std::env::args_os();
    // The program that runs, even if another one is at its place by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(words.next().unwrap_or_else(|| "ostler".into())).args(words);
    command.env_clear().envs(keyless_environment(text, std::env::vars_os())).env(VARIABLE, memory.as_raw_fd().to_string());
    Err(command.exec()).context("starting this program in its own place, as the server")
}

/// Leaves a descriptor open for the program that takes this one's place.
pub(crate) fn left_open(descriptor: &impl AsFd) -> anyhow::Result<RawFd> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(descriptor.as_fd().as_raw_fd())
}

/// What was left for this process, if it is a server already. Closes it to the eyes of others.
pub(crate) fn take() -> anyhow::Result<Option<Begun>> {
    let Some(number) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let take = || -> anyhow::Result<Begun> {
        let number = number.to_str().context("it is no number")?.parse()?;
        let mut memory = File::from(ostler_sandbox::inherited(number)?);
        let mut text = String::new();
        memory.rewind()?;
        memory.read_to_string(&mut text)?;
        let Handover { settings, prompt, lock, egress } = serde_json::from_str(&text)?;
        let lock = DataDirLock::inherited(ostler_sandbox::inherited(lock)?)?;
        Ok(Begun { settings, prompt, lock, egress })
    };
    let begun = take().with_context(|| format!("{VARIABLE} is set by this program for itself alone, and cannot be used; unset it"))?;
    close_to_others().context("closing the memory of the server to others")?;
    Ok(Some(begun))
}

/// No core dump, and no look into this process from another one of the same user. It is called by its name again, too.
fn close_to_others() -> nix::Result<()> {
    prctl::set_name(c"ostler")?;
    prctl::set_dumpable(false)?;
    // The limit above it stays, for what sandboxes run.
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, most)
}
