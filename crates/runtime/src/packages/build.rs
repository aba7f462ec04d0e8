//! One build: a sandbox of its own, without a session, a workspace's files or grants, in which the managers run one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use ostler_core::call::CallOutcome;
use ostler_core::egress::{Caps, Terms};
use ostler_core::ids::{EventId, SessionId};
use ostler_core::packages;
use ostler_core::resources::packages::Manager;
use ostler_sandbox::{BuildAs, CallRequest, SandboxSpec};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Wanted, layers, needed};
use crate::limits;
use crate::policy;
use crate::sandbox::SandboxLink;
use crate::session::deps::Deps;
use crate::session::place;

/// Builds a layer, in its workspace's turn. Errors are for people who use the environment.
pub(super) async fn build(deps: &Arc<Deps>, wanted: &Wanted) -> Result<(), String> {
    let layers = layers(deps)?;
    // It may have been stored by a release that knew less of what a package is.
    wanted.packages().check().map_err(|refusal| refusal.message)?;
    if !deps.egress.serves_sandboxes() {
        return Err("packages cannot be installed: sandboxes of this server have no network".to_owned());
    }
    let _place = deps.packages.places.take(&wanted.workspace).await;
    if layers.verified(&wanted.key).await?.is_some() {
        return Ok(());
    }
    let (environment, key) = (&wanted.environment, &wanted.key);
    let asked_for = needed::asked_for(deps, Some(&wanted.workspace)).await?;
    if asked_for.len() > limits::PACKAGE_LAYERS {
        return Err(format!(
            "the environments of this workspace ask for {} different lists of packages, and may ask for {}; archive some, or give them the same list",
            asked_for.len(),
            limits::PACKAGE_LAYERS
        ));
    }
    tracing::info!(%environment, key, "a layer of packages is being built");
    let mut spec = spec(deps, wanted);
    if deps.store.has_several_workspaces().await.map_err(|error| format!("its environment cannot be read: {error}"))? {
        policy::for_several_workspaces(&mut spec);
    }
    place::room(deps, &spec).await?;
    deps.packages.step(key, "starting");
    let (id, _, link) = layers.begin(&spec).await?;
    let installed = tokio::select! {
        installed = installed(deps, wanted, &id, &link) => installed,
        () = tokio::time::sleep(limits::PACKAGES_BUILD) => Err(format!("installing packages took more than {} minutes", limits::PACKAGES_BUILD.as_secs() / 60)),
        () = deps.stopping.cancelled() => Err("the server is stopping".to_owned()),
    };
    // The sandbox ends first: what was forgotten could still be asked for.
    let kept = match installed {
        Ok(()) => {
            deps.packages.step(key, "keeping");
            layers.keep(&id, key, wanted.image.as_deref(), deps.ambient.now()).await
        }
        Err(why) => {
            if let Err(left) = layers.abandon(&id).await {
                tracing::error!(%environment, left, "what is left of a build cannot be removed; the next start of the server removes it");
            }
            Err(why)
        }
    };
    if let Err(error) = deps.egress.release(&id).await {
        tracing::debug!(%error, "egress was not told of the end of a build");
    }
    match kept {
        Ok(layer) => {
            tracing::info!(%environment, key, bytes = layer.bytes, entries = layer.entries, "packages are installed");
            Ok(())
        }
        Err(why) => {
            tracing::warn!(%environment, key, why, "packages cannot be installed");
            Err(why)
        }
    }
}

fn spec(deps: &Deps, wanted: &Wanted) -> SandboxSpec {
    let mut spec = deps.policy.spec(wanted.body.sandbox.as_ref());
    let needs_root = wanted.packages().managers().any(|(manager, _)| manager == Manager::Apt);
    spec.build = Some(if needs_root { BuildAs::Root } else { BuildAs::Agent });
    spec.doors = true;
    (spec.disk_bytes, spec.disk_inodes) = (limits::PACKAGES_DISK, limits::PACKAGES_FILES);
    spec.max_file_bytes = limits::PACKAGES_DISK;
    spec.max_memory_bytes = spec.max_memory_bytes.max(limits::PACKAGES_MEMORY);
    spec.max_command_ms = u64::try_from(limits::PACKAGES_BUILD.as_millis()).unwrap_or(u64::MAX);
    spec.max_life_ms = spec.max_command_ms.saturating_mul(2);
    spec
}

/// Ends with what it stands for.
struct Renewing(JoinHandle<()>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn installed(deps: &Arc<Deps>, wanted: &Wanted, id: &SessionId, link: &Arc<dyn SandboxLink>) -> Result<(), String> {
    let settings = wanted.body.egress.as_ref();
    let terms = Terms {
        organization: wanted.organization.clone(),
        workspace: wanted.workspace.clone(),
        policy: packages::policy(&wanted.body.config, settings),
        grants: Vec::new(),
        answers: Vec::new(),
        caps: Caps::of(settings, &deps.policy.most_egress),
    };
    admit(deps, id, link, &terms).await?;
    let _renewing = Renewing(tokio::spawn(renew(Arc::clone(deps), id.clone(), Arc::clone(link), terms)));
    let packages = wanted.packages();
    for (manager, _) in packages.managers() {
        let outcome = run(deps, link, &packages::check_command(manager)).await?;
        if outcome.is_error {
            return Err(missing(wanted, manager));
        }
    }
    for (manager, names) in packages.managers() {
        deps.packages.step(&wanted.key, manager.name());
        tracing::info!(environment = %wanted.environment, manager = manager.name(), packages = names.len(), "packages are being installed");
        let outcome = run(deps, link, &format!("cd \"$HOME\" && (\n{}\n) 2>&1", packages::install_command(manager, names))).await?;
        if outcome.is_error {
            let said = tail(&text(&outcome));
            return Err(format!("{} could not install the packages of {}; it said:\n{said}", manager.name(), wanted.environment));
        }
    }
    Ok(())
}

fn missing(wanted: &Wanted, manager: Manager) -> String {
    let system = match &wanted.image {
        Some(image) => format!("the image {image:?}"),
        None => "the host's system".to_owned(),
    };
    let (name, programs) = (manager.name(), packages::programs(manager).join(", "));
    format!(
        "the environment {} asks for {name} packages, and {system} lacks what installs them ({programs}); choose an image that has it (sandbox.image), install it on the host, or leave packages.{name} empty",
        wanted.environment
    )
}

/// Lets the sandbox of a build out, to where its terms say.
async fn admit(deps: &Deps, id: &SessionId, link: &Arc<dyn SandboxLink>, terms: &Terms) -> Result<(), String> {
    let doors = link.doors().await?.ok_or("packages cannot be installed: the sandbox of the build has no network")?;
    deps.egress.admit(id, terms, doors).await.map(drop).map_err(|error| format!("packages cannot be installed: {error}"))
}

/// Keeps it known to egress, and makes it known again to one that was started anew.
async fn renew(deps: Arc<Deps>, id: SessionId, link: Arc<dyn SandboxLink>, terms: Terms) {
    loop {
        tokio::time::sleep(limits::NETWORK_LOOK).await;
        let is_unknown = deps.egress.renew(std::slice::from_ref(&id)).await.is_ok_and(|unknown| unknown.contains(&id));
        if is_unknown && let Err(why) = admit(&deps, &id, &link, &terms).await {
            tracing::warn!(why, "egress does not serve a build; it is asked again");
        }
    }
}

async fn run(deps: &Deps, link: &Arc<dyn SandboxLink>, command: &str) -> Result<CallOutcome, String> {
    let id = EventId::mint(&mut deps.ambient.ids());
    let timeout_ms = u64::try_from(limits::PACKAGES_BUILD.as_millis()).ok();
    let request =
        CallRequest { id: id.clone(), tool: "bash".into(), input: json!({"command": command}), timeout_ms, environment: BTreeMap::new() };
    let outcome = link.run(&request).await.map_err(|error| format!("the sandbox in which packages are installed: {error}"))?;
    link.acknowledge(&id).await;
    Ok(outcome)
}

fn text(outcome: &CallOutcome) -> String {
    outcome.content.iter().filter_map(|block| block["text"].as_str()).collect()
}

/// The end of what a manager said, without what could move a terminal's cursor. It is of packages, which may be hostile.
fn tail(said: &str) -> String {
    let mut plain = String::new();
    let mut rest = said.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            if rest.next_if_eq(&'[').is_some() {
                while rest.next_if(|c| !('\u{40}'..='\u{7e}').contains(c)).is_some() {}
                rest.next();
            }
        } else if c == '\n' || c == '\t' || !(c.is_control() || is_invisible(c)) {
            plain.push(c);
        }
    }
    let plain = plain.trim();
    let skipped = plain.chars().count().saturating_sub(limits::PACKAGES_TAIL_CHARS);
    plain.chars().skip(skipped).collect()
}

/// Signs that turn the direction of writing, or that nobody sees.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_said_is_told_as_plain_text_and_its_end_only() {
        let table = [
            ("\u{1b}[31mred\u{1b}[0m\r\nline\u{7}", "red\nline"),
            ("a\u{1b}]0;title\u{7}b", "a]0;titleb"),
            ("x\u{202e}y", "xy"),
            ("  \n", ""),
            ("\u{1b}[", ""),
        ];
        for (said, expected) in table {
            assert_eq!(tail(said), expected, "{said:?}");
        }
        let long = format!("{}end", "x".repeat(10_000));
        assert!(tail(&long).ends_with("end") && tail(&long).chars().count() == limits::PACKAGES_TAIL_CHARS);
    }
}
