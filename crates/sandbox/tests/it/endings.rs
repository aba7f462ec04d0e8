//! Sandboxes that are ended by a limit say which; a full disk of the host is not let happen.

use std::path::Path;
use std::process::Command;

use ostler_sandbox::{CallError, SandboxSpec};

use crate::home::{Home, bash, incarnation, session, sh};

fn told(outcome: Result<ostler_core::call::CallOutcome, CallError>) -> &'static str {
    match outcome {
        Err(CallError::Lost { why }) => why.unwrap_or("nothing"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_too_long_says_so() {
    let home = Home::new().await;
    let spec = SandboxSpec { max_life_ms: 500, ..SandboxSpec::default() };
    let inside = home.sandboxes.create(&session(), &incarnation(), &spec).await.unwrap();
    assert!(told(inside.run(&bash("sleep 600")).await).contains("sandbox.life_seconds"));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_runs_out_what_runs_inside_goes_first_then_init_then_the_server() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let scores = sh(&inside, "cat /proc/self/oom_score_adj; sleep 600 & cat /proc/$!/oom_score_adj; cat /proc/1/oom_score_adj").await;
    assert_eq!(scores, format!("900\n900\n{}", ostler_sandbox::limits::OOM_SCORE));
    home.end().await;
}

/// A disk of its own, mounted until this is dropped.
struct Disk<'a>(&'a Path);

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
async fn who_fills_the_hosts_disk_is_ended_before_the_neighbours_notice() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: who_fills_the_hosts_disk: only root can mount a small disk");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (image, mounted) = (place.path().join("image"), place.path().join("mounted"));
    std::fs::create_dir(&mounted).unwrap();
    std::fs::File::create(&image).unwrap().set_len(900 << 20).unwrap();
    let run = |program: &str, args: &[&std::ffi::OsStr]| assert!(Command::new(program).args(args).output().unwrap().status.success());
    run("/sbin/mkfs.ext4", &["-q".as_ref(), image.as_os_str()]);
    run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), mounted.as_os_str()]);
    let _disk = Disk(&mounted);
    let home = Home::inside(&mounted).await;
    let (_, neighbour) = home.sandbox().await;
    let (_, greedy) = home.sandbox().await;
    sh(&neighbour, "echo mine > file; sync").await;
    // It never finds its own disk full: that is larger than the host's.
    let why = told(
        greedy
            .run(&bash("while dd if=/dev/zero of=f bs=1M count=64 oflag=append conv=notrunc,fsync 2> /dev/null; do :; done; sleep 600"))
            .await,
    );
    assert!(why.contains("disk is nearly full"), "{why}");
    assert_eq!(sh(&neighbour, "cat file; echo more > more && sync && cat more").await, "mine\nmore");
    home.end().await;
}
