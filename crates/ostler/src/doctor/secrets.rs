//! How well secrets are kept on this machine: who holds provider keys, who could read the memory of
//! the server, and who can read the files with keys in them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::data_dir::Lock;
use super::read;
use super::report::{Finding, quote};
use super::settings::SettingsFile;
use crate::bootstrap;

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub(super) uid: u32,
    /// Configured providers that have a key; `None`: the settings cannot be used.
    pub(super) provider_keys: Option<usize>,
    /// The running server, whose limits were looked at instead of our own.
    pub(super) server: Option<u32>,
    /// The most bytes of a core dump; `None`: no limit.
    pub(super) core_limit: Option<u64>,
    /// `kernel.core_pattern`.
    pub(super) core_pattern: String,
    /// `kernel.yama.ptrace_scope`; `None`: there is no Yama.
    pub(super) ptrace_scope: Option<u64>,
    pub(super) files: Vec<SecretFile>,
}

/// A file with a key in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SecretFile {
    pub(super) path: PathBuf,
    pub(super) owner: u32,
    pub(super) mode: u32,
}

pub(super) fn look(settings: Option<&SettingsFile>, data_dir: Option<&Path>, lock: Lock, provider_keys: Option<usize>) -> Secrets {
    let limits_of = |who: &str| read::text(format!("/proc/{who}/limits"));
    let server = match lock {
        Lock::Process(pid) => limits_of(&pid.to_string()).map(|limits| (pid, limits)),
        _ => None,
    };
    let limits = server.as_ref().map_or_else(|| limits_of("self").unwrap_or_default(), |(_, limits)| limits.clone());
    let mut files: Vec<SecretFile> = settings
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
        server: server.map(|(pid, _)| pid),
        core_limit: core_limit(&limits),
        core_pattern: read::text("/proc/sys/kernel/core_pattern").unwrap_or_default().trim().to_owned(),
        ptrace_scope: read::number("/proc/sys/kernel/yama/ptrace_scope"),
        files,
    }
}

/// The soft limit of core dumps in a `/proc/PID/limits`; `None` where there is no limit.
fn core_limit(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max core file size"))?.split_whitespace().next()?.parse().ok()
}

impl Secrets {
    pub(super) fn judge(&self) -> Vec<Finding> {
        vec![self.holder(), self.dumps(), self.ptrace(), self.files()]
    }

    fn holder(&self) -> Finding {
        const NAME: &str = "key_holder";
        match self.provider_keys {
            None => Finding::aside(NAME, "not judged, because the settings cannot be used"),
            Some(0) => Finding::ok(NAME, "no provider's key is configured"),
            Some(count) => {
                let keys = if count == 1 { "a provider's key".to_owned() } else { format!("the keys of {count} providers") };
                Finding::note(
                    NAME,
                    format!(
                        "the server's own process holds {keys}: there is no separate egress process yet, so code execution in the server reads them"
                    ),
                    "use keys of the provider that are for this server alone and have a spending limit",
                )
            }
        }
    }

    fn dumps(&self) -> Finding {
        const NAME: &str = "core_dumps";
        let whose = self.server.map_or("a server started from here".to_owned(), |pid| format!("the server (process {pid})"));
        let is_piped = self.core_pattern.starts_with('|');
        // For a handler behind a pipe the kernel knows one limit only: one byte means none at all.
        let is_off = if is_piped { self.core_limit == Some(1) } else { self.core_limit.is_some_and(|limit| limit <= 1) };
        if is_off {
            return Finding::ok(NAME, format!("{whose} leaves none"));
        }
        let to = if is_piped {
            format!("goes to the handler {}", quote(self.core_pattern.trim_start_matches('|')))
        } else {
            "is written to a file".to_owned()
        };
        let remedy = match self.server {
            Some(pid) if is_piped => format!("prlimit --core=1 --pid {pid}, and LimitCORE=1 in its systemd unit, to keep it"),
            Some(pid) => format!("prlimit --core=0 --pid {pid}, and LimitCORE=0 in its systemd unit, to keep it"),
            None if is_piped => "start the server with: prlimit --core=1 ostler serve  (LimitCORE=1 in a systemd unit)".to_owned(),
            None => "start the server with: prlimit --core=0 ostler serve  (LimitCORE=0 in a systemd unit)".to_owned(),
        };
        Finding::note(NAME, format!("if {whose} crashes, its memory, with keys, {to}"), remedy)
    }

    fn ptrace(&self) -> Finding {
        const NAME: &str = "ptrace";
        match (self.uid, self.ptrace_scope) {
            (0, _) => Finding::ok(NAME, "the server runs as root: only root can read its memory"),
            (_, Some(1..)) => Finding::ok(NAME, "processes of the same user cannot read the server's memory (Yama)"),
            (uid, Some(0)) => Finding::note(
                NAME,
                format!("every process of user {uid} can read the server's memory, keys too"),
                "sysctl -w kernel.yama.ptrace_scope=1  (and the same line in /etc/sysctl.d/ostler.conf, to keep it), and give the server a user of its own",
            ),
            (uid, None) => Finding::note(
                NAME,
                format!("every process of user {uid} can read the server's memory, keys too; this kernel has no Yama to forbid it"),
                "give the server a user of its own",
            ),
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
            uid: 1_000,
            provider_keys: Some(0),
            server: None,
            core_limit: Some(0),
            core_pattern: "core".into(),
            ptrace_scope: Some(1),
            files: vec![SecretFile { path: "/d/api-key".into(), owner: 1_000, mode: 0o600 }],
        }
    }

    #[test]
    fn a_good_machine_has_nothing_to_be_said_of() {
        assert!(good().judge().iter().all(|finding| finding.status == Status::Ok), "{:#?}", good().judge());
    }

    #[test]
    fn who_holds_the_keys_is_said_as_it_is() {
        let held = Secrets { provider_keys: Some(2), ..good() };
        assert_finding(
            &held.judge(),
            "key_holder",
            Status::Note,
            "holds the keys of 2 providers: there is no separate egress process yet",
            "spending limit",
        );
        assert_finding(&Secrets { provider_keys: None, ..good() }.judge(), "key_holder", Status::Note, "not judged", "");
    }

    #[test]
    fn dumps_of_memory_are_told_of_wherever_they_go() {
        let dump = |pattern: &str, core_limit, server| Secrets { core_pattern: pattern.into(), core_limit, server, ..good() }.judge();
        let piped = "|/usr/lib/systemd-coredump %P";
        assert_finding(&dump("core", None, None), "core_dumps", Status::Note, "written to a file", "prlimit --core=0 ostler serve");
        assert_finding(&dump("core", Some(4_096), Some(7)), "core_dumps", Status::Note, "the server (process 7)", "--pid 7");
        assert_finding(
            &dump(piped, Some(0), None),
            "core_dumps",
            Status::Note,
            "handler /usr/lib/systemd-coredump",
            "--core=1 ostler serve",
        );
        assert_finding(&dump(piped, None, Some(7)), "core_dumps", Status::Note, "handler", "--core=1 --pid 7");
        assert_finding(&dump(piped, Some(1), None), "core_dumps", Status::Ok, "leaves none", "");
        assert_finding(&dump("core", Some(1), None), "core_dumps", Status::Ok, "leaves none", "");
    }

    #[test]
    fn who_can_read_memory_is_told() {
        let scope = |uid, ptrace_scope| Secrets { uid, ptrace_scope, files: Vec::new(), ..good() }.judge();
        assert_finding(&scope(1_000, Some(0)), "ptrace", Status::Note, "user 1000", "kernel.yama.ptrace_scope=1");
        assert_finding(&scope(1_000, None), "ptrace", Status::Note, "no Yama", "user of its own");
        assert_finding(&scope(0, None), "ptrace", Status::Ok, "only root", "");
    }

    #[test]
    fn files_with_keys_that_others_can_read_are_a_problem() {
        let file = |owner, mode| Secrets { files: vec![SecretFile { path: "/d/server.json".into(), owner, mode }], ..good() }.judge();
        assert_finding(&file(1_000, 0o644), "secret_files", Status::Problem, "/d/server.json has mode 0644", "chmod 600 /d/server.json");
        assert_finding(&file(1_000, 0o660), "secret_files", Status::Problem, "0660", "chmod 600");
        assert_finding(&file(501, 0o600), "secret_files", Status::Note, "belongs to user 501", "chown 1000");
        assert_finding(&Secrets { files: Vec::new(), ..good() }.judge(), "secret_files", Status::Ok, "none yet", "");
    }

    #[test]
    fn the_limit_of_dumps_is_read_from_the_kernels_table() {
        let line = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \nMax core file size        {soft}                    unlimited            bytes     \n"
            )
        };
        assert_eq!(core_limit(&line("0")), Some(0));
        assert_eq!(core_limit(&line("unlimited")), None);
        assert_eq!(core_limit(""), None);
    }
}
