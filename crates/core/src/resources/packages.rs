//! What the lists of packages of an environment may hold: names, and versions in each manager's usual form. Nothing that a
//! manager or a shell would take for an option, a path, an address or a command.

use crate::error::{Refusal, check_chars, check_count};
use crate::limits;
use crate::resources::environment::Packages;

/// The package managers, in the order in which they install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Manager {
    /// Debian packages.
    Apt,
    /// Rust packages.
    Cargo,
    /// Ruby packages.
    Gem,
    /// Go packages.
    Go,
    /// Node packages.
    Npm,
    /// Python packages.
    Pip,
}

impl Manager {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Apt, Self::Cargo, Self::Gem, Self::Go, Self::Npm, Self::Pip];

    /// Its name in an environment.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Cargo => "cargo",
            Self::Gem => "gem",
            Self::Go => "go",
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }

    /// What an entry looks like, for people.
    const fn form(self) -> &'static str {
        match self {
            Self::Apt => "jq or jq=1.6-2.1",
            Self::Cargo => "ripgrep or ripgrep@14.1.0",
            Self::Gem => "rake or rake:13.1.0",
            Self::Go => "golang.org/x/tools/gopls or golang.org/x/tools/gopls@v0.15.0",
            Self::Npm => "left-pad, @types/node or left-pad@1.3.0",
            Self::Pip => "six, six==1.16.0 or requests[socks]>=2,<3",
        }
    }

    fn accepts(self, package: &str) -> bool {
        match self {
            Self::Apt => is_debian(package),
            Self::Cargo => split(package, '@').is_some_and(|(name, version)| is_word(name, "_-") && version.is_none_or(is_version)),
            Self::Gem => split(package, ':').is_some_and(|(name, version)| is_word(name, "_-.") && version.is_none_or(is_version)),
            Self::Go => is_go(package),
            Self::Npm => is_npm(package),
            Self::Pip => is_python(package),
        }
    }
}

impl Packages {
    /// The packages of a manager.
    pub const fn of(&self, manager: Manager) -> &Vec<String> {
        match manager {
            Manager::Apt => &self.apt,
            Manager::Cargo => &self.cargo,
            Manager::Gem => &self.gem,
            Manager::Go => &self.go,
            Manager::Npm => &self.npm,
            Manager::Pip => &self.pip,
        }
    }

    /// The managers that have something to install, in order.
    pub fn managers(&self) -> impl Iterator<Item = (Manager, &[String])> {
        let all = Manager::ALL.into_iter().map(|manager| (manager, self.of(manager).as_slice()));
        all.filter(|(_, packages)| !packages.is_empty())
    }

    /// Whether nothing is to be installed.
    pub fn is_empty(&self) -> bool {
        self.managers().next().is_none()
    }

    /// Refuses what is no package.
    ///
    /// # Errors
    /// Which entry of which manager it is, and what one looks like.
    pub fn check(&self) -> Result<(), Refusal> {
        for (manager, packages) in self.managers() {
            let field = format!("config: packages.{}", manager.name());
            check_count(&field, packages.len(), limits::PACKAGES_PER_MANAGER)?;
            for package in packages {
                check_chars(&field, package, limits::PACKAGE_CHARS)?;
                if !manager.accepts(package) {
                    return Err(Refusal::invalid(format!(
                        "{field}: {package:?} is not a package; give a name and, if you like, a version: {}",
                        manager.form()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A name, and what follows after a sign if it is there.
fn split(package: &str, sign: char) -> Option<(&str, Option<&str>)> {
    match package.split_once(sign) {
        Some((name, version)) => (!version.is_empty()).then_some((name, Some(version))),
        None => Some((package, None)),
    }
}

/// Letters, digits and these signs, beginning with a letter or a digit.
fn is_word(text: &str, signs: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
}

/// A version such as `1.2.3-rc.1+build`.
fn is_version(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit()) && is_word(text, ".-+_")
}

/// A minus or plus at the end would remove or keep a package; `g++` is a name all the same.
fn is_debian(package: &str) -> bool {
    let Some((name, version)) = split(package, '=') else { return false };
    let is_lower = !name.chars().any(|c| c.is_ascii_uppercase());
    let is_name = name.len() >= 2 && is_lower && is_word(name, "+.-") && !name.ends_with(['-', '.']);
    let is_plus_well = !name.ends_with('+') || name.ends_with("++");
    is_name && is_plus_well && version.is_none_or(|version| version.starts_with(|c: char| c.is_ascii_digit()) && is_word(version, ".+-~:"))
}

/// An import path whose first part is a host, so that it is no path of this machine.
fn is_go(package: &str) -> bool {
    let Some((path, version)) = split(package, '@') else { return false };
    let is_part = |part: &str| is_word(part, "._~-") && !part.ends_with('.') && !part.contains("..");
    let host = path.split('/').next().unwrap_or_default();
    path.contains('/') && host.contains('.') && path.split('/').all(is_part) && version.is_none_or(|version| is_word(version, ".-+_"))
}

/// What looks like a file or an address to npm is none of ours, whatever it is called.
fn is_npm(package: &str) -> bool {
    let (scope, rest) = match package.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, rest)) => (Some(scope), rest),
            None => return false,
        },
        None => (None, package),
    };
    let Some((name, version)) = split(rest, '@') else { return false };
    let is_file = |text: &str| [".tgz", ".tar.gz", ".tar"].iter().any(|end| text.to_ascii_lowercase().ends_with(end));
    let is_range = |text: &str| {
        let bare = text.trim_start_matches(['^', '~', '<', '>', '=']);
        is_word(bare, ".-+_") && !is_file(bare)
    };
    scope.is_none_or(|scope| is_word(scope, "._-")) && is_word(name, "._-") && !is_file(name) && version.is_none_or(is_range)
}

/// A name, extras and versions; no address, no marker.
fn is_python(package: &str) -> bool {
    let end = package.find(['[', '=', '<', '>', '!', '~']).unwrap_or(package.len());
    let (name, mut rest) = package.split_at(end);
    // It must not look like a file that lies where pip is started.
    let is_file = [".whl", ".zip", ".gz", ".tar", ".tgz", ".bz2"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
    if !is_word(name, "._-") || name.ends_with(['.', '-', '_']) || is_file {
        return false;
    }
    if let Some(open) = rest.strip_prefix('[') {
        let Some((extras, after)) = open.split_once(']') else { return false };
        if !extras.split(',').all(|extra| is_word(extra, "._-")) {
            return false;
        }
        rest = after;
    }
    rest.is_empty() || rest.split(',').all(is_python_version)
}

fn is_python_version(text: &str) -> bool {
    let signs = ["===", "==", ">=", "<=", "~=", "!=", "<", ">"];
    let Some(version) = signs.iter().find_map(|sign| text.strip_prefix(sign)) else { return false };
    let bare = version.strip_suffix(".*").unwrap_or(version);
    is_word(bare, ".+!-_") && !bare.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_packages() {
        let table: [(Manager, &[&str]); 6] = [
            (Manager::Apt, &["jq", "g++", "libstdc++6", "jq=1.6-2.1+deb12u1", "python3.11", "vim=2:9.0.1378-2", "x11-apps=7.7+9~rc1"]),
            (Manager::Cargo, &["ripgrep", "ripgrep@14.1.0", "cargo-nextest@0.9.70-rc.1"]),
            (Manager::Gem, &["rake", "rake:13.1.0", "aws-sdk-s3"]),
            (Manager::Go, &["golang.org/x/tools/gopls", "golang.org/x/tools/gopls@v0.15.0", "gopkg.in/yaml.v3@latest"]),
            (Manager::Npm, &["left-pad", "left-pad@1.3.0", "@types/node", "@types/node@^20.1.0", "typescript@next", "lodash.get"]),
            (Manager::Pip, &["six", "six==1.16.0", "requests[socks,security]>=2,<3", "ruamel.yaml~=0.18", "torch==2.1.*", "x!=1.0"]),
        ];
        for (manager, packages) in table {
            for package in packages {
                assert!(manager.accepts(package), "{} {package}", manager.name());
            }
        }
    }

    #[test]
    fn what_a_manager_or_a_shell_would_take_for_something_else_is_none() {
        let everywhere = [
            "",
            " ",
            "-y",
            "--index-url=x",
            "a b",
            "a;b",
            "$(id)",
            "`id`",
            "a|b",
            "a&b",
            "a\nb",
            "../a",
            "./a",
            "/etc/passwd",
            ".",
            "..",
            "~",
            "a'b",
            "a\"b",
            "a\\b",
            "https://example.com/a",
            "file:a",
            "git+https://example.com/a",
            "a*",
            "a?",
            "é",
            "a#b",
            "a%b",
            "@",
            "a@",
            "{a,b}",
        ];
        for manager in Manager::ALL {
            for package in everywhere {
                assert!(!manager.accepts(package), "{} {package:?}", manager.name());
            }
        }
        let table: [(Manager, &[&str]); 6] = [
            (Manager::Apt, &["jq-", "jq+", "jq/stable", "jq=", "jq:amd64", "task^", "JQ", "jq=-1"]),
            (Manager::Cargo, &["a/b", "a@x", "a=1"]),
            (Manager::Gem, &["a/b", "a:", "a:x", "a:1:2"]),
            (Manager::Go, &["gopls", "./x/y", "example.com/../x", "example.com/x/...", "example.com/x@", "example.com/x@-y", "x/y"]),
            (
                Manager::Npm,
                &["a/b", "@a", "@/a", "@a/", "a@.", "a@..", "a@npm:b", "a@file:x", "a.tgz", "a@x.tar.gz", "a@1.tgz", "a@~/x", "github:a/b"],
            ),
            (Manager::Pip, &["a @ https://x", "a.whl", "a-1.tar.gz", "a[b", "a[]", "a==", "a=1", "a;x", "a==1;x", "a==1,", "a==../b"]),
        ];
        for (manager, packages) in table {
            for package in packages {
                assert!(!manager.accepts(package), "{} {package:?}", manager.name());
            }
        }
    }

    #[test]
    fn a_refusal_names_manager_and_remedy() {
        let packages = Packages { npm: vec!["left-pad".into(), "../x".into()], ..Packages::default() };
        let message = packages.check().unwrap_err().message;
        assert!(message.contains("packages.npm") && message.contains("../x") && message.contains("left-pad@1.3.0"), "{message}");
        let many = Packages { pip: vec!["six".into(); limits::PACKAGES_PER_MANAGER + 1], ..Packages::default() };
        assert!(many.check().is_err());
        assert!(Packages::default().check().is_ok() && Packages::default().is_empty());
    }
}
