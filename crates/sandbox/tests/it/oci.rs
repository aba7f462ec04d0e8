//! The same sandboxes as containers of an engine. Needs a Docker-compatible engine, whose socket is named by
//! OSTLER_TEST_ENGINE; without it nothing of this is tested, and that is said.

use std::path::PathBuf;

use ostler_sandbox::{IsolationFloor, OciConfig, Required, SandboxError, SandboxSpec, Sandboxes};

use crate::home::{Home, bash, config, incarnation, session, sh, text};

#[expect(clippy::print_stderr, reason = "what is not tested is said")]
async fn engine(test: &str, home: &Home, isolation: IsolationFloor, for_all: bool) -> Option<Sandboxes> {
    let Some(socket) = std::env::var_os("OSTLER_TEST_ENGINE").map(PathBuf::from) else {
        eprintln!("skipped {test}: OSTLER_TEST_ENGINE names no container engine");
        return None;
    };
    let oci = Some(OciConfig { socket, runtime: None, isolation, for_all });
    let config = ostler_sandbox::SandboxesConfig { oci, ..config(&home.path(), 1) };
    Some(Sandboxes::start(config).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_a_sandbox_like_any_other() {
    let home = Home::new().await;
    let Some(engine) = engine("a_container_is_a_sandbox_like_any_other", &home, IsolationFloor::OwnIds, true).await else {
        return home.end().await;
    };
    assert_eq!(engine.probe().await.unwrap().backend, "oci");
    let (id, life) = (session(), incarnation());
    let spec = SandboxSpec { disk_bytes: 64 << 20, ..SandboxSpec::default() };
    let inside = engine.create(&id, &life, &spec).await.unwrap();
    let seen = sh(
        &inside,
        "echo kept >file; export X=kept; cd /tmp; whoami; hostname; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; \
         ls -A /run/ostler-control 2>&1; cut -d: -f1 /proc/net/dev; true",
    );
    let outcome = inside.run(&bash("echo x >/usr/x; echo x >/etc/x; cat /proc/1/environ")).await.unwrap();
    assert_eq!(text(&outcome).matches("Read-only file system").count(), 2, "{}", text(&outcome));
    let seen = seen.await;
    assert!(seen.starts_with("agent\nsandbox\n") && seen.contains("CapEff:\t0000000000000000") && seen.contains("Seccomp:\t2"), "{seen}");
    assert!(seen.contains("control': Permission denied") && seen.ends_with("    lo"), "{seen}");
    assert!(seen.contains("CapBnd:\t0000000000000000") && seen.contains("NoNewPrivs:\t1"), "{seen}");
    // It is found again, and its next life has its files and its shell's state.
    assert_eq!(sh(&engine.attach(&id, &life).await.unwrap(), "pwd; echo $X").await, "/tmp\nkept");
    let listed = engine.living().await.unwrap().remove(0);
    assert!(listed.sandbox_id == id && listed.memory_bytes.is_some_and(|bytes| bytes > 0), "{listed:?}");
    let full = inside.run(&bash("head -c 300000000 /dev/zero >/workspace/big; rm -f /workspace/big")).await.unwrap();
    assert!(text(&full).contains("No space left on device") || text(&full).contains("disk limit: "), "{}", text(&full));
    let archive = engine.snapshot(&id, &inside, 1 << 30).await.unwrap();
    assert!(archive.metadata().unwrap().len() > 0);
    inside.run(&bash("sleep 600 & bomb() { bomb | bomb & }; bomb 2>/dev/null; true")).await.unwrap();
    engine.stop(&id).await.unwrap();
    assert!(engine.living().await.unwrap().is_empty());
    let next = engine.create(&id, &incarnation(), &spec).await.unwrap();
    assert_eq!(sh(&next, "cat /workspace/file; pgrep sleep || echo none").await, "kept\nnone");
    engine.remove(&id).await.unwrap();
    assert!(!home.path().join(id.as_str()).exists());
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_has_only_those_that_ask_for_it_and_never_less_than_they_ask() {
    let home = Home::new().await;
    let test = "the_engine_has_only_those_that_ask_for_it_and_never_less_than_they_ask";
    let Some(weak) = engine(test, &home, IsolationFloor::OwnIds, false).await else { return home.end().await };
    assert_eq!(weak.probe().await.unwrap().backend, "namespace");
    let asks = SandboxSpec { required: Required { isolation: IsolationFloor::OwnKernel, hard_limits: false }, ..SandboxSpec::default() };
    let refused = weak.create(&session(), &incarnation(), &asks).await.unwrap_err();
    assert!(matches!(refused, SandboxError::Isolation { .. }) && refused.to_string().contains("runsc"), "{refused}");
    // The operator says that this runtime has a kernel of its own.
    let strong = engine(test, &home, IsolationFloor::OwnKernel, false).await.unwrap();
    let (id, plain) = (session(), session());
    let inside = strong.create(&id, &incarnation(), &asks).await.unwrap();
    assert_eq!(sh(&inside, "ls -d /run/ostler-init").await, "/run/ostler-init");
    let other = strong.create(&plain, &incarnation(), &SandboxSpec::default()).await.unwrap();
    assert_eq!(sh(&other, "ls -d /run/ostler-init 2>/dev/null || echo none").await, "none");
    for id in [&id, &plain] {
        strong.remove(id).await.unwrap();
    }
    strong.shutdown().await.unwrap();
}
