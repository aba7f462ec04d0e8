//! Attacks, one test each: contained by a sandbox as it is, and, so that this means something, successful in one
//! that lacks the layer against it. As root; an ordinary user's sandboxes have other outer walls.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it is skipped")]

#[path = "../it/home.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod home;

use ostler_sandbox::SandboxSpec;

use home::{Home, bash, incarnation, session, text};

/// What an attacker does, and what is seen if it works.
struct Attack {
    /// The layers against it.
    layers: &'static [&'static str],
    command: String,
    /// In the output of the command.
    works: fn(&str) -> bool,
    spec: SandboxSpec,
}

fn attack(layers: &'static [&'static str], command: impl Into<String>, works: fn(&str) -> bool) -> Attack {
    Attack { layers, command: command.into(), works, spec: SandboxSpec::default() }
}

/// A Python program as a command.
fn python(text: &str) -> String {
    format!("python3 - <<'END' 2>&1\n{text}\nEND\n")
}

/// A system call by its number.
fn call(number: libc::c_long, arguments: &str) -> String {
    python(&format!(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nresult = libc.syscall({number}, {arguments})\n\
         print('refused' if result < 0 and ctypes.get_errno() in (1, 38) else 'reached the kernel')"
    ))
}

fn reached(text: &str) -> bool {
    text.contains("reached the kernel")
}

async fn tried(home: &Home, attack: &Attack, lacks: &[&str]) -> String {
    let lacks = attack.spec.lacks.iter().cloned().chain(lacks.iter().map(|layer| (*layer).to_owned())).collect();
    let spec = SandboxSpec { lacks, ..attack.spec.clone() };
    let id = session();
    let inside = home.sandboxes.create(&id, &incarnation(), &spec).await.unwrap();
    let outcome = inside.run(&bash(&attack.command)).await;
    let said = outcome.as_ref().map_or_else(|error| format!("{error:?}"), |outcome| text(outcome).to_owned());
    home.sandboxes.remove(&id).await.unwrap();
    said
}

async fn contained(attack: Attack) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can show that these layers hold");
        return;
    }
    let home = Home::new().await;
    let said = tried(&home, &attack, &[]).await;
    assert!(!(attack.works)(&said), "it works: {said}");
    let said = tried(&home, &attack, attack.layers).await;
    assert!((attack.works)(&said), "without {:?} it must work, or this test shows nothing: {said}", attack.layers);
    home.end().await;
}

macro_rules! attacks {
    ($($name:ident: $attack:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                contained($attack).await;
            }
        )*
    };
}

const MANY: u64 = 100;

attacks! {
    processes_of_the_host_are_seen: attack(&["pid namespace"], "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; done 2>/dev/null; true", |said| said.contains("attacks"));
    the_memory_of_init_is_read: attack(&["hidden init"], "cat /proc/1/maps | head -1", |said| said.contains("r--p") || said.contains("r-xp"));
    a_user_namespace_is_made: attack(&["seccomp", "limits"], call(libc::SYS_unshare, "0x10000000"), reached);
    a_program_for_the_kernel_is_loaded: attack(&["seccomp"], call(libc::SYS_bpf, "0, None, 0"), reached);
    io_uring_is_set_up: attack(&["seccomp"], call(libc::SYS_io_uring_setup, "1, None"), reached);
    the_machines_contexts_of_asynchronous_io_are_taken: attack(&["seccomp"], call(libc::SYS_io_setup, "1, ctypes.byref(ctypes.c_ulong())"), reached);
    page_faults_are_handled: attack(&["seccomp"], call(libc::SYS_userfaultfd, "0x1"), reached);
    keys_of_the_kernel_are_used: attack(&["seccomp"], call(libc::SYS_keyctl, "0, -3, 0"), reached);
    the_hypervisor_is_addressed: attack(&["seccomp"], python("import socket\ntry:\n  socket.socket(40, 1)\n  print('reached the kernel')\nexcept OSError as e: print(e)"), reached);
    a_terminal_is_typed_into: attack(&["seccomp"], python("import fcntl, os\ntry:\n  fcntl.ioctl(0, 0x5412, b'x')\nexcept OSError as e:\n  print('reached the kernel' if e.errno == 25 else e)"), reached);
    symbols_of_the_kernel_are_read: attack(&["masks"], "wc -l </proc/kallsyms", |said| said.trim().parse::<u64>().is_ok_and(|lines| lines > 1_000));
}

/// A file of the host that everybody there may read, and a directory that everybody may write.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_host_are_read_and_written() {
    let Ok(dir) = tempfile::tempdir_in("/srv") else { return eprintln!("skipped: /srv cannot be written") };
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::write(dir.path().join("canary"), "CANARY").unwrap();
    let path = dir.path().display();
    contained(attack(&["minimal root", "landlock"], format!("cat {path}/canary; echo x >{path}/written && echo wrote"), |said| {
        said.contains("CANARY") && said.contains("wrote")
    }))
    .await;
    // Were they there, they could not be written.
    let spec = SandboxSpec { lacks: vec!["minimal root".into()], ..SandboxSpec::default() };
    contained(Attack { spec, ..attack(&["landlock"], format!("echo x >{path}/again && echo wrote"), |said| said.contains("wrote")) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_the_host_is_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    contained(attack(&["net namespace"], format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached"), |said| said.contains("reached")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_memory_of_the_host_is_found() {
    let id = std::process::Command::new("ipcmk").args(["-M", "4096", "-p", "0666"]).output();
    let Ok(output) = id else { return eprintln!("skipped: ipcmk cannot be run") };
    let id = String::from_utf8_lossy(&output.stdout).split(':').nth(1).unwrap_or_default().trim().to_owned();
    let command = format!("awk '$2 == {id}' /proc/sysvipc/shm");
    contained(attack(&["ipc namespace"], command, |said| said.contains("4096"))).await;
    std::process::Command::new("ipcrm").args(["-m", &id]).status().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_processes_are_started_than_there_may_be() {
    let command = format!("for i in $(seq {MANY}); do sleep 5 & done 2>/dev/null; p=(/proc/[0-9]*); echo running ${{#p[@]}}");
    let spec = SandboxSpec { max_processes: 40, ..SandboxSpec::default() };
    let many = |said: &str| said.rsplit("running ").next().is_some_and(|count| count.trim().parse::<u64>().is_ok_and(|count| count > MANY));
    contained(Attack { spec, ..attack(&["control groups", "limits"], command, many) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_is_taken_than_there_may_be() {
    let command = python("x = bytearray(200 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\nprint('took', 'it')");
    let spec = SandboxSpec { max_memory_bytes: 100 << 20, ..SandboxSpec::default() };
    contained(Attack { spec: spec.clone(), ..attack(&["control groups", "watcher"], command, |said| said.contains("took it")) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_is_written_than_the_disk_may_have() {
    let command = "head -c 30000000 /dev/zero >a && head -c 30000000 /dev/zero >b && echo wrote it";
    let spec = SandboxSpec { disk_bytes: 40 << 20, ..SandboxSpec::default() };
    contained(Attack { spec, ..attack(&["disk limit", "watcher"], command, |said| said.contains("wrote it")) }).await;
}

/// What leaves its process group, its session and its parent still ends with the sandbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_outlives_its_sandbox() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = Home::new().await;
    for (lacks, survives) in [(vec![], false), (vec!["pid namespace".to_owned()], true)] {
        let marker = format!("survivor-{}-{survives}", std::process::id());
        let id = session();
        let spec = SandboxSpec { lacks, ..SandboxSpec::default() };
        let inside = home.sandboxes.create(&id, &incarnation(), &spec).await.unwrap();
        inside.run(&bash(&format!("setsid bash -c 'exec -a {marker} sleep 1000' >/dev/null 2>&1 & sleep 0.3"))).await.unwrap();
        home.sandboxes.stop(&id).await.unwrap();
        let found = std::process::Command::new("pgrep").args(["-f", &format!("^{marker}")]).output().unwrap().stdout;
        let pids = String::from_utf8_lossy(&found).into_owned();
        for pid in pids.split_whitespace() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse().unwrap()), nix::sys::signal::Signal::SIGKILL);
        }
        assert_eq!(!pids.trim().is_empty(), survives, "{pids}");
    }
    home.end().await;
}
