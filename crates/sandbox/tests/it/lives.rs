//! Lives of sandboxes: they survive the server and the spawner, and end when they are told to.

use ostler_sandbox::protocol::init::{FromInit, ToInit};
use ostler_sandbox::{AttachError, CallError, SandboxError, SandboxSpec};

use crate::home::{Home, bash, incarnation, session, sh, text};

#[tokio::test(flavor = "multi_thread")]
async fn files_outlast_a_life_and_processes_do_not() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    sh(&inside, "echo kept > file; echo kept > /mnt/session/outputs/file; export X=kept; echo x > /tmp/file; sleep 600 & true").await;
    // The state of a shell is left a moment after its result; the next command waits for that.
    sh(&inside, "true").await;
    home.sandboxes.stop(&id).await.unwrap();
    assert!(home.sandboxes.list().await.unwrap().is_empty());
    home.sandboxes.stop(&id).await.unwrap();
    let next = home.sandboxes.create(&id, &incarnation(), &SandboxSpec::default()).await.unwrap();
    assert_eq!(sh(&next, "cat file /mnt/session/outputs/file; echo $X; ls /tmp; pgrep sleep || echo none").await, "kept\nkept\nkept\nnone");
    assert!(matches!(home.sandboxes.attach(&id, inside.incarnation()).await, Err(AttachError::Gone)));
    home.sandboxes.remove(&id).await.unwrap();
    assert!(!home.path().join(id.as_str()).exists());
    assert!(matches!(home.sandboxes.attach(&id, next.incarnation()).await, Err(AttachError::Gone)));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_sandbox_has_no_process_left() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let marker = format!("marker-{}", std::process::id());
    sh(
        &inside,
        &format!(
            "for i in 1 2 3; do setsid bash -c 'exec -a {marker} sleep 600' & done; until [ $(pgrep -c -f ^{marker}) = 3 ]; do :; done"
        ),
    )
    .await;
    let alive = || {
        let listed = std::fs::read_dir("/proc").unwrap().flatten();
        listed.filter(|entry| std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(&marker))).count()
    };
    assert_eq!(alive(), 3);
    home.sandboxes.stop(&id).await.unwrap();
    assert_eq!(alive(), 0);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_an_ended_life_are_lost_or_were_never_received() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let call = bash("echo up > up; sleep 600");
    let running = tokio::spawn({
        let (inside, call) = (inside.clone(), call.clone());
        async move { inside.run(&call).await }
    });
    sh(&inside, "until [ -s up ]; do :; done").await;
    home.sandboxes.stop(&id).await.unwrap();
    assert_eq!(running.await.unwrap(), Err(CallError::Lost { why: None }));
    assert_eq!(inside.run(&bash("true")).await, Err(CallError::NeverReceived));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_spawner_takes_nobody_with_it() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let call = bash("mkfifo go; echo up > up; read -r line < go; echo got $line");
    let running = tokio::spawn({
        let (inside, call) = (inside.clone(), call.clone());
        async move { inside.run(&call).await.unwrap() }
    });
    sh(&inside, "until [ -s up ]; do :; done").await;
    kill_spawner(&home);
    let next = home.server(2).await;
    assert_eq!(next.list().await.unwrap(), std::slice::from_ref(&id));
    let again = next.attach(&id, inside.incarnation()).await.unwrap();
    sh(&again, "echo it > go").await;
    assert_eq!(text(&again.run(&call).await.unwrap()), "got it\n");
    running.abort();
    next.stop(&id).await.unwrap();
    assert!(next.list().await.unwrap().is_empty());
    home.end().await;
}

/// The process that holds the spawner's lock.
pub(crate) fn spawner(home: &Home) -> i32 {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(home.path().join("spawner.lock")).unwrap().ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let line = locks.lines().find(|line| line.contains(&format!(":{inode} "))).unwrap();
    line.split_whitespace().nth(4).unwrap().parse().unwrap()
}

fn kill_spawner(home: &Home) {
    end_spawner(home, nix::sys::signal::Signal::SIGKILL);
}

fn end_spawner(home: &Home, how: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(spawner(home));
    nix::sys::signal::kill(pid, how).unwrap();
    // It is gone when nobody holds the lock any more.
    let file = std::fs::File::open(home.path().join("spawner.lock")).unwrap();
    drop(nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawner_that_is_asked_to_end_takes_its_sandboxes_along() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    assert_eq!(sh(&inside, "grep SigBlk /proc/self/status").await, "SigBlk:\t0000000000000000", "what it waits for is nobody else's");
    let record = std::fs::read_to_string(home.path().join(id.as_str()).join("init.json")).unwrap();
    let init = serde_json::from_str::<serde_json::Value>(&record).unwrap()["pid"].as_i64().unwrap();
    end_spawner(&home, nix::sys::signal::Signal::SIGTERM);
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists());
    assert!(matches!(home.sandboxes.attach(&id, inside.incarnation()).await, Err(AttachError::Gone)));
    assert!(home.path().join(id.as_str()).exists(), "its files stay");
    home.sandboxes.remove(&id).await.unwrap();
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_older_epoch_is_refused() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let newer = home.server(2).await.attach(&id, inside.incarnation()).await.unwrap();
    let Err(AttachError::Other(SandboxError::Protocol { reason, .. })) = home.sandboxes.attach(&id, inside.incarnation()).await else {
        panic!("was accepted")
    };
    assert!(reason.contains("epoch 2"), "{reason}");
    assert!(inside.run(&bash("true")).await.is_err());
    assert_eq!(sh(&newer, "echo still").await, "still");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_and_garbage_get_no_further() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let dir = home.path().join(id.as_str());
    {
        use std::io::{Read, Write};
        use std::os::fd::AsRawFd;
        let opened = std::fs::File::open(&dir).unwrap();
        let mut stream = std::os::unix::net::UnixStream::connect(format!("/proc/self/fd/{}/init.sock", opened.as_raw_fd())).unwrap();
        stream.write_all(&u32::MAX.to_le_bytes()).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert!(String::from_utf8_lossy(&said).contains("longer than"));
    }
    std::fs::write(dir.join("secret"), "0".repeat(64)).unwrap();
    let Err(AttachError::Other(SandboxError::Protocol { reason, .. })) = home.sandboxes.attach(&id, inside.incarnation()).await else {
        panic!("was accepted")
    };
    assert!(reason.contains("secret"), "{reason}");
    assert_eq!(sh(&inside, "echo still").await, "still");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_does_not_follow_what_was_planted() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let kept = home.dir.path().join("kept");
    std::fs::write(&kept, "kept").unwrap();
    sh(&inside, &format!("ln -s {} link; ln -s / root; mkfifo fifo; mkdir locked; touch locked/f; chmod 0 locked; mkdir deep; cd deep; for i in $(seq 300); do mkdir d; cd d; done", kept.display())).await;
    home.sandboxes.remove(&id).await.unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept");
    assert!(!home.path().join(id.as_str()).exists());
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_range_that_cannot_be_mapped_is_said_with_a_remedy() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = crate::home::config(dir.path(), 1);
    config.uid_block.count = 0;
    let sandboxes = ostler_sandbox::Sandboxes::start(config).await.unwrap();
    let Err(SandboxError::Isolation { reason, .. }) = sandboxes.create(&session(), &incarnation(), &SandboxSpec::default()).await else {
        panic!("was created")
    };
    assert!(reason.contains("larger uid block"), "{reason}");
    sandboxes.shutdown().await.unwrap();
}

/// A server that speaks the protocol itself.
struct Raw {
    stream: std::os::unix::net::UnixStream,
    decoder: ostler_sandbox::protocol::frame::Decoder,
}

impl Raw {
    fn connect(directory: &std::path::Path, epoch: u64) -> Self {
        use std::os::fd::AsRawFd;
        let opened = std::fs::File::open(directory).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(format!("/proc/self/fd/{}/init.sock", opened.as_raw_fd())).unwrap();
        let mut raw = Self { stream, decoder: ostler_sandbox::protocol::frame::Decoder::default() };
        let secret = std::fs::read_to_string(directory.join("secret")).unwrap();
        raw.say(&ToInit::Hello { version: 1, secret, epoch });
        assert!(matches!(raw.hear(), FromInit::Welcome { .. }));
        raw
    }

    fn say(&mut self, message: &ToInit) {
        use std::io::Write;
        self.stream.write_all(&ostler_sandbox::protocol::frame::encode(message).unwrap()).unwrap();
    }

    fn hear(&mut self) -> FromInit {
        use std::io::Read;
        loop {
            if let Some(message) = self.decoder.next(1 << 20).unwrap() {
                return message;
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "init hung up");
            self.decoder.push(&chunk[..count]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_after_its_lease_is_refused_and_a_result_can_be_fetched_again() {
    let home = Home::new().await;
    let (id, _) = home.sandbox().await;
    let mut raw = Raw::connect(&home.path().join(id.as_str()), 1);
    let call_id = crate::home::call_id();
    let run = |deadline| ToInit::Run {
        call_id: call_id.clone(),
        tool: "bash".into(),
        input: serde_json::json!({"command": "echo x >> ran; cat ran"}),
        timeout_ms: None,
        environment: std::collections::BTreeMap::new(),
        lease_deadline_boot_ms: Some(deadline),
    };
    raw.say(&run(1));
    let FromInit::Refused { call_id: Some(refused), .. } = raw.hear() else { panic!("was not refused") };
    assert_eq!(refused, call_id);
    raw.say(&run(u64::MAX));
    assert_eq!(raw.hear(), FromInit::Received { call_id: call_id.clone() });
    let finished = raw.hear();
    assert!(matches!(&finished, FromInit::Finished { outcome, .. } if text(outcome) == "x\n"), "{finished:?}");
    raw.say(&ToInit::Fetch { call_id: call_id.clone() });
    assert_eq!(raw.hear(), finished);
    raw.say(&ToInit::Stop);
    let gone = home.sandboxes.stop(&id).await;
    assert!(gone.is_ok() && home.sandboxes.list().await.unwrap().is_empty());
    home.end().await;
}
