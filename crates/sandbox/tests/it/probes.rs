//! Probes that somebody else wrote, run inside every kind of sandbox that there is here: a script named by
//! OSTLER_REDTEAM_SCRIPT, with canaries planted and listeners waiting on the host. Each probe says PASS, WARN,
//! SKIP or FAIL; what may be other than PASS is listed in the file that OSTLER_REDTEAM_ALLOWED names.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use ostler_sandbox::{CallRequest, IsolationFloor, OciConfig, SandboxSpec, Sandboxes, SandboxesConfig};
use serde_json::json;

use crate::home::{Home, bash, config, incarnation, session, text};

const PROCESSES: u64 = 400;
const MEMORY_MIB: u64 = 512;
const DISK_MIB: u64 = 256;
const FILES: u64 = 20_000;
const PROBES_MS: u64 = 600_000;

/// What is to be found nowhere.
struct Canaries {
    planted: Option<PathBuf>,
    _listeners: (TcpListener, UnixListener),
    port: u16,
}

impl Canaries {
    fn plant() -> Self {
        let canary = "RTCANARY-0123456789abcdef";
        let file = PathBuf::from("/etc/rt-canary");
        let planted = std::fs::write(&file, canary).is_ok().then_some(file);
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("rt-{port}")).unwrap()).unwrap();
        // The host can reach them, so that a refusal inside means something.
        drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
        Self { planted, _listeners: (tcp, unix), port }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        if let Some(planted) = &self.planted {
            let _ = std::fs::remove_file(planted);
        }
    }
}

/// Runs the script in a sandbox; what each probe said.
async fn probed(sandboxes: &Sandboxes, script: &str, has_groups: bool) -> BTreeMap<String, (String, String)> {
    let canaries = Canaries::plant();
    let spec = SandboxSpec {
        max_processes: PROCESSES,
        max_memory_bytes: MEMORY_MIB << 20,
        max_cpu_percent: 50,
        disk_bytes: DISK_MIB << 20,
        disk_inodes: FILES,
        ..SandboxSpec::default()
    };
    let neighbour = sandboxes.create(&session(), &incarnation(), &SandboxSpec::default()).await.unwrap();
    neighbour.run(&bash("echo RTCANARY-fedcba9876543210 >canary; RT=RTCANARY-fedcba9876543210 sleep 1000 & true")).await.unwrap();
    let id = session();
    let inside = sandboxes.create(&id, &incarnation(), &spec).await.unwrap();
    let write = CallRequest {
        id: crate::home::call_id(),
        tool: "write".into(),
        input: json!({"file_path": "/workspace/probes.sh", "content": script}),
        timeout_ms: None,
        environment: std::collections::BTreeMap::new(),
    };
    assert!(!inside.run(&write).await.unwrap().is_error);
    let mut settings = format!("RT_HOST_PORTS={} RT_HOST_PIDS={} RT_PLANT=1 RT_RACE_S=1", canaries.port, std::process::id());
    settings += " RT_DESTRUCTIVE=1 RT_MAX_PIDS=450 RT_MAX_DISK_MB=300";
    // A watcher sees what was taken a moment ago.
    settings += if has_groups { " RT_MAX_MEM_MB=600 RT_MAX_CPUS=1" } else { " RT_MAX_MEM_MB=2000" };
    let mut said = BTreeMap::new();
    // Those that end the whole call where limits are only watched are run by themselves.
    for only in ["^(?!x-)", "^x-threads|^x-fork", "^x-mem", "^x-disk", "^x-inodes", "^x-fds", "^x-cpu", "^x-log"] {
        let command = format!("{settings} RT_ONLY='{only}' sh /workspace/probes.sh 2>&1");
        let outcome = inside.run(&CallRequest { timeout_ms: Some(PROBES_MS), ..bash(&command) }).await.unwrap();
        let told = text(&outcome).to_owned();
        for line in told.lines() {
            let mut words = line.split_whitespace().filter(|word| !word.starts_with('('));
            let (Some(verdict), Some(id)) = (words.next(), words.next()) else { continue };
            if ["PASS", "FAIL", "WARN", "SKIP", "ERROR"].contains(&verdict) {
                said.insert(id.to_owned(), (verdict.to_owned(), line.to_owned()));
            }
        }
        if !has_groups && (told.contains("disk limit: ") || told.contains("[out of memory: ")) {
            let id = only.trim_start_matches('^').to_owned();
            said.insert(id, ("PASS".to_owned(), "ended by the watcher".to_owned()));
        }
        let next = inside.run(&bash("rm -rf /workspace/.rt* /tmp/.rt*; echo on")).await.unwrap();
        assert!(text(&next).contains("on"), "after {only}: {}", text(&next));
        let well = neighbour.run(&bash("echo well")).await.unwrap();
        assert_eq!(text(&well), "well\n", "after {only}");
        assert!(!told.contains("RTCANARY-0123456789abcdef") && !told.contains("RTCANARY-fedcba9876543210"), "{told}");
    }
    // The traps that were planted are moved as bytes, or refused; nothing of the host is among them, and what
    // was left behind ends with its sandbox.
    if let Ok(mut archive) = sandboxes.snapshot(&id, &inside, (2 * DISK_MIB) << 20).await {
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(has(b"rt-traps") && !has(b"RTCANARY-0123456789abcdef") && !has(b"root:*:") && !has(b"root:$"));
    }
    sandboxes.stop(&id).await.unwrap();
    let left = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let left: Vec<_> = left.filter(|line| line.windows(14).any(|window| window == b"rt-left-behind")).collect();
    assert!(left.is_empty(), "{left:?}");
    said
}

/// What may be said by a probe besides PASS in this kind of sandbox: lines of kind, probe, verdict and reason.
fn allowed(kind: &str) -> BTreeMap<String, String> {
    let path = std::env::var("OSTLER_REDTEAM_ALLOWED").expect("OSTLER_REDTEAM_ALLOWED names the file of what is allowed");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let here = lines.filter(|words| words.len() > 2 && [kind, "offline", "all"].contains(&words[0]));
    here.map(|words| (words[1].to_owned(), words[2].to_owned())).collect()
}

#[expect(clippy::print_stderr, reason = "the result of each probe is the result of the suite")]
fn judge(kind: &str, said: &BTreeMap<String, (String, String)>) {
    let allowed = allowed(kind);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (id, (verdict, line)) in said {
        *counts.entry(verdict).or_default() += 1;
        if verdict != "PASS" {
            eprintln!("{kind}: {line}");
        }
        if verdict != "PASS" && allowed.get(id) != Some(verdict) {
            wrong.push(line.clone());
        }
    }
    eprintln!("probes in {kind}: {counts:?}");
    assert!(said.len() > 60, "{kind}: only {} probes ran", said.len());
    assert!(wrong.is_empty(), "{kind}: {wrong:#?}");
}

fn script() -> Option<String> {
    let path = std::env::var_os("OSTLER_REDTEAM_SCRIPT")?;
    Some(std::fs::read_to_string(path).unwrap())
}

/// Run by root, again as a user that owns nothing.
#[test]
fn in_a_namespace() {
    if script().is_none() {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(namespace());
    if nix::unistd::geteuid().is_root() {
        crate::user::as_nobody_else("probes::in_a_namespace", true);
    }
}

async fn namespace() {
    let Some(script) = script() else { return };
    let home = Home::new().await;
    let isolation = home.sandboxes.probe().await.unwrap();
    let has_groups = isolation.layers.iter().any(|layer| layer.starts_with("control groups (memory"));
    let kind = if nix::unistd::geteuid().is_root() { "root" } else { "user" };
    judge(kind, &probed(&home.sandboxes, &script, has_groups).await);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_container() {
    let (Some(script), Some(socket)) = (script(), std::env::var_os("OSTLER_TEST_ENGINE")) else { return };
    let home = Home::new().await;
    let oci = Some(OciConfig { socket: socket.into(), runtime: None, isolation: IsolationFloor::OwnIds, for_all: true });
    let sandboxes = Sandboxes::start(SandboxesConfig { oci, ..config(&home.path(), 1) }).await.unwrap();
    judge("oci", &probed(&sandboxes, &script, true).await);
    for id in sandboxes.list().await.unwrap() {
        sandboxes.remove(&id).await.unwrap();
    }
    sandboxes.shutdown().await.unwrap();
}
