//! `ostler doctor`: whether this machine and these settings will do, and what to do where not.
//!
//! Each topic is a file with three parts: what is looked at (a plain struct), the look, and a pure
//! judgement over the struct. Looking starts no server, and changes nothing that stays.

mod cgroups;
mod data_dir;
mod disk;
mod ids;
mod inside;
mod kernel;
mod keys;
mod limits;
mod listen;
mod providers;
mod read;
mod report;
mod sandbox;
mod secrets;
mod settings;
mod systemd;
mod trust;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use ostler_sandbox::UidBlock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::data_dir::{DataDir, Lock};
use self::report::Finding;
use crate::cli::ServeArgs;
use crate::config::Settings;
use crate::logging;

/// What `doctor` takes: all that `serve` takes, so that it judges what would be served.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print one JSON object per check: name, status (ok, note, problem), found, remedy.
    #[arg(long)]
    json: bool,
    /// Do not ask the model providers.
    #[arg(long)]
    offline: bool,
}

/// All that was seen.
#[derive(Debug)]
struct Observed {
    kernel: kernel::Kernel,
    cgroups: cgroups::Cgroups,
    ids: ids::Ids,
    settings: settings::Seen,
    /// `None`: the settings do not say where it is. The error: its disk does not answer.
    data_dir: Option<Result<DataDir, PathBuf>>,
    listen: Option<listen::Listen>,
    providers: providers::Models,
    sandbox: sandbox::Tried,
    secrets: secrets::Secrets,
    systemd: systemd::Systemd,
    /// `None`: the settings cannot be used.
    trust: Option<trust::Trust>,
    /// `None`: the settings do not say where it is.
    vault: Option<vault::Vault>,
}

/// The exit status after an interrupt.
const INTERRUPTED: u8 = 130;

/// `ostler doctor`. To be called while the process has one thread. Exit status: 0 everything will
/// work, 1 something will not, 130 interrupted.
pub(crate) fn main(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let kernel = kernel::look();
    logging::start(args.serve.common.log.as_deref(), "error")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    let observed = runtime.block_on(look(kernel, &args));
    // A disk that does not answer must not keep this process.
    runtime.shutdown_background();
    let Some(observed) = observed? else {
        logging::say("ostler: interrupted");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let is_well = report::print(&observed.judge(), args.json)?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at everything else, much of it at the same time. `None`: interrupted.
async fn look(kernel: kernel::Kernel, args: &DoctorArgs) -> anyhow::Result<Option<Observed>> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    let (seen, found) = settings::look(&args.serve);
    let block = found.as_ref().map_or_else(UidBlock::default, |settings| settings.sandbox.uids);
    let trial = tokio::spawn(sandbox::look(block, stop.clone()));
    let others = async { tokio::join!(look_at_host(found.as_ref()), providers::look(found.as_ref(), args.offline)) };
    let others = tokio::select! {
        others = others => Some(others),
        () = stop.cancelled() => None,
    };
    // It cleans up after itself, so it is waited for in any case.
    let sandbox = trial.await.context("the trial of a sandbox")?;
    let (Some(((data_dir, listen), providers)), false) = (others, stop.is_cancelled()) else { return Ok(None) };

    let keys = found.as_ref().map(|settings| settings.providers.iter().filter(|provider| !provider.key.expose().is_empty()).count());
    // A disk that did not answer is not asked again.
    let dir = data_dir.as_ref().and_then(|dir| dir.as_ref().ok()).map(|dir| dir.path.as_path());
    let secrets = secrets::look(seen.file.as_ref(), dir, found.as_ref(), keys);
    Ok(Some(Observed {
        kernel,
        cgroups: cgroups::look(),
        ids: ids::look(block),
        settings: seen,
        data_dir,
        listen,
        providers,
        sandbox,
        secrets,
        systemd: systemd::look(),
        trust: found.as_ref().map(trust::look),
        vault: found.as_ref().map(vault::look),
    }))
}

type Host = (Option<Result<DataDir, PathBuf>>, Option<listen::Listen>);

/// Looks at the data directory and the address, which belong together: who holds both is our server.
async fn look_at_host(settings: Option<&Settings>) -> Host {
    let Some(settings) = settings else { return (None, None) };
    let path = settings.data_dir.clone();
    let looking = tokio::task::spawn_blocking({
        let path = path.clone();
        move || data_dir::look(&path)
    });
    let dir = match tokio::time::timeout(limits::DISK, looking).await {
        Ok(Ok(seen)) => Ok(seen),
        _ => Err(path),
    };
    let listen = match &dir {
        Ok(seen) => listen::look(settings.listen, &seen.path, seen.lock).await,
        Err(_) => listen::look(settings.listen, std::path::Path::new(""), Lock::Nobody).await,
    };
    (Some(dir), Some(listen))
}

impl Observed {
    fn judge(&self) -> Vec<Finding> {
        let mut findings = self.kernel.judge();
        findings.extend(self.cgroups.judge());
        findings.extend(self.systemd.judge());
        findings.extend(self.ids.judge());
        findings.extend(self.settings.judge());
        match &self.data_dir {
            Some(Ok(dir)) => findings.extend(dir.judge()),
            Some(Err(path)) => findings.push(no_answer(path)),
            None => findings.push(Finding::aside("data_dir", "not looked at, because the settings cannot be used")),
        }
        match &self.listen {
            Some(listen) => findings.push(listen.judge()),
            None => findings.push(Finding::aside("listen", "not tried, because the settings cannot be used")),
        }
        findings.extend(self.providers.judge());
        findings.extend(self.sandbox.judge());
        findings.extend(self.secrets.judge());
        findings.extend(self.trust.as_ref().map(trust::Trust::judge));
        findings.extend(self.vault.as_ref().map(vault::Vault::judge));
        findings
    }
}

fn no_answer(path: &std::path::Path) -> Finding {
    let found = format!("{} did not answer within {} s", report::quote(&path.display().to_string()), limits::DISK.as_secs());
    Finding::problem("data_dir", found, "see why its disk does not answer, or choose another directory with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::report::{Status, assert_finding};
    use super::*;

    #[test]
    fn a_disk_that_does_not_answer_is_a_problem() {
        assert_finding(&[no_answer("/nfs".as_ref())], "data_dir", Status::Problem, "/nfs did not answer within 10 s", "--data-dir");
    }
}
