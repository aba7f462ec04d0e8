//! Snapshots of a session's files: what the workload left is moved and never opened outside.

use std::io::{Seek, Write};

use ostler_sandbox::SandboxSpec;

use crate::home::{Home, incarnation, session, sh};

const MAX: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_same_session_elsewhere() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    sh(
        &inside,
        "export X=kept; mkdir -p a/b; echo deep >a/b/file; chmod 700 a/b/file; ln -s /etc/passwd link; ln -s a/b dir; echo h >~/h; \
         echo o >/mnt/session/outputs/o; mkfifo pipe; touch -d @1000000000 old; mkdir closed; touch closed/file; chmod 0 closed; python3 -c \
         'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'",
    )
    .await;
    sh(&inside, "true").await;
    let mut archive = home.sandboxes.snapshot(&id, &inside, MAX).await.unwrap();
    assert_eq!(std::fs::read_dir(home.path().join(id.as_str()).join("transfers")).unwrap().count(), 0);
    let other = session();
    let twin = home.sandboxes.create(&other, &incarnation(), &SandboxSpec::default()).await.unwrap();
    sh(&twin, "mkdir link; touch link/x; echo mine >other").await;
    archive.rewind().unwrap();
    home.sandboxes.restore(&other, &twin, archive).await.unwrap();
    let seen = sh(
        &twin,
        "cat a/b/file dir/file ~/h /mnt/session/outputs/o other; readlink link; stat -c '%a %Y' a/b/file old; echo $X; ls pipe sock closed/file 2>/dev/null; true",
    );
    let seen = seen.await;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(&lines[..6], ["deep", "deep", "h", "o", "mine", "/etc/passwd"], "{seen}");
    assert!(lines[6].starts_with("700 ") && lines[7].ends_with(" 1000000000"), "{seen}");
    assert!(!seen.contains("closed/file"), "what the workload closed to itself is left out: {seen}");
    assert_eq!(sh(&twin, "echo $X").await, "kept");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_no_snapshot_and_an_evil_archive_changes_nothing_else() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    sh(&inside, "truncate -s 1G sparse").await;
    assert!(home.sandboxes.snapshot(&id, &inside, MAX).await.unwrap_err().to_string().contains("more than"));
    sh(&inside, "rm sparse; ln -s /tmp out").await;
    let mut file = tempfile::tempfile().unwrap();
    let mut builder = tar::Builder::new(&mut file);
    for name in ["workspace/../escaped", "/workspace/absolute", "elsewhere/x", "workspace/out/through", "calls/forged", "workspace/fine"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o4777);
        header.set_mtime(0);
        // Not by `set_path`, which refuses what an attacker writes.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &b"x\n"[..]).unwrap();
    }
    let mut device = tar::Header::new_gnu();
    device.set_entry_type(tar::EntryType::Char);
    device.set_path("workspace/device").unwrap();
    device.set_size(0);
    device.set_mode(0o666);
    device.set_mtime(0);
    device.set_cksum();
    builder.append(&device, std::io::empty()).unwrap();
    builder.finish().unwrap();
    drop(builder);
    file.rewind().unwrap();
    home.sandboxes.restore(&id, &inside, file).await.unwrap();
    let found = sh(&inside, "ls -A /workspace /tmp /mnt/session/calls; stat -c %a fine; cat absolute").await;
    assert!(!found.contains("escaped") && !found.contains("through") && !found.contains("forged") && !found.contains("device"), "{found}");
    assert!(found.contains("fine") && found.contains("777\nx") && !found.contains("4777"), "{found}");
    let mut broken = tempfile::tempfile().unwrap();
    broken.write_all(&[7; 5_000]).unwrap();
    broken.rewind().unwrap();
    assert!(home.sandboxes.restore(&id, &inside, broken).await.is_err());
    assert_eq!(sh(&inside, "echo on").await, "on");
    home.end().await;
}
