//! The file tools inside a real sandbox.

use serde_json::json;

use crate::home::{Home, request, sh, text};

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_read_edited_and_found() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let run = async |tool: &str, input| inside.run(&request(tool, input)).await.unwrap();
    assert!(!run("write", json!({"file_path": "src/a.txt", "content": "one\ntwo\n"})).await.is_error);
    assert_eq!(text(&run("read", json!({"file_path": "/workspace/src/a.txt"})).await), "one\ntwo\n");
    assert_eq!(text(&run("read", json!({"file_path": "src/a.txt", "view_range": [2, -1]})).await), "two\n");
    assert!(!run("edit", json!({"file_path": "src/a.txt", "old_string": "two", "new_string": "three"})).await.is_error);
    assert_eq!(text(&run("grep", json!({"pattern": "^thr"})).await), "/workspace/src/a.txt:2:three");
    assert_eq!(text(&run("glob", json!({"pattern": "**/*.txt"})).await), "/workspace/src/a.txt");
    assert_eq!(sh(&inside, "stat -c '%U %a' src/a.txt").await, "agent 644");
    assert!(run("read", json!({"path": "x"})).await.is_error);
    assert!(run("no_such_tool", json!({})).await.is_error);
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_are_refused_without_waiting() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "mkfifo fifo; ln -s loop loop; truncate -s 2000M sparse; printf 'a\\0b' > binary; ln -s /proc/1/environ environ; ln -s /etc/passwd passwd").await;
    for (path, why) in [
        ("fifo", "not a regular file"),
        ("loop", "cannot be opened"),
        ("sparse", "binary file"),
        ("binary", "binary file"),
        ("environ", "cannot be opened"),
        ("/dev/zero", "not a regular file"),
        (".", "is a directory"),
    ] {
        let outcome = inside.run(&request("read", json!({"file_path": path}))).await.unwrap();
        assert!(outcome.is_error && text(&outcome).contains(why), "{path}: {}", text(&outcome));
    }
    for (path, why) in [("fifo", "not a regular file"), ("passwd", "Read-only"), ("/usr/x", "Read-only")] {
        let outcome = inside.run(&request("write", json!({"file_path": path, "content": "x"}))).await.unwrap();
        assert!(outcome.is_error && text(&outcome).contains(why), "{path}: {}", text(&outcome));
    }
    // The sparse file has no line end at all.
    let outcome = inside.run(&request("grep", json!({"pattern": "x"}))).await.unwrap();
    assert_eq!(text(&outcome), "No matches found.");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_survives_the_way() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "printf '%%PDF-1.7\\n' > a.pdf; head -c 15000000 /dev/zero >> a.pdf").await;
    let outcome = inside.run(&request("read", json!({"file_path": "a.pdf"}))).await.unwrap();
    assert_eq!(outcome.content[0]["type"], "document");
    assert_eq!(outcome.content[0]["source"]["data"].as_str().unwrap().len(), 15_000_009_usize.div_ceil(3) * 4);
    home.end().await;
}
