//! A workload that takes all it can get: it is stopped at its limits, the next command works, and the
//! neighbour notices nothing.

use ostler_sandbox::{Connection, SandboxSpec};

use crate::home::{Home, bash, incarnation, session, sh, text};

/// A sandbox with these limits, if this machine can hold it to them.
#[expect(clippy::print_stderr, reason = "what is not tested is said")]
async fn limited(home: &Home, test: &str, spec: SandboxSpec) -> Option<Connection> {
    let isolation = home.sandboxes.probe().await.unwrap();
    if !isolation.layers.iter().any(|layer| layer.starts_with("control groups (memory, pids, cpu")) {
        eprintln!("skipped {test}: no control groups can be made here");
        return None;
    }
    Some(home.sandboxes.create(&session(), &incarnation(), &spec).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_is_stopped_and_said_to_be_one() {
    let home = Home::new().await;
    let spec = SandboxSpec { max_memory_bytes: 64 << 20, ..SandboxSpec::default() };
    let Some(inside) = limited(&home, "a_memory_bomb_is_stopped_and_said_to_be_one", spec).await else { return home.end().await };
    let (_, neighbour) = home.sandbox().await;
    let outcome = inside.run(&bash("tail /dev/zero")).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("out of memory: a process was killed"), "{}", text(&outcome));
    let filled = sh(&inside, "for place in /dev/shm /tmp; do head -c 500000000 /dev/zero >$place/x; done; rm -f /dev/shm/x").await;
    assert_eq!(filled.matches("No space left on device").count(), 2, "{filled}");
    assert_eq!(sh(&inside, "rm -f /tmp/x /dev/shm/x; echo on").await, "on");
    assert_eq!(sh(&neighbour, "echo well").await, "well");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_leaves_room_for_the_next_command() {
    let home = Home::new().await;
    let spec = SandboxSpec { max_processes: 64, ..SandboxSpec::default() };
    let Some(inside) = limited(&home, "a_fork_bomb_leaves_room_for_the_next_command", spec).await else { return home.end().await };
    let (_, neighbour) = home.sandbox().await;
    inside.run(&bash("bomb() { bomb | bomb & }; bomb 2>/dev/null; until p=(/proc/[0-9]*); (( ${#p[@]} > 50 )); do :; done")).await.unwrap();
    assert_eq!(sh(&neighbour, "echo well").await, "well");
    let next = inside.run(&bash("echo on")).await.unwrap();
    assert!(text(&next).contains("on\n"), "{}", text(&next));
    let processes = sh(&inside, "ls -d /proc/[0-9]* | wc -l").await;
    assert!(processes.lines().next().unwrap().parse::<u32>().unwrap() < 64, "{processes}");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_too_many_files_are_said_and_can_be_mended() {
    let home = Home::new().await;
    let spec = SandboxSpec { disk_bytes: 64 << 20, disk_inodes: 2_000, ..SandboxSpec::default() };
    let inside = home.sandboxes.create(&session(), &incarnation(), &spec).await.unwrap();
    let (_, neighbour) = home.sandbox().await;
    let filled = inside.run(&bash("head -c 500000000 /dev/zero >big")).await.unwrap();
    let said = text(&filled);
    assert!(
        filled.is_error && ["No space left on device", "disk limit: ", "File size limit"].iter().any(|why| said.contains(why)),
        "{said}"
    );
    let again = inside.run(&bash("rm -f big; echo on")).await.unwrap();
    assert!(text(&again).starts_with("on\n"), "{}", text(&again));
    let filled = inside.run(&bash("mkdir many; for ((i = 0; i < 100000; i++)); do : >many/$i || exit; done")).await.unwrap();
    let said = text(&filled);
    assert!(
        filled.is_error && (said.contains("No space left on device") || said.contains("disk limit: the sandbox has more than 2000 files")),
        "{said}"
    );
    assert_eq!(sh(&inside, "rm -rf many; echo on").await, "on");
    assert_eq!(sh(&neighbour, "echo well").await, "well");
    home.end().await;
}

/// What the kernel counts for each user it counts for each sandbox.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_for_a_user_is_not_taken_from_others() {
    let home = Home::new().await;
    if home.sandboxes.probe().await.unwrap().ids == ostler_sandbox::IdMapping::ServerUser {
        return home.end().await;
    }
    let take = |count: u32| {
        format!(
            "python3 -c 'import ctypes, time; c = ctypes.CDLL(None); print(sum(c.inotify_init1(0) >= 0 for _ in range({count})), flush=True); time.sleep(0 if {count} == 1 else 600)'"
        )
    };
    let (_, greedy) = home.sandbox().await;
    let (_, neighbour) = home.sandbox().await;
    sh(&greedy, &format!("{} >taken & until [[ -s taken ]]; do :; done", take(10_000))).await;
    assert_eq!(sh(&neighbour, &take(1)).await, "1", "{}", sh(&greedy, "cat taken").await);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_of_the_hosts_groups_and_none_stays() {
    let home = Home::new().await;
    let Some(inside) = limited(&home, "nothing_is_seen_of_the_hosts_groups_and_none_stays", SandboxSpec::default()).await else {
        return home.end().await;
    };
    let seen = sh(&inside, "cat /proc/self/cgroup").await;
    assert!(seen.lines().all(|line| line.ends_with(":/") || line.contains(":name=")), "{seen}");
    let id = home.sandboxes.list().await.unwrap().remove(0);
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(home.path().join(id.as_str()).join("init.json")).unwrap()).unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", record["pid"])).unwrap();
    let ours: Vec<String> = groups.lines().filter(|line| line.ends_with(record["group"].as_str().unwrap())).map(str::to_owned).collect();
    assert!(!ours.is_empty(), "{groups}");
    home.end().await;
    for line in ours {
        let (names, path) = line.split_once(':').unwrap().1.split_once(':').unwrap();
        assert!(
            !std::path::Path::new("/sys/fs/cgroup").join(names).join(path.trim_start_matches('/')).parent().unwrap().exists(),
            "{line}"
        );
    }
}
