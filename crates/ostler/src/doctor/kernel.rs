//! What the kernel has and allows: its version, user namespaces, filters of system calls, Landlock.
//! Looked at before this process has a second thread, because a child process tries it.

use nix::errno::Errno;
use ostler_sandbox::survey::{self, NamespaceRefusal, NamespaceStep};

use super::read;
use super::report::{Finding, quote};

/// The oldest kernel with what sandboxes need: changing the attributes of mounts.
const OLDEST: (u32, u32) = (5, 12);

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) is_root: bool,
    /// How entering namespaces went; the error when it could not even be tried.
    pub(super) namespaces: Result<Option<NamespaceRefusal>, String>,
    /// `user.max_user_namespaces`.
    pub(super) most_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, which only Debian and its like have.
    pub(super) unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, which only Ubuntu and its like have.
    pub(super) apparmor_restricts: Option<u64>,
    pub(super) seccomp: Result<(), String>,
    /// Whether this process is itself under a filter, as in most containers.
    pub(super) is_filtered: bool,
    pub(super) landlock: Result<u32, String>,
}

/// Looks. The process must have one thread.
pub(super) fn look() -> Kernel {
    let number = |name: &str| read::number(&format!("/proc/sys/{name}"));
    let status = read::text("/proc/self/status").unwrap_or_default();
    Kernel {
        release: read::text("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        is_root: nix::unistd::geteuid().is_root(),
        namespaces: survey::try_namespaces().map_err(|error| error.to_string()),
        most_user_namespaces: number("user/max_user_namespaces"),
        unprivileged_userns_clone: number("kernel/unprivileged_userns_clone"),
        apparmor_restricts: number("kernel/apparmor_restrict_unprivileged_userns"),
        seccomp: survey::seccomp_filters().map_err(|error| error.to_string()),
        is_filtered: read::field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
        landlock: survey::landlock_abi().map_err(|error| error.to_string()),
    }
}

impl Kernel {
    pub(super) fn judge(&self) -> Vec<Finding> {
        vec![self.version(), self.user_namespaces(), self.filters(), self.landlock()]
    }

    fn version(&self) -> Finding {
        let found = format!("Linux {}", quote(&self.release));
        match version(&self.release) {
            Some(version) if version >= OLDEST => Finding::ok("kernel", found),
            Some(_) => {
                Finding::problem("kernel", found, format!("run Linux {}.{} or later: sandboxes need what it has", OLDEST.0, OLDEST.1))
            }
            None => Finding::note(
                "kernel",
                format!("a release that cannot be read: {:?}", quote(&self.release)),
                "make sure that /proc is mounted",
            ),
        }
    }

    fn user_namespaces(&self) -> Finding {
        const NAME: &str = "user_namespaces";
        match &self.namespaces {
            Ok(None) => {
                let most = self.most_user_namespaces.map_or(String::new(), |most| format!(", at most {most} at once"));
                Finding::ok(NAME, format!("made one as {}{most}", if self.is_root { "root" } else { "an ordinary user" }))
            }
            Ok(Some(refusal)) => Finding::problem(NAME, self.refused(refusal), self.remedy(refusal)),
            Err(error) => Finding::problem(
                NAME,
                format!("could not be tried: {}", quote(error)),
                "allow this user more processes (ulimit -u), and in a container the system calls for namespaces",
            ),
        }
    }

    fn refused(&self, refusal: &NamespaceRefusal) -> String {
        let what = match refusal.step {
            NamespaceStep::User => "making a user namespace",
            NamespaceStep::Ids => "mapping ids into a user namespace",
            NamespaceStep::Others => "making namespaces inside a user namespace",
            NamespaceStep::Mounts => "mounting inside a user namespace",
        };
        format!("{what}: {}", std::io::Error::from_raw_os_error(refusal.errno))
    }

    fn remedy(&self, refusal: &NamespaceRefusal) -> String {
        let error = Errno::from_raw(refusal.errno);
        let always = |setting: &str| format!("sysctl -w {setting}  (and the same line in /etc/sysctl.d/ostler.conf, to keep it)");
        if self.most_user_namespaces == Some(0) {
            always("user.max_user_namespaces=16384")
        } else if error == Errno::ENOSPC {
            format!("{}: the limit is reached", always("user.max_user_namespaces=65536"))
        } else if matches!(error, Errno::EINVAL | Errno::ENOSYS) && refusal.step == NamespaceStep::User {
            "run a kernel with CONFIG_USER_NS".to_owned()
        } else if !self.is_root && self.unprivileged_userns_clone == Some(0) {
            always("kernel.unprivileged_userns_clone=1")
        } else if !self.is_root && self.apparmor_restricts.is_some_and(|restricts| restricts != 0) {
            always("kernel.apparmor_restrict_unprivileged_userns=0")
        } else if self.is_filtered {
            "this process is in a container that forbids it; in Docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
             --security-opt systempaths=unconfined"
                .to_owned()
        } else {
            "a security module or a chroot forbids it: run the server outside of it, and see the kernel's log (dmesg) for the module's name"
                .to_owned()
        }
    }

    fn filters(&self) -> Finding {
        match &self.seccomp {
            Ok(()) if self.is_filtered => Finding::ok("seccomp", "filters can be set; this process is under one itself, as in a container"),
            Ok(()) => Finding::ok("seccomp", "filters can be set"),
            Err(error) => Finding::problem(
                "seccomp",
                format!("no filters: {}", quote(error)),
                "run a kernel with CONFIG_SECCOMP_FILTER (4.14 or later)",
            ),
        }
    }

    fn landlock(&self) -> Finding {
        match &self.landlock {
            Ok(version) => Finding::ok("landlock", format!("version {version}, behind the mounts of sandboxes")),
            Err(error) => {
                Finding::aside("landlock", format!("none ({}); sandboxes start without this second wall behind their mounts", quote(error)))
            }
        }
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Status, assert_finding};
    use super::*;

    fn good() -> Kernel {
        Kernel {
            release: "6.18.44-x".into(),
            is_root: false,
            namespaces: Ok(None),
            most_user_namespaces: Some(96_365),
            unprivileged_userns_clone: None,
            apparmor_restricts: None,
            seccomp: Ok(()),
            is_filtered: false,
            landlock: Ok(7),
        }
    }

    fn refused(step: NamespaceStep, error: Errno) -> Kernel {
        Kernel { namespaces: Ok(Some(NamespaceRefusal { step, errno: error as i32 })), ..good() }
    }

    #[test]
    fn a_good_kernel_has_nothing_to_be_said_of() {
        assert!(good().judge().iter().all(|finding| finding.status == Status::Ok), "{:?}", good().judge());
    }

    #[test]
    fn every_way_to_forbid_user_namespaces_has_its_remedy() {
        use NamespaceStep::{Ids, Mounts, Others, User};
        let table = [
            (Kernel { most_user_namespaces: Some(0), ..refused(User, Errno::ENOSPC) }, "user.max_user_namespaces=16384"),
            (refused(User, Errno::ENOSPC), "the limit is reached"),
            (refused(User, Errno::EINVAL), "CONFIG_USER_NS"),
            (refused(User, Errno::ENOSYS), "CONFIG_USER_NS"),
            (Kernel { unprivileged_userns_clone: Some(0), ..refused(User, Errno::EPERM) }, "kernel.unprivileged_userns_clone=1"),
            (Kernel { apparmor_restricts: Some(1), ..refused(Ids, Errno::EACCES) }, "apparmor_restrict_unprivileged_userns=0"),
            (Kernel { apparmor_restricts: Some(1), ..refused(Others, Errno::EPERM) }, "apparmor_restrict_unprivileged_userns=0"),
            (Kernel { is_filtered: true, ..refused(User, Errno::EPERM) }, "--security-opt seccomp=unconfined"),
            (Kernel { is_root: true, unprivileged_userns_clone: Some(0), ..refused(User, Errno::EPERM) }, "chroot"),
            (refused(Mounts, Errno::EACCES), "security module"),
        ];
        for (kernel, remedy) in table {
            assert_finding(&kernel.judge(), "user_namespaces", Status::Problem, "namespace", remedy);
        }
        let untried = Kernel { namespaces: Err("no processes left".into()), ..good() };
        assert_finding(&untried.judge(), "user_namespaces", Status::Problem, "no processes left", "ulimit -u");
    }

    #[test]
    fn an_old_kernel_is_a_problem_and_an_unreadable_one_is_not() {
        for (release, status, remedy) in [
            ("5.12.0", Status::Ok, ""),
            ("10.0-rc1", Status::Ok, ""),
            ("5.11.22-generic", Status::Problem, "5.12 or later"),
            ("4.18.0-553.el8", Status::Problem, "5.12 or later"),
            ("", Status::Note, "/proc"),
        ] {
            let kernel = Kernel { release: release.into(), ..good() };
            assert_finding(&kernel.judge(), "kernel", status, "", remedy);
        }
    }

    #[test]
    fn without_filters_nothing_works_and_without_landlock_everything_does() {
        let kernel = Kernel { seccomp: Err("ENOSYS".into()), landlock: Err("ENOSYS".into()), ..good() };
        assert_finding(&kernel.judge(), "seccomp", Status::Problem, "ENOSYS", "CONFIG_SECCOMP_FILTER");
        assert_finding(&kernel.judge(), "landlock", Status::Note, "second wall", "");
    }
}
