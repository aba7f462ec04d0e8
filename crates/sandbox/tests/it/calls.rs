//! Calls: at most once, kept until acknowledged, ended with everything they started.

use ostler_core::call::CallEnd;
use ostler_sandbox::CallError;

use crate::home::{Home, bash, request, sh, text};

/// Daemons of every kind, each of which writes a line when it is up.
const DAEMONS: &str = r"
setsid sh -c 'echo a >> up; exec sleep 600' &
(setsid sh -c '(echo b >> up; exec sleep 601) & exit' &)
nohup sh -c 'trap \'\' TERM HUP INT; echo c >> up; while :; do sleep 602; done' >/dev/null 2>&1 &
";

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_everything_that_the_call_started_and_nothing_else() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    sh(&inside, "sleep 1234 & echo").await;
    let call = bash(&format!("{}\necho foreground; sleep 600", DAEMONS.replace("\\'\\'", "\"\"")));
    let running = tokio::spawn({
        let (inside, call) = (inside.clone(), call.clone());
        async move { inside.run(&call).await.unwrap() }
    });
    sh(&inside, "until [ -f up ] && [ $(wc -l < up) = 3 ]; do :; done").await;
    inside.cancel(&call.id).await;
    let outcome = running.await.unwrap();
    assert_eq!((outcome.end, outcome.is_error), (CallEnd::Cancelled, true));
    assert!(text(&outcome).starts_with("foreground\n[interrupted"), "{}", text(&outcome));
    assert_eq!(sh(&inside, "pgrep -a sleep").await.lines().filter(|line| !line.contains("sleep 1234")).count(), 0);
    assert_eq!(sh(&inside, "pgrep -c -f 'sleep 1234'").await, "1");
    inside.cancel(&call.id).await;
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_ended_with_what_it_said() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let mut call = bash("echo said; sleep 600 & sleep 600");
    call.timeout_ms = Some(300);
    let outcome = inside.run(&call).await.unwrap();
    assert_eq!((outcome.end, outcome.is_error), (CallEnd::TimedOut, true));
    assert!(text(&outcome).starts_with("said\n[timed out"), "{}", text(&outcome));
    assert_eq!(sh(&inside, "pgrep sleep || echo none").await, "none");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_runs_once_whoever_asks_and_how_often() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let call = bash("echo ran >> count; echo done");
    let (one, two) = tokio::join!(inside.run(&call), inside.run(&call));
    assert_eq!(one.unwrap(), two.unwrap());
    let other = home.sandboxes.attach(&id, inside.incarnation()).await.unwrap();
    assert!(other.knows(&call.id));
    assert_eq!(text(&other.run(&call).await.unwrap()), "done\n");
    assert_eq!(sh(&inside, "wc -l < count").await, "1");
    other.acknowledge(&call.id).await;
    assert!(matches!(other.run(&call).await, Err(CallError::Refused(_))));
    let later = home.sandboxes.attach(&id, inside.incarnation()).await.unwrap();
    assert!(!later.knows(&call.id));
    assert_eq!(sh(&inside, "wc -l < count").await, "1");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_wait_and_a_dropped_connection_lose_nothing() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    sh(&inside, "mkfifo go").await;
    let call = bash("echo up > up; read -r line < go; echo got $line");
    {
        let running = tokio::spawn({
            let (inside, call) = (inside.clone(), call.clone());
            async move { inside.run(&call).await }
        });
        sh(&inside, "until [ -s up ]; do :; done").await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
    let incarnation = inside.incarnation().clone();
    drop(inside);
    let again = home.server(1).await.attach(&id, &incarnation).await.unwrap();
    assert!(again.knows(&call.id));
    sh(&again, "echo it > go").await;
    assert_eq!(text(&again.run(&call).await.unwrap()), "got it\n");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_supervisor_is_killed_settles_and_leaves_nothing() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let outcome = inside.run(&bash("setsid sleep 600 & kill -9 $PPID; sleep 600")).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("was killed"), "{}", text(&outcome));
    assert_eq!(sh(&inside, "pgrep sleep || echo none").await, "none");
    // A supervisor that cannot act any more is ended by init.
    let mut stopped = bash("kill -STOP $PPID; sleep 600");
    stopped.timeout_ms = Some(1_000);
    assert_eq!(inside.run(&stopped).await.unwrap().end, CallEnd::TimedOut);
    assert_eq!(sh(&inside, "kill -9 1; pgrep sleep || echo none").await, "none");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_overlap() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    // Each waits for all others, so they end only if all run at once.
    let one = |number: usize| {
        let inside = inside.clone();
        async move { sh(&inside, &format!("touch here{number}; until [ $(ls here* | wc -l) = 8 ]; do sleep 0.01; done; echo {number}")).await }
    };
    let done = tokio::join!(one(0), one(1), one(2), one(3), one(4), one(5), one(6), one(7));
    assert_eq!((done.0.as_str(), done.7.as_str()), ("0", "7"));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_init_cannot_read_is_refused_and_the_others_go_on() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let other = tokio::spawn({
        let inside = inside.clone();
        async move { sh(&inside, "echo up > up; until [ -f go ]; do sleep 0.01; done; echo went").await }
    });
    sh(&inside, "until [ -s up ]; do sleep 0.01; done").await;
    let deep = (0..200).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
    let refused = inside.run(&request("bash", deep)).await;
    assert!(matches!(&refused, Err(CallError::Refused(reason)) if reason.contains("recursion limit")), "{refused:?}");
    sh(&inside, "touch go").await;
    assert_eq!(other.await.unwrap(), "went");
    home.end().await;
}
