//! What a process that has shut itself off can still do, tried from inside it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::kill;
use nix::unistd::{geteuid, getppid};
use ostler_egress::confine::{self, Confinement, USUAL_USER, User};

/// Set for the process of the first test.
const INSIDE: &str = "OSTLER_EGRESS_TEST_CONFINED";

#[test]
#[ignore = "started by the test below, and no good for anything after"]
fn inside() {
    let Some(port) = std::env::var_os(INSIDE) else { return };
    confine::prepare().unwrap();
    let before = geteuid();
    let Confinement { own_user, .. } = confine::enter(User::Usual).unwrap();
    let said = |what: &str, refused: bool| writeln!(std::io::stdout(), "\n{what}={refused}").unwrap();
    let expected = if before.is_root() { (Some(USUAL_USER), USUAL_USER) } else { (None, before.as_raw()) };
    said("has the user that it says", (own_user, geteuid().as_raw()) == expected);
    said("reads no file", std::fs::read("/etc/hostname").is_err() && std::fs::File::open("/proc/self/environ").is_err());
    said("makes no file", std::fs::write("/tmp/ostler-egress-test", "x").is_err());
    said("starts no program", Command::new("/bin/true").status().is_err());
    said("becomes no program", Command::new("/bin/true").exec().raw_os_error() == Some(nix::libc::EPERM));
    said("signals nobody", kill(getppid(), None).is_err());
    said(
        "connects to no socket of the machine",
        UnixStream::connect("/run/systemd/notify").is_err_and(|error| error.raw_os_error() == Some(nix::libc::EPERM)),
    );
    // What it is for goes on.
    let port: u16 = port.to_str().unwrap().parse().unwrap();
    said("reaches hosts", std::thread::spawn(move || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).join().unwrap());
    said("knows its addresses", nix::ifaddrs::getifaddrs().is_ok_and(|mut found| found.next().is_some()));
}

#[test]
fn a_confined_process_reaches_hosts_and_nothing_else() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confined::inside", "--ignored", "--nocapture"])
        .env(INSIDE, host.local_addr().unwrap().port().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    child.wait().unwrap();
    let said: Vec<&str> = lines.iter().filter_map(|line| line.strip_suffix("=true")).collect();
    let wanted = [
        "has the user that it says",
        "reads no file",
        "makes no file",
        "starts no program",
        "becomes no program",
        "signals nobody",
        "connects to no socket of the machine",
        "reaches hosts",
        "knows its addresses",
    ];
    assert_eq!(said, wanted, "{lines:#?}");
}
