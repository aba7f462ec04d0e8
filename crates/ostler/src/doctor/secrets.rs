//! How well secrets are kept on this machine: who holds keys, as whom that runs, and who can read the files with keys in them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_egress::confine::{USUAL_USER, User};

use super::read;
use super::report::{Finding, quote};
use super::settings::SettingsFile;
use crate::bootstrap;
use crate::config::Settings;

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub(super) uid: u32,
    /// Configured providers that have a key; `None`: the settings cannot be used.
    pub(super) provider_keys: Option<usize>,
    /// As whom egress is to run; `None`: the settings cannot be used.
    pub(super) egress: Option<User>,
    /// The user of this machine who has that id already.
    pub(super) namesake: Option<String>,
    pub(super) files: Vec<SecretFile>,
}

/// A file with a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretFile {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    pub(super) mode: u32,
}

pub(super) fn look(
    file: Option<&SettingsFile>,
    data_dir: Option<&Path>,
    settings: Option<&Settings>,
    provider_keys: Option<usize>,
) -> Secrets {
    let egress = settings.map(|settings| settings.egress.user);
    let passwd = read::text("/etc/passwd").unwrap_or_default();
    let mut files: Vec<SecretFile> = file
        .filter(|file| file.holds_key)
        .map(|file| SecretFile { path: file.path.clone(), owner: file.owner, mode: file.mode })
        .into_iter()
        .collect();
    if let Some(dir) = data_dir {
        for path in [bootstrap::key_file(dir), bootstrap::access_file(dir), dir.join("ostler.db")] {
            let found = std::fs::metadata(&path);
            files.extend(found.map(|found| SecretFile { path, owner: found.uid(), mode: found.mode() & 0o7777 }));
        }
    }
    Secrets {
        uid: nix::unistd::geteuid().as_raw(),
        provider_keys,
        egress,
        namesake: egress.and_then(id_of).and_then(|id| namesake(&passwd, id)),
        files,
    }
}

fn id_of(user: User) -> Option<u32> {
    match user {
        User::Usual => Some(USUAL_USER),
        User::Own(id) => Some(id),
        User::Server => None,
    }
}

/// Who has an id in `/etc/passwd`.
fn namesake(passwd: &str, id: u32) -> Option<String> {
    let mut people = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    people.find(|fields| fields.get(2) == Some(&id.to_string().as_str())).map(|fields| fields[0].to_owned())
}

impl Secrets {
    pub(super) fn judge(&self) -> Vec<Finding> {
        vec![self.holder(), self.egress(), self.files()]
    }

    fn holder(&self) -> Finding {
        const NAME: &str = "key_holder";
        match self.provider_keys {
            None => Finding::aside(NAME, "not judged, because the settings cannot be used"),
            Some(0) => Finding::ok(NAME, "no provider's key is configured; the vault key is with egress, a process of its own"),
            Some(count) => {
                let keys = if count == 1 { "a provider's key".to_owned() } else { format!("the keys of {count} providers") };
                Finding::ok(NAME, format!("egress, a process of its own, has {keys} and the vault key; the server has none of them"))
            }
        }
    }

    fn egress(&self) -> Finding {
        const NAME: &str = "egress";
        let Some(user) = self.egress else { return Finding::aside(NAME, "not judged, because the settings cannot be used") };
        let shared = |why: &str| {
            let found = format!("it runs as the server's user, {}: {why}; it can open no file and start no program all the same", self.uid);
            Finding::note(NAME, found, "run the server as root, and without user = \"server\" in [egress]; egress then gives root up")
        };
        match (self.uid, id_of(user), &self.namesake) {
            (_, None, _) => shared("the settings say so"),
            (0, Some(id), Some(name)) => Finding::problem(
                NAME,
                format!("its user {id} is {} on this machine", quote(name)),
                "give egress an id that nobody has, with user in [egress] of the settings",
            ),
            (0, Some(id), None) => Finding::ok(NAME, format!("runs as user {id}, which nobody else is, without files and programs")),
            (_, Some(id), _) if user == User::Own(id) => Finding::problem(
                NAME,
                format!("only root can give it the user {id}, so it will not start"),
                "start the server as root, or say user = \"server\" in [egress] of the settings",
            ),
            (_, Some(_), _) => shared("only root can give it one of its own"),
        }
    }

    fn files(&self) -> Finding {
        const NAME: &str = "secret_files";
        let shown = |file: &SecretFile| quote(&file.path.display().to_string());
        if let Some(open) = self.files.iter().find(|file| file.mode & 0o077 != 0) {
            let all: Vec<String> = self.files.iter().filter(|file| file.mode & 0o077 != 0).map(shown).collect();
            let found = format!("{} has mode {:04o}: other users can get at what is secret in it", shown(open), open.mode);
            return Finding::problem(NAME, found, format!("chmod 600 {}", all.join(" ")));
        }
        if let Some(foreign) = self.files.iter().find(|file| file.owner != self.uid && file.owner != 0) {
            let found = format!("{} belongs to user {}", shown(foreign), foreign.owner);
            return Finding::note(
                NAME,
                found,
                format!("if the server is to run as that user, run this as that user; else: chown {} {}", self.uid, shown(foreign)),
            );
        }
        match self.files.len() {
            0 => Finding::ok(NAME, "none yet"),
            count => Finding::ok(NAME, format!("{count}, each for its owner alone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> Secrets {
        Secrets {
            uid: 0,
            provider_keys: Some(0),
            egress: Some(User::Usual),
            namesake: None,
            files: vec![SecretFile { path: "/d/api-key".into(), owner: 0, mode: 0o600 }],
        }
    }

    #[test]
    fn a_good_machine_has_nothing_to_be_said_of() {
        assert!(good().judge().iter().all(|finding| finding.status == Status::Ok), "{:#?}", good().judge());
    }

    #[test]
    fn who_holds_the_keys_is_said_as_it_is() {
        let held = Secrets { provider_keys: Some(2), ..good() };
        assert_finding(&held.judge(), "key_holder", Status::Ok, "has the keys of 2 providers and the vault key; the server has none", "");
        assert_finding(&Secrets { provider_keys: None, ..good() }.judge(), "key_holder", Status::Note, "not judged", "");
    }

    #[test]
    fn as_whom_egress_runs_is_told() {
        let table = [
            (0, Some(User::Usual), None, Status::Ok, "user 60750", ""),
            (0, Some(User::Own(7)), Some("games"), Status::Problem, "user 7 is games", "nobody has"),
            (0, Some(User::Server), None, Status::Note, "the settings say so", "user = \"server\""),
            (1_000, Some(User::Usual), None, Status::Note, "the server's user, 1000: only root", "as root"),
            (1_000, Some(User::Own(7)), None, Status::Problem, "will not start", "as root"),
            (0, None, None, Status::Note, "not judged", ""),
        ];
        for (uid, egress, namesake, status, found, remedy) in table {
            let seen = Secrets { uid, egress, namesake: namesake.map(str::to_owned), files: Vec::new(), ..good() };
            assert_finding(&seen.judge(), "egress", status, found, remedy);
        }
        assert_eq!(namesake("root:x:0:0::/:/bin/sh\ngames:x:5:60:games:/usr/games:\n", 5), Some("games".into()));
        assert_eq!(namesake("root:x:0:0::/:/bin/sh\ngames:x:5:60:games:/usr/games:\n", 60), None);
    }

    #[test]
    fn files_with_keys_that_others_can_read_are_a_problem() {
        let file =
            |owner, mode| Secrets { uid: 1_000, files: vec![SecretFile { path: "/d/server.json".into(), owner, mode }], ..good() }.judge();
        assert_finding(&file(1_000, 0o644), "secret_files", Status::Problem, "/d/server.json has mode 0644", "chmod 600 /d/server.json");
        assert_finding(&file(1_000, 0o660), "secret_files", Status::Problem, "0660", "chmod 600");
        assert_finding(&file(501, 0o600), "secret_files", Status::Note, "belongs to user 501", "chown 1000");
        assert_finding(&Secrets { files: Vec::new(), ..good() }.judge(), "secret_files", Status::Ok, "none yet", "");
    }
}
