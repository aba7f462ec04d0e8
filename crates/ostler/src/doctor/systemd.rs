//! The unit of the server, where systemd starts it: whether a restart ends the sandboxes, and whether it may make
//! control groups.

use std::collections::BTreeMap;
use std::process::Command;

use super::report::Finding;

const NAME: &str = "systemd";
const UNIT: &str = "ostler.service";

/// What systemd says of the unit; nothing where there is no systemd or no such unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Systemd {
    properties: BTreeMap<String, String>,
}

pub(super) fn look() -> Systemd {
    if !std::path::Path::new("/run/systemd/system").exists() {
        return Systemd::default();
    }
    let shown = Command::new("systemctl").args(["show", UNIT, "--property=LoadState,KillMode,Delegate"]).output();
    shown.map_or_else(|_| Systemd::default(), |output| parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(shown: &str) -> Systemd {
    let properties = shown.lines().filter_map(|line| line.split_once('='));
    Systemd { properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
}

impl Systemd {
    pub(super) fn judge(&self) -> Option<Finding> {
        let is = |name: &str, value: &str| self.properties.get(name).is_some_and(|found| found == value);
        if !is("LoadState", "loaded") {
            return None;
        }
        let mut wrong = Vec::new();
        if !is("KillMode", "process") {
            wrong.push("a stop or restart ends all running commands with the server (KillMode is not process)");
        }
        if !is("Delegate", "yes") {
            wrong.push("sandboxes have no control groups on machines with version 2 alone (Delegate is not yes)");
        }
        Some(if wrong.is_empty() {
            Finding::ok(NAME, format!("{UNIT} leaves sandboxes alive when it restarts, and may make control groups"))
        } else {
            Finding::problem(
                NAME,
                format!("{UNIT}: {}", wrong.join("; ")),
                "take packaging/systemd/ostler.service, or set KillMode=process and Delegate=yes",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    #[test]
    fn a_unit_that_ends_sandboxes_is_a_problem() {
        let judged = |text: &str| parse(text).judge().into_iter().collect::<Vec<_>>();
        assert!(judged("").is_empty() && judged("LoadState=not-found\nKillMode=control-group\n").is_empty());
        assert_finding(&judged("LoadState=loaded\nKillMode=process\nDelegate=yes\n"), NAME, Status::Ok, "alive", "");
        let usual = judged("LoadState=loaded\nKillMode=control-group\nDelegate=no\n");
        assert_finding(&usual, NAME, Status::Problem, "KillMode is not process", "Delegate=yes");
        assert_finding(&usual, NAME, Status::Problem, "version 2 alone", "KillMode=process");
    }
}
