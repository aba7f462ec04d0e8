//! The shell: its state from call to call, its output, and what it leaves behind.

use ostler_core::call::CallEnd;
use serde_json::json;

use ostler_sandbox::CallRequest;

use crate::home::{Home, bash, call_id, request, sh, text};

#[tokio::test(flavor = "multi_thread")]
async fn state_goes_from_call_to_call() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, r#"mkdir -p "a b"; cd "a b"; x=$'one\ntwo'; export Y=why; list=(1 "2 3"); declare -A map=([k]=v); f() { echo "f:$1"; }; shopt -s nullglob extglob; set -o pipefail; alias ll='ls -l'; umask 077"#).await;
    assert_eq!(
        sh(&inside, r#"pwd; echo "$x"; bash -c 'echo $Y'; echo "${list[1]}" "${map[k]}"; f 2; shopt nullglob; set -o | grep pipefail; alias ll; umask"#).await,
        "/workspace/a b\none\ntwo\nwhy\n2 3 v\nf:2\nnullglob       \ton\npipefail       \ton\nalias ll='ls -l'\n0077"
    );
    // A function that only parses with an option that the last call set.
    sh(&inside, "pick() { case $1 in @(a|b)) echo picked;; esac; }").await;
    assert_eq!(sh(&inside, "pick a").await, "picked");
    let failed = inside.run(&bash("cd /tmp; z=kept; exit 3")).await.unwrap();
    assert!(failed.is_error && failed.end == CallEnd::Finished);
    assert_eq!(text(&failed), "[exit status 3]");
    assert_eq!(sh(&inside, "pwd; echo $z").await, "/tmp\nkept");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_command_does_to_its_shell_the_next_has_its_state() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    for (command, then, expected) in [
        ("unset IFS", "x='a b c'; set -- $x; echo $#; unset x", "3"),
        ("IFS=:", "x='a:b c'; set -- $x; echo $#; IFS=$' \\t\\n'", "2"),
        ("trap 'echo bye' EXIT; z=5; cd /tmp", "echo $z; pwd", "5\n/tmp"),
        ("cd() { builtin cd \"$1\" && ls >/dev/null; }; builtin cd /usr", "pwd", "/usr"),
        ("shopt -s expand_aliases; alias cd='echo no'; builtin cd /tmp", "pwd; unalias cd", "/tmp"),
        ("printf() { :; }; trap() { :; }; read() { :; }; declare() { :; }; y=6", "echo $y", "6"),
        ("unset -f printf trap read declare; readonly IFS; y=7", "echo $y", "7"),
        ("TMOUT=1; cd /usr; cd /tmp", "echo $TMOUT; cd - >/dev/null; pwd", "1\n/usr"),
        ("while getopts a opt -a; do :; done", "getopts b opt -b && echo $opt", "b"),
        ("set -x; y=8", "set +x; echo $y", "8"),
        ("mkdir -p /workspace/d; cd /workspace/d; rm -r ../d; mkdir ../d; touch ../d/new", "ls", "new"),
    ] {
        inside.run(&bash(command)).await.unwrap();
        let outcome = inside.run(&bash(&format!("{{ {then}; }} 2>/dev/null"))).await.unwrap();
        assert_eq!(text(&outcome).trim_end().trim_start_matches("+ set +x\n"), expected, "after {command}");
    }
    let said = inside.run(&bash("trap 'echo bye' EXIT; echo hi; false")).await.unwrap();
    assert_eq!(text(&said), "hi\nbye\n[exit status 1]");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_too_large_leaves_the_last_one() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "x=kept; cd /tmp").await;
    sh(&inside, "printf -v large %5000000s").await;
    assert_eq!(sh(&inside, "echo $x; pwd").await, "kept\n/tmp");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_end_a_shell_do_not_end_the_sandbox() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let failed = inside.run(&bash("set -eu; false; echo not here")).await.unwrap();
    assert_eq!(text(&failed), "[exit status 1]");
    let failed = inside.run(&bash("echo $undefined_name")).await.unwrap();
    assert!(failed.is_error && text(&failed).contains("unbound variable"), "{}", text(&failed));
    assert_eq!(sh(&inside, "set +eu; set -f -C; echo *").await, "*");
    assert_eq!(sh(&inside, "echo *; set +f +C").await, "*");
    let failed = inside.run(&bash("if")).await.unwrap();
    assert!(failed.is_error && text(&failed).contains("syntax error"));
    assert_eq!(sh(&inside, "echo on").await, "on");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_state_costs_the_state_and_not_the_call() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "x=1; echo 'if ((' > /run/ostler/state; exec true").await;
    assert_eq!(sh(&inside, "echo ${x-gone}").await, "gone");
    sh(&inside, "rm -f /run/ostler/state; mkdir /run/ostler/other; ln -s /dev/zero /run/ostler/state; exec true").await;
    assert_eq!(sh(&inside, "echo here").await, "here");
    sh(&inside, "mkdir gone; cd gone; rmdir ../gone").await;
    assert_eq!(sh(&inside, "pwd").await, "/workspace");
    sh(&inside, "x=1").await;
    let outcome = inside.run(&request("bash", json!({"restart": true}))).await.unwrap();
    assert!(!outcome.is_error);
    assert_eq!(sh(&inside, "echo ${x-gone}").await, "gone");
    sh(&inside, "x=1").await;
    let outcome = inside.run(&request("bash", json!({"restart": true, "command": "echo ${x-gone}"}))).await.unwrap();
    assert_eq!(text(&outcome), "gone\n");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_combined_clean_and_bounded() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    assert_eq!(sh(&inside, "echo out; echo err >&2; cat").await, "out\nerr");
    assert_eq!(sh(&inside, "true").await, "(no output)");
    assert_eq!(sh(&inside, r"printf 'a\0b\377'").await, "a\u{fffd}b\u{fffd}");
    let killed = inside.run(&bash("kill -9 $$")).await.unwrap();
    assert!(killed.is_error && text(&killed) == "[killed by signal SIGKILL]");
    let call = bash("seq 1 100000");
    let outcome = inside.run(&call).await.unwrap();
    let shown = text(&outcome);
    assert!(shown.chars().count() <= 100_000 && shown.ends_with("100000\n"));
    let path = format!("/mnt/session/calls/{}", call.id);
    assert!(shown.contains(&path));
    assert_eq!(sh(&inside, &format!("head -n 1 {path}; wc -l < {path}")).await, "1\n100000");
    let refused = inside.run(&bash(&format!("chmod u+w {path}; echo x >> {path}"))).await.unwrap();
    assert!(text(&refused).contains("Read-only") && text(&refused).contains("Permission denied"), "{}", text(&refused));
    assert_eq!(sh(&inside, &format!("wc -l < {path}")).await, "100000");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn background_processes_outlive_their_call_and_not_the_sandbox() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "mkfifo go; (read -r line < go; echo \"got $line\"; echo $line > came) & echo started").await;
    sh(&inside, "echo it > go; until [ -s came ]; do :; done; cat came").await;
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_command_is_taken_and_a_longer_one_refused() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let long = format!("echo {} | wc -c", "x".repeat(500_000));
    assert_eq!(sh(&inside, &long).await, "500001");
    let refused = inside.run(&bash(&"x".repeat(2 << 20))).await.unwrap();
    assert!(refused.is_error && text(&refused).contains("longer than"));
    let refused = inside.run(&request("bash", json!({}))).await.unwrap();
    assert!(refused.is_error && text(&refused).contains("give a command"));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_waits_for_a_call_and_is_killed_costs_nothing() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let hunter = r#"x=1; (
        own=" $$ $BASHPID "
        until [[ ${found-} ]]; do
            for process in /proc/[0-9]*; do
                pid=${process#/proc/}
                name=; read -r name <"$process/comm"
                [[ $name == bash && $own != *" $pid "* ]] && kill -9 "$pid" && found=1
            done
        done 2>/dev/null
        echo yes >killed
    ) &"#;
    sh(&inside, hunter).await;
    while inside.run(&request("read", json!({"file_path": "killed"}))).await.unwrap().is_error {}
    assert_eq!(sh(&inside, "echo $x").await, "1");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_is_that_of_the_call_that_ended_last() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let (long, short) = (bash("x=long; until [[ -e done ]]; do :; done"), bash("x=short"));
    tokio::join!(async { assert!(!inside.run(&long).await.unwrap().is_error) }, async {
        assert!(!inside.run(&short).await.unwrap().is_error);
        assert_eq!(sh(&inside, "echo $x").await, "short");
        // Its state is left a moment after its result.
        let leaving = request("glob", json!({"pattern": "*", "path": "/run/ostler-shell"}));
        while text(&inside.run(&CallRequest { id: call_id(), ..leaving.clone() }).await.unwrap()).contains("state.") {}
        inside.run(&request("write", json!({"file_path": "done", "content": "yes"}))).await.unwrap();
    });
    assert_eq!(sh(&inside, "echo $x").await, "long");
    home.end().await;
}
