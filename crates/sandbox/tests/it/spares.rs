//! Sandboxes that are ready before their session is there, and those that nobody needs any more.

use std::time::Duration;

use ostler_sandbox::{SandboxSpec, Sandboxes, Wishes};

use crate::home::{Home, bash, incarnation, session, sh};

fn wishes(spares: u32) -> Wishes {
    Wishes { orphan_ttl: Duration::from_secs(600), spares, spec: SandboxSpec::default() }
}

async fn until_spares(sandboxes: &Sandboxes, count: u32) {
    while sandboxes.spares().await.unwrap() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_becomes_the_sandbox_of_one_session_only() {
    let home = Home::new().await;
    home.sandboxes.attend(Vec::new(), &wishes(1)).await.unwrap();
    until_spares(&home.sandboxes, 1).await;
    assert!(home.sandboxes.list().await.unwrap().is_empty());
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(home.path()).unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with("spare-")).collect()
    };
    let spare = names().remove(0);
    let (id, life) = (session(), incarnation());
    let inside = home.sandboxes.create(&id, &life, &SandboxSpec::default()).await.unwrap();
    assert!(!home.path().join(&spare).exists() && home.path().join(id.as_str()).exists());
    assert_eq!(sh(&inside, "echo kept > file; pwd; id -u; touch ~/x /mnt/session/outputs/x; echo on").await, "/workspace\n1000\non");
    assert_eq!(home.sandboxes.list().await.unwrap(), std::slice::from_ref(&id));
    // It is found again, with and without its spawner.
    assert_eq!(sh(&home.server(2).await.attach(&id, &life).await.unwrap(), "cat file").await, "kept");
    until_spares(&home.sandboxes, 1).await;
    assert_ne!(names(), [spare]);
    // The next life has the files, so it takes no spare.
    let next = home.sandboxes.create(&id, &incarnation(), &SandboxSpec::default()).await.unwrap();
    assert_eq!(sh(&next, "cat file").await, "kept");
    assert_eq!(home.sandboxes.spares().await.unwrap(), 1);
    // Nor does one that wants other limits.
    let other = SandboxSpec { max_processes: 99, ..SandboxSpec::default() };
    home.sandboxes.create(&session(), &incarnation(), &other).await.unwrap();
    assert_eq!(home.sandboxes.spares().await.unwrap(), 1);
    home.sandboxes.attend(Vec::new(), &wishes(0)).await.unwrap();
    assert_eq!((home.sandboxes.spares().await.unwrap(), names().len()), (0, 0));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_that_died_is_not_given_away() {
    let home = Home::new().await;
    home.sandboxes.attend(Vec::new(), &wishes(1)).await.unwrap();
    until_spares(&home.sandboxes, 1).await;
    let marker = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim() == "init";
    let spawner = super::lives::spawner(&home);
    let children = std::fs::read_to_string(format!("/proc/{spawner}/task/{spawner}/children")).unwrap();
    let spare = children.split_whitespace().find(|pid| marker(pid)).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(spare.parse().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    let inside = home.sandboxes.create(&session(), &incarnation(), &SandboxSpec::default()).await.unwrap();
    assert_eq!(sh(&inside, "echo on").await, "on");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_server_needs_ends_and_the_spawner_with_it() {
    let home = Home::new().await;
    let (needed, kept) = home.sandbox().await;
    let (_, orphan) = home.sandbox().await;
    let brief = Wishes { orphan_ttl: Duration::from_millis(300), spares: 1, spec: SandboxSpec::default() };
    home.sandboxes.attend(vec![needed.clone()], &brief).await.unwrap();
    let call = bash("sleep 600");
    let lost = orphan.run(&call);
    let attended = async {
        loop {
            home.sandboxes.attend(vec![needed.clone()], &brief).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        outcome = lost => assert!(outcome.is_err()),
        () = attended => unreachable!(),
    }
    assert_eq!(sh(&kept, "echo on").await, "on");
    // The server is gone.
    let outcome = kept.run(&bash("sleep 600")).await;
    assert!(outcome.is_err(), "{outcome:?}");
    while home.path().join("spawner.sock").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sandbox_uses_is_told() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    sh(&inside, "head -c 30000000 /dev/zero > /dev/shm/x; for ((i = 0; i < 100000; i++)); do :; done; sleep 600 >/dev/null & true").await;
    let listed = home.sandboxes.living().await.unwrap().remove(0);
    assert_eq!(listed.sandbox_id, id);
    assert!(listed.age_ms > 0);
    if let (Some(memory), Some(processes), Some(cpu)) = (listed.memory_bytes, listed.processes, listed.cpu_ms) {
        assert!(memory > 30_000_000 && processes >= 3 && cpu > 0, "{listed:?}");
    }
    home.end().await;
}
