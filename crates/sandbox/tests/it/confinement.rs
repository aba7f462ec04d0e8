//! What a workload cannot do. Each test asks from inside a real sandbox.

use serde_json::json;

use crate::home::{Home, bash, request, sh, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_names_every_layer() {
    let home = Home::new().await;
    let isolation = home.sandboxes.probe().await.unwrap();
    for layer in ["namespaces", "ids", "/proc", "pivot_root", "network", "limits", "capabilities", "seccomp"] {
        assert!(isolation.layers.iter().any(|reached| reached == layer), "{layer}");
    }
    assert!(home.sandboxes.list().await.unwrap().is_empty());
    assert!(!std::fs::read_dir(home.path()).unwrap().flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("sesn_")));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_capability_or_descriptor_of_the_host_gets_in() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    assert_eq!(sh(&inside, "id -u; id -g; id -G; hostname; pwd; echo $HOME").await, "1000\n1000\n1000\nsandbox\n/workspace\n/home/agent");
    let status = sh(&inside, "cat /proc/self/status").await;
    for line in [
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}");
    }
    // One more is the directory that ls itself reads.
    assert_eq!(sh(&inside, "ls /proc/self/fd").await, "0\n1\n2\n3");
    assert_eq!(
        sh(&inside, "env | cut -d= -f1 | sort | tr '\\n' ' '").await,
        "HOME LANG LOGNAME NODE_PATH OLDPWD PATH PWD SHELL SHLVL TERM TMPDIR USER _ "
    );
    let outcome = inside.run(&bash("cat /proc/1/environ /proc/1/maps /proc/1/fd/0 2>&1; ls -l /proc/1/exe 2>&1")).await.unwrap();
    assert_eq!(text(&outcome).matches("Permission denied").count(), 4, "{}", text(&outcome));
    let cmdline = sh(&inside, "tr '\\0' ' ' </proc/1/cmdline").await;
    assert!(!cmdline.contains(home.dir.path().to_str().unwrap()), "{cmdline}");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_host_is_there_that_is_not_meant_to_be() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let visible = sh(&inside, "ls -A /").await;
    for name in visible.lines() {
        assert!(
            [
                "bin",
                "dev",
                "etc",
                "home",
                "lib",
                "lib32",
                "lib64",
                "libx32",
                "mnt",
                "opt",
                "proc",
                "run",
                "sbin",
                "srv",
                "tmp",
                "usr",
                "var",
                "workspace"
            ]
            .contains(&name),
            "{name}"
        );
    }
    for path in ["/etc/shadow", "/root", "/sys", "/etc/ssl/private", home.dir.path().to_str().unwrap()] {
        let outcome = inside.run(&bash(&format!("ls -A {path}"))).await.unwrap();
        assert!(outcome.is_error && text(&outcome).contains("No such file"), "{path}: {}", text(&outcome));
    }
    for path in
        ["/usr/x", "/etc/x", "/x", "/dev/x", "/run/x", "/proc/sys/kernel/hostname", "/mnt/x", "/mnt/session/calls/x", "/home/x", "/var/x"]
    {
        let outcome = inside.run(&bash(&format!("echo x > {path}"))).await.unwrap();
        assert!(outcome.is_error, "{path} can be written");
    }
    for path in ["/tmp/x", "/workspace/x", "/home/agent/x", "/mnt/session/outputs/x", "/dev/shm/x", "/dev/null"] {
        sh(&inside, &format!("echo x > {path}")).await;
    }
    let outcome = inside.run(&request("read", json!({"file_path": "/etc/shadow"}))).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("No such file"));
    assert_eq!(sh(&inside, "cat /proc/kallsyms /proc/keys /proc/timer_list /proc/kcore 2>/dev/null | wc -c").await, "0");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network_and_no_other_namespace() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    assert_eq!(
        sh(&inside, "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
            .await
            .lines()
            .filter(|name| !["sit0", "tunl0", "ip6tnl0"].contains(name))
            .collect::<Vec<_>>(),
        ["lo"]
    );
    let script = r#"
import socket, errno
def tried(f):
    try: f(); return 'ok'
    except OSError as e: return errno.errorcode[e.errno]
print(tried(lambda: socket.create_connection(('1.1.1.1', 443), 2)))
print(tried(lambda: socket.socket(40, socket.SOCK_STREAM)))
print(tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))
print(tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)))
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1)
print(tried(lambda: socket.create_connection(s.getsockname(), 2)))
"#;
    sh(&inside, &format!("cat > t.py <<'EOF'\n{script}\nEOF")).await;
    assert_eq!(sh(&inside, "/usr/bin/python3 t.py").await, "ENETUNREACH\nEPERM\nEPERM\nEPERM\nok");
    for command in ["unshare -Ur true", "unshare -n true", "mount -t tmpfs t /tmp", "chroot / true", "nsenter -t 1 -m true"] {
        let outcome = inside.run(&bash(command)).await.unwrap();
        let refusals = ["not permitted", "Permission denied", "must be superuser"];
        assert!(outcome.is_error && refusals.iter().any(|refusal| text(&outcome).contains(refusal)), "{command}: {}", text(&outcome));
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let outcome = inside.run(&bash("head -c 600000000 /dev/zero > /tmp/fill")).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("No space"), "{}", text(&outcome));
    assert_eq!(sh(&inside, "rm /tmp/fill; ulimit -c; ulimit -n; ulimit -u").await, "0\n4096\n512");
    // A shell that forks without end meets the limit, and the sandbox goes on.
    let mut bomb = bash("bomb() { bomb | bomb & }; bomb; sleep 600");
    bomb.timeout_ms = Some(2_000);
    let ended = inside.run(&bomb).await.unwrap();
    assert_eq!(ended.end, ostler_core::call::CallEnd::TimedOut);
    assert_eq!(sh(&inside, "echo alive").await, "alive");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_see_nothing_of_each_other() {
    let home = Home::new().await;
    let (_, one) = home.sandbox().await;
    let (_, two) = home.sandbox().await;
    sh(&one, "echo secret | tee /tmp/mine /workspace/mine /dev/shm/mine; sleep 600 & true").await;
    assert_eq!(sh(&two, "ls /tmp /workspace /dev/shm; pgrep sleep || echo none").await, "/dev/shm:\n\n/tmp:\n\n/workspace:\nnone");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_init_cannot_be_changed_from_inside() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    for limit in ["--fsize=0", "--nofile=3", "--cpu=1", "--as=1"] {
        let said = sh(&inside, &format!("prlimit --pid 1 {limit} 2>&1; echo $?")).await;
        assert!(said.contains("Operation not permitted") && said.ends_with('1'), "{limit}: {said}");
    }
    // One's own limits and a look at others' stay possible.
    assert_eq!(
        sh(&inside, "ulimit -f 100 && ulimit -f; prlimit --pid 1 --nofile --noheadings > /dev/null && echo read").await,
        "100\nread"
    );
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_tools_hold_nothing_that_a_path_could_lead_to() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    inside.run(&bash("seq 100000")).await.unwrap();
    let largest = "cksum < $(ls -S /mnt/session/calls/* | head -n 1)";
    let before = sh(&inside, largest).await;
    assert!(before.ends_with("588895"), "{before}");
    for number in 0..40 {
        let directory = format!("/proc/self/fd/{number}");
        let listed = inside.run(&request("glob", json!({"pattern": "*", "path": directory}))).await.unwrap();
        assert!(!text(&listed).contains("sevt_"), "{number}: {}", text(&listed));
        let planted = inside.run(&request("write", json!({"file_path": format!("{directory}/planted"), "content": "x"}))).await.unwrap();
        assert!(planted.is_error, "{number}");
    }
    assert_eq!(sh(&inside, largest).await, before);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_changes_limits_and_scheduling_of_itself_and_of_no_other() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    for other in ["1", "$PPID"] {
        for command in [
            "prlimit --pid OTHER --fsize=0",
            "renice -n 5 -p OTHER",
            "chrt --idle -p 0 OTHER",
            "taskset -p 1 OTHER",
            "ionice -c 3 -p OTHER",
        ] {
            let command = command.replace("OTHER", other);
            let outcome = inside.run(&bash(&command)).await.unwrap();
            assert!(outcome.is_error && text(&outcome).contains("not permitted"), "{command}: {}", text(&outcome));
        }
    }
    for command in ["renice -n 5 -u agent", "ionice -c 3 -u 1000"] {
        let outcome = inside.run(&bash(command)).await.unwrap();
        assert!(outcome.is_error && text(&outcome).contains("not permitted"), "{command}: {}", text(&outcome));
    }
    let own = "ulimit -f 100; nice -n 5 ionice -c 3 chrt --idle 0 taskset 1 prlimit --nofile=10 bash -c 'ulimit -f; ulimit -n; nice'";
    assert_eq!(sh(&inside, own).await, "100\n10\n5");
    home.end().await;
}
