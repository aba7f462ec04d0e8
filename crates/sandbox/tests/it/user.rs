//! The same without root. Run by root, the test runs itself again as a user that owns nothing.

use std::os::unix::fs::chown;
use std::process::Command;

use ostler_sandbox::IdMapping;

use crate::home::{Home, bash, request, sh, text};

const NOBODY_ELSE: u32 = 64_999;

#[test]
fn an_ordinary_user_gets_the_same_isolation() {
    if nix::unistd::geteuid().is_root() { as_nobody_else("user::an_ordinary_user_gets_the_same_isolation", false) } else { as_this_user() }
}

/// Runs a test of this program again, as a user that owns nothing.
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
pub(crate) fn as_nobody_else(test: &str, is_shown: bool) {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(NOBODY_ELSE), Some(NOBODY_ELSE)).unwrap();
    let id = NOBODY_ELSE.to_string();
    let itself = std::env::current_exe().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(&itself);
    command.args(["--exact", test, "--nocapture"]).env("TMPDIR", dir.path()).current_dir("/");
    match command.output() {
        Err(error) => eprintln!("skipped {test} as an ordinary user: setpriv cannot be run: {error}"),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains(&format!("failed to execute {}", itself.display())) => {
            eprintln!("skipped {test} as an ordinary user: another user cannot run {}", itself.display());
        }
        Ok(output) => {
            let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if is_shown {
                eprintln!("{said}");
            }
            assert!(output.status.success(), "{said}");
        }
    }
}

fn as_this_user() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let home = Home::new().await;
        assert_eq!(home.sandboxes.probe().await.unwrap().ids, IdMapping::ServerUser);
        let (id, inside) = home.sandbox().await;
        assert_eq!(
            sh(&inside, "id -u; id -g; hostname; grep -c CapEff:.0000000000000000 /proc/self/status").await,
            "1000\n1000\nsandbox\n1"
        );
        assert_eq!(sh(&inside, "x=1; mkdir -p a/b; chmod 0 a; ls -A /root /sys 2>/dev/null | wc -l").await, "0");
        let written = inside.run(&request("write", serde_json::json!({"file_path": "f", "content": "x"}))).await.unwrap();
        assert!(!written.is_error, "{}", text(&written));
        for command in ["unshare -Ur true", "echo x > /etc/x", "echo x > /dev/x", "cat /proc/1/environ"] {
            assert!(inside.run(&bash(command)).await.unwrap().is_error, "{command}");
        }
        home.sandboxes.remove(&id).await.unwrap();
        home.end().await;
    });
}
