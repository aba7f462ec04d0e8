//! `ostler doctor`: lacks that are really there, and what it leaves behind, which is nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;
use ostler_testkit::ModelServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::server::{BINARY, KEY, command};
use crate::support::{Server, limits, processes};

const SECRET: &str = "sk-secret-of-the-doctor-tests";

/// A data directory and a place for temporary files, both empty.
struct Place {
    data: TempDir,
    temporary: TempDir,
}

/// What the doctor said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Place {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), temporary: tempfile::tempdir().unwrap() }
    }

    /// Runs it behind other programs, such as `unshare`, with what comes before it on the line.
    async fn behind(&self, before: &[&str], args: &[&str], env: &[(&str, &str)]) -> Output {
        let words: Vec<&str> = before.iter().copied().chain([BINARY, "doctor"]).chain(args.iter().copied()).collect();
        let mut command = command(words[0].as_ref(), self.data.path());
        command.args(&words[1..]).env("TMPDIR", self.temporary.path()).env("OSTLER_LISTEN", "127.0.0.1:0").envs(env.iter().copied());
        tokio::time::timeout(limits::NEXT, command.output()).await.expect("the doctor ends").unwrap()
    }

    async fn said(&self, before: &[&str], args: &[&str], env: &[(&str, &str)]) -> Said {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let output = self.behind(before, &args, env).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let remarks = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains(SECRET) && !remarks.contains(SECRET), "a secret was printed:\n{text}{remarks}");
        let findings = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = Said { code: output.status.code(), findings };
        assert!(!said.findings.is_empty(), "{remarks}");
        said
    }

    async fn examine(&self, args: &[&str], env: &[(&str, &str)]) -> Said {
        self.said(&[], args, env).await
    }

    async fn leaves_nothing(&self) {
        assert_eq!(std::fs::read_dir(self.data.path()).unwrap().count(), 0, "the data directory is as it was");
        // The spawner of the trial says goodbye before it ends.
        processes::eventually("the trial is gone", || processes::of_data_dir(self.temporary.path()).is_empty()).await;
        let left: Vec<_> = std::fs::read_dir(self.temporary.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        processes::kill_all_of(self.temporary.path());
    }
}

impl Said {
    /// The finding of this name, which must be as said.
    #[track_caller]
    fn is(&self, name: &str, status: &str, found: &str) -> &Value {
        let finding = self.findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name} in {self:#?}"));
        assert!(
            finding["status"] == status && finding["found"].as_str().unwrap().contains(found),
            "wanted {status} {found:?}: {finding:#}"
        );
        finding
    }

    /// A problem of this name, its remedy, and the status of scripts.
    #[track_caller]
    fn fails(&self, name: &str, found: &str, remedy: &str) {
        let finding = self.is(name, "problem", found);
        assert!(finding["remedy"].as_str().unwrap().contains(remedy), "{finding:#}");
        assert_eq!(self.code, Some(1));
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A provider that answers everything with this, and says how often it was asked.
async fn provider(answer: &'static str) -> (String, tokio::task::JoinHandle<()>, tokio::sync::watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (count, asked) = tokio::sync::watch::channel(0);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                // The beginning of TLS is no request, and answered all the same.
                while !request.ends_with(b"\r\n\r\n")
                    && request.first() != Some(&0x16)
                    && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0)
                {}
                if request.is_empty() {
                    return; // It was only tried whether somebody listens.
                }
                count.send_modify(|count| *count += 1);
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, serving, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_will_do_is_told_so_and_left_as_it_was() {
    let place = Place::new();
    let said = place.examine(&[], &[]).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    said.is("models", "note", "no AI");
    for name in [
        "kernel",
        "user_namespaces",
        "seccomp",
        "settings",
        "exposure",
        "fsync",
        "sandbox",
        "sandbox_namespaces",
        "sandbox_privileges",
        "sandbox_network",
    ] {
        said.is(name, "ok", "");
    }
    let fields = |finding: &Value| finding.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert!(said.findings.iter().all(|finding| fields(finding) == "found name remedy status"), "{said:#?}");
    place.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_line_per_check_and_the_remedy_below() {
    let place = Place::new();
    mode(place.data.path(), 0o777);
    let output = place.behind(&[], &[], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert!(lines.any(|line| line.starts_with("PROBLEM  data_dir ")), "{text}");
    assert!(lines.next().unwrap().trim_start().starts_with("-> chmod 700 "), "{text}");
    assert!(text.ends_with("1 problem: see the remedies above.\n"), "{text}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_has_a_status_of_its_own() {
    let place = Place::new();
    assert_eq!(place.behind(&[], &["--no-such-flag"], &[]).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_missing_is_not_made() {
    let place = Place::new();
    let missing = place.data.path().join("a/b");
    let said = place.examine(&["--data-dir", missing.to_str().unwrap()], &[]).await;
    said.is("data_dir", "ok", "made at the first start");
    said.is("fsync", "note", "not tried");
    let file = place.temporary.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        place.examine(&["--data-dir", path.to_str().unwrap()], &[]).await.fails("data_dir", "no directory", "--data-dir");
    }
    std::fs::remove_file(file).unwrap();
    place.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_on_a_disk_that_cannot_be_written_is_a_problem() {
    let place = Place::new();
    if !is_root() {
        mode(place.data.path(), 0o500);
        return place.examine(&[], &[]).await.fails("fsync", "denied", "writable");
    }
    let script = r#"mount --bind "$OSTLER_DATA_DIR" "$OSTLER_DATA_DIR" && mount -o remount,bind,ro "$OSTLER_DATA_DIR" && exec "$@""#;
    let said = place.said(&["unshare", "--mount", "sh", "-c", script, "sh"], &[], &[]).await;
    said.fails("fsync", "Read-only file system", "read-only");
    said.fails("file_system", "read-only", "remount,rw");
    place.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_with_less_than_the_reserve_is_a_problem() {
    if !is_root() {
        return eprintln!("skipped a_disk_with_less_than_the_reserve_is_a_problem: only root can mount a small disk");
    }
    let place = Place::new();
    let script = r#"mount -t tmpfs -o size=8m,mode=700 tmpfs "$OSTLER_DATA_DIR" && exec "$@""#;
    let said = place.said(&["unshare", "--mount", "sh", "-c", script, "sh"], &[], &[]).await;
    said.fails("disk_space", "8 MiB free", "below 64 MiB");
    said.is("file_system", "note", "tmpfs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_belongs_to_somebody_else_is_told_of() {
    const SOMEBODY: u32 = 64_998;
    if !is_root() {
        return eprintln!("skipped a_directory_that_belongs_to_somebody_else_is_told_of: only root can give files away");
    }
    let place = Place::new();
    std::os::unix::fs::chown(place.data.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    place.examine(&[], &[]).await.is("data_dir", "note", "user 64998");

    // The other way round: an ordinary user and the directory of root.
    std::os::unix::fs::chown(place.data.path(), Some(0), Some(0)).unwrap();
    std::os::unix::fs::chown(place.temporary.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let as_somebody = ["setpriv", "--reuid", "64998", "--regid", "64998", "--clear-groups"];
    if !place.behind(&as_somebody, &["--help"], &[]).await.status.success() {
        return eprintln!("skipped half of a_directory_that_belongs_to_somebody_else_is_told_of: another user cannot run {BINARY}");
    }
    mode(place.data.path(), 0o755);
    let said = place.said(&as_somebody, &[], &[]).await;
    said.fails("data_dir", "user 0 with mode 0755", "chown -R 64998");
    said.fails("fsync", "denied", "writable");
    said.is("id_ranges", "note", "share the id of this user, 64998");
    said.is("sandbox_ids", "note", "64998 outside");
    said.is("sandbox_privileges", "ok", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_user_namespaces_the_setting_is_named() {
    let place = Place::new();
    // The setting is the new namespace's own: nobody else sees it.
    let script = r#"echo 0 >/proc/sys/user/max_user_namespaces && exec "$@""#;
    let said = place.said(&["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", script, "sh"], &[], &[]).await;
    said.fails("user_namespaces", "No space left on device", "sysctl -w user.max_user_namespaces=");
    said.fails("sandbox", "none can be started: namespaces", "user namespaces");
    place.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_without_the_ids_of_the_settings_is_told_so() {
    let place = Place::new();
    let said = place.said(&["unshare", "--user", "--map-root-user"], &[], &[]).await;
    said.is("user_namespaces", "ok", "as root");
    said.fails("id_ranges", "in a user namespace", "uid_map");
    said.fails("sandbox", "none can be started", "");
    place.leaves_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_has_is_a_problem() {
    let place = Place::new();
    let (url, serving, _) = provider("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").await;
    let address = url.strip_prefix("http://").unwrap();
    place.examine(&["--listen", address], &[]).await.fails("listen", "another program", "ss -ltnp");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_is_known_and_anothers_is_not_taken_for_it() {
    let server = Server::start().await;
    let address = server.address().to_string();
    let mut place = Place::new();
    let other = place.examine(&["--listen", &address], &[]).await;
    other.fails("listen", "another data directory", "--listen");
    other.is("lock", "ok", "nobody");

    let dir = server.data_dir().to_str().unwrap().to_owned();
    let own = place.examine(&["--listen", &address, "--data-dir", &dir], &[]).await;
    own.is("listen", "ok", &format!("our own server, process {}", server.pid()));
    own.is("lock", "ok", &format!("process {}", server.pid()));
    own.is("secret_files", "ok", "3, each for its owner alone");
    assert_eq!(own.code, Some(0), "{own:#?}");
    assert_eq!(server.api.status_of("/v1/agents").await, 200, "the server does not mind");

    mode(&server.data_dir().join("server.json"), 0o644);
    let open = place.examine(&["--listen", &address, "--data-dir", &dir], &[]).await;
    open.fails("secret_files", "server.json has mode 0644", "chmod 600");
    assert!(!format!("{open:?}").contains(KEY));
    place.data = tempfile::tempdir().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_are_told_without_their_values() {
    let place = Place::new();
    let file = place.temporary.path().join("ostler.toml");
    let path = file.to_str().unwrap();
    for (text, found) in [
        (format!("[providers.openai]\napi_key = \"{SECRET}\nbase_url = 1\n"), "line 2"),
        (format!("[providers.openai]\napi_key = [\"{SECRET}\"]\n"), "line 2: invalid type"),
        ("[server]\nlissten = \"127.0.0.1:1\"\n".to_owned(), "unknown field `lissten`"),
        ("[models.\"smart\"]\ntargets = []\n[providers.ollama]\nbase_url = \"http://127.0.0.1:9\"\n".to_owned(), "targets is empty"),
    ] {
        std::fs::write(&file, text).unwrap();
        let said = place.examine(&["--config", path, "--offline"], &[]).await;
        said.fails("settings", found, "ostler config default");
        said.is("sandbox", "ok", "");
    }
    place.examine(&["--config", "/nonexistent/ostler.toml"], &[]).await.fails("settings", "/nonexistent/ostler.toml", "config default");
    place.examine(&["--listen", "0.0.0.0:0"], &[]).await.fails("exposure", "unencrypted", "--allow-plaintext");
    place.examine(&["--listen", "0.0.0.0:0", "--allow-plaintext"], &[]).await.is("exposure", "note", "without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_file_with_a_key_that_others_can_read_is_a_problem() {
    let place = Place::new();
    let file = place.temporary.path().join("ostler.toml");
    std::fs::write(&file, format!("[providers.local]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\napi_key = \"{SECRET}\"\n"))
        .unwrap();
    for (bits, status) in [(0o644, "problem"), (0o600, "ok")] {
        mode(&file, bits);
        let said = place.examine(&["--config", file.to_str().unwrap(), "--offline"], &[]).await;
        said.is("secret_files", status, "");
        said.is("key_holder", "ok", "the server has none of them");
        said.is("models", "note", "--offline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_answers_is_good_and_one_that_nobody_serves_is_not() {
    let (place, model) = (Place::new(), ModelServer::start().await);
    let url = model.base_url();
    let said = place.examine(&[], &[("ANTHROPIC_BASE_URL", &url), ("ANTHROPIC_API_KEY", SECRET)]).await;
    said.is("model.anthropic", "ok", "lists");
    assert_eq!(said.code, Some(0), "{said:#?}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // No name server needs to be asked for a name with a part that is too long.
    let nameless = format!("http://{}.test", "x".repeat(64));
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let env = [("ANTHROPIC_BASE_URL", nobody.as_str()), ("OPENAI_BASE_URL", nameless.as_str()), ("OPENAI_API_KEY", SECRET)];
    let said = place.examine(&[], &env).await;
    said.fails("model.anthropic", "cannot be connected to", "firewall");
    said.fails("model.openai", "name is not found", "DNS");
    said.is("key.openai", "note", "readable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_refuses_the_key_is_told_and_the_key_is_not() {
    let place = Place::new();
    let answer =
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 48\r\nconnection: close\r\n\r\n{\"error\":\"no: sk-secret-of-the-doctor-tests\"}   ";
    let (url, serving, asked) = provider(answer).await;
    let env = [("ANTHROPIC_BASE_URL", url.as_str()), ("ANTHROPIC_API_KEY", SECRET)];
    place.examine(&["--offline"], &env).await.is("models", "note", "--offline");
    assert_eq!(*asked.borrow(), 0, "nobody was asked");
    place.examine(&[], &env).await.fails("model.anthropic", "refuses the key (401)", "valid");
    assert_eq!(*asked.borrow(), 1);
    serving.abort();

    // No TLS where TLS is expected.
    let (url, serving, _) = provider("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let url = url.replace("http://", "https://");
    place.examine(&[], &[("OPENAI_BASE_URL", &url)]).await.fails("model.openai", "TLS", "https");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_and_leaves_nothing() {
    let place = Place::new();
    let (url, serving, mut asked) = provider("").await;
    let mut command = command(BINARY.as_ref(), place.data.path());
    command.args(["doctor", "--listen", "127.0.0.1:0"]).env("TMPDIR", place.temporary.path()).env("ANTHROPIC_BASE_URL", &url);
    let child = command.spawn().unwrap();
    tokio::time::timeout(limits::NEXT, asked.wait_for(|asked| *asked > 0)).await.unwrap().unwrap();
    processes::signal(i32::try_from(child.id().unwrap()).unwrap(), Signal::SIGINT);
    let output = tokio::time::timeout(limits::END, child.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
    place.leaves_nothing().await;
    serving.abort();
}
