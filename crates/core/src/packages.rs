//! The layer of packages of an environment: what it is known by, and the commands that make it. The commands are run by whoever
//! builds it, inside a sandbox of the build's own.

use crate::hex::hex;
use sha2::{Digest as _, Sha256};

use crate::egress::PACKAGE_HOSTS;
use crate::egress::policy::{AllowedHost, Network, Policy};
use crate::ids::WorkspaceId;
use crate::resources::egress::{EgressSettings, RuleAction};
use crate::resources::environment::{Config, Packages};
use crate::resources::packages::Manager;

/// How layers are made and laid out; another version makes all of them anew.
const FORMAT: u32 = 1;

/// What a layer is known by: of one workspace, over one system, of these packages. In hexadecimal digits, which make a file name.
pub fn key(workspace: &WorkspaceId, system: &str, packages: &Packages) -> String {
    let mut hash = Sha256::new();
    // Lengths first, so that no two lists read alike.
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(&format!("ostler packages {FORMAT}"));
    add(workspace.as_str());
    add(system);
    for (manager, names) in packages.managers() {
        add(manager.name());
        add(&names.len().to_string());
        names.iter().for_each(|name| add(name));
    }
    hex(hash.finalize())
}

/// Where a build may go: to package managers, and wherever sandboxes of the environment may. Nobody waits beside a build who could be
/// asked, so what a rule asks about does not go.
pub fn policy(config: &Config, settings: Option<&EgressSettings>) -> Policy {
    let mut policy = Policy::of_environment(config, settings, []);
    for rule in policy.rules.iter_mut().filter(|rule| rule.action == RuleAction::Ask) {
        rule.action = RuleAction::Deny;
    }
    match &mut policy.network {
        Network::Unrestricted => {}
        Network::Limited { hosts } => {
            for host in PACKAGE_HOSTS {
                if hosts.iter().all(|allowed| allowed.host != host) {
                    hosts.push(AllowedHost { host: host.to_owned(), rule: "allow_package_managers".to_owned() });
                }
            }
        }
        Network::None => {}
    }
    policy
}

/// The programs of a manager, all of which must be in the system.
pub const fn programs(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Apt => &["apt-get", "dpkg"],
        Manager::Cargo => &["cargo", "rustc", "cc"],
        Manager::Gem => &["gem"],
        Manager::Go => &["go"],
        Manager::Npm => &["npm", "node"],
        Manager::Pip => &["python3"],
    }
}

/// A command of the shell that fails unless everything that the manager needs is there.
pub fn check_command(manager: Manager) -> String {
    let mut words: Vec<String> = programs(manager).iter().map(|program| format!("command -v {program} >/dev/null")).collect();
    if manager == Manager::Pip {
        words.push("python3 -m pip --version >/dev/null 2>&1".to_owned());
    }
    words.join(" && ")
}

/// A command of the shell that installs these packages where every sandbox looks for them.
pub fn install_command(manager: Manager, packages: &[String]) -> String {
    // No package holds a quote; quoted they mean nothing to the shell.
    let quoted: Vec<String> = packages.iter().map(|package| format!("'{package}'")).collect();
    let all = quoted.join(" ");
    match manager {
        Manager::Apt => format!("{APT_BEFORE}\nown {all}\napt install --no-install-recommends -- {all}"),
        Manager::Cargo => {
            format!(
                "export CARGO_HOME=\"$HOME/.cargo\" CARGO_TARGET_DIR=\"$HOME/target\"\ncargo install --locked --root /usr/local -- {all}"
            )
        }
        // What comes after `--` is for the compilers of extensions; no name begins with a minus.
        Manager::Gem => format!("gem install --no-document --bindir /usr/local/bin {all}"),
        Manager::Go => {
            let each = packages.iter().map(|package| {
                let version = if package.contains('@') { "" } else { "@latest" };
                format!("go install -- '{package}{version}'")
            });
            let each: Vec<String> = each.collect();
            format!("export GOPATH=\"$HOME/go\" GOCACHE=\"$HOME/gocache\" GOBIN=/usr/local/bin GOTOOLCHAIN=local\n{}", each.join(" && "))
        }
        Manager::Npm => format!(
            "npm install --global --prefix /usr/local --cache \"$HOME/.npm\" --no-audit --no-fund --no-update-notifier --no-progress -- {all}"
        ),
        // Older ones do not know these as options, and do not mind them as variables.
        Manager::Pip => format!(
            "export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1\npython3 -m pip install --no-input --disable-pip-version-check --progress-bar off -- {all}"
        ),
    }
}

/// Sandboxes are their own confinement; nothing is started while packages are set up, and what a package asks is answered by its default.
/// Files of the system belong to nobody there, and Debian's tools link those that they replace, which only an owner may: packages that are
/// there in another version are made the build's own first.
const APT_BEFORE: &str = "export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
apt() { apt-get -q -y -o APT::Sandbox::User=root -o Acquire::https::CAInfo=\"$SSL_CERT_FILE\" -o Acquire::Retries=2 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \"$@\"; }
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d && trap 'rm -f /usr/sbin/policy-rc.d' EXIT
own() {
  apt -s install --no-install-recommends -- \"$@\" | sed -n 's/^Inst \\([^ ]*\\) \\[.*/\\1/p' | while read -r package; do
    dpkg -L \"$package\" | while IFS= read -r file; do
      if [ -f \"$file\" ] && [ ! -L \"$file\" ] && [ ! -O \"$file\" ]; then
        cp --preserve=mode,timestamps -- \"$file\" \"$file.own\" && mv -f -- \"$file.own\" \"$file\"
      fi
    done
  done
}
apt -o APT::Update::Error-Mode=any update || exit 1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::environment::Networking;

    fn some() -> Packages {
        Packages { pip: vec!["six".into(), "attrs".into()], npm: vec!["left-pad".into()], ..Packages::default() }
    }

    #[test]
    fn a_key_is_of_one_workspace_one_system_and_one_list() {
        let (one, other): (WorkspaceId, WorkspaceId) = ("wrkspc_1".parse().unwrap(), "wrkspc_2".parse().unwrap());
        let first = key(&one, "host", &some());
        assert_eq!(first, key(&one, "host", &some()));
        assert!(first.len() == 64 && first.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let turned = Packages { pip: vec!["attrs".into(), "six".into()], ..some() };
        let joined = Packages { pip: vec!["sixattrs".into()], ..some() };
        let moved = Packages { pip: vec!["six".into()], npm: vec!["attrs".into(), "left-pad".into()], ..Packages::default() };
        let others = [key(&other, "host", &some()), key(&one, "image", &some()), key(&one, "host", &turned)];
        let others = others.into_iter().chain([key(&one, "host", &joined), key(&one, "host", &moved)]);
        for other in others {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_build_reaches_package_managers_and_what_the_environment_names() {
        let networking = |hosts: &[&str]| Networking::Limited {
            allow_mcp_servers: false,
            allow_package_managers: true,
            allowed_hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        let config = Config::Cloud { networking: networking(&["api.example.com"]), packages: some() };
        let policy = policy(&config, None);
        for (host, expected) in [("pypi.org", true), ("api.example.com", true), ("evil.example.com", false)] {
            assert_eq!(policy.decide(host, 443).is_allowed, expected, "{host}");
        }
        assert!(!super::policy(&Config::SelfHosted {}, None).decide("pypi.org", 443).is_allowed);
    }

    #[test]
    fn packages_come_after_the_end_of_options_and_in_quotes() {
        for manager in Manager::ALL {
            let command = install_command(manager, &["a.b/c".to_owned(), "d".to_owned()]);
            assert!(command.contains("'a.b/c") && command.contains("'d"), "{command}");
            assert!(manager == Manager::Gem || command.contains(" -- 'a.b/c"), "{command}");
        }
        assert!(install_command(Manager::Go, &["a.b/c".to_owned()]).ends_with("-- 'a.b/c@latest'"));
    }
}
