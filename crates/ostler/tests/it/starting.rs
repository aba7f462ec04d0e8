//! The first start and what is refused at a start.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::server::{BINARY, command};
use crate::support::{Api, processes};

async fn ostler(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    command(BINARY.as_ref(), dir).args(args).envs(env.iter().copied()).output().await.unwrap()
}

/// The words that look like a key.
fn keys(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || "\"',".contains(c))
        .filter(|word| word.starts_with("ostler_") && word.len() > 60)
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_shows_the_key_once_and_keeps_it_for_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut shown = Vec::new();
    for _ in 0..2 {
        let mut child = command(BINARY.as_ref(), &data).args(["serve", "--listen", "127.0.0.1:0"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.contains("\"serving;") {
                break;
            }
        }
        shown.push(keys(&said));
        let key = std::fs::read_to_string(data.join("api-key")).unwrap();
        let access: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(data.join("server.json")).unwrap()).unwrap();
        let api = Api::new(access["url"].as_str().unwrap(), key.trim());
        assert_eq!(api.status_of("/v1/agents").await, 200);
        child.kill().await.unwrap();
    }
    processes::kill_all_of(&data);
    let key = std::fs::read_to_string(data.join("api-key")).unwrap().trim().to_owned();
    assert_eq!(shown, [vec![key], vec![]]);
    for name in ["api-key", "server.json"] {
        let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guessable_key_is_refused_where_strangers_can_connect() {
    let dir = tempfile::tempdir().unwrap();
    let open = ["serve", "--listen", "0.0.0.0:0", "--allow-plaintext"];
    let refused = ostler(dir.path(), &open, &[("OSTLER_BOOTSTRAP_API_KEY", "short")]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fewer than 32 characters"));
    let refused = ostler(dir.path(), &open[..3], &[]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--allow-plaintext"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_settings_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let printed = ostler(dir.path(), &["config", "default"], &[]).await;
    assert!(printed.status.success() && printed.stderr.is_empty());
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.lines().any(|line| line.contains("listen")));
    let file = dir.path().join("ostler.toml");
    std::fs::write(&file, text + "\nnonsense = 1\n").unwrap();
    let refused = ostler(dir.path(), &["serve", "--config", file.to_str().unwrap()], &[]).await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a valid settings file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_has_its_own_status() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ostler(dir.path(), &["serve", "--no-such-flag"], &[]).await.status.code(), Some(2));
    assert_eq!(ostler(dir.path(), &["run", "  "], &[]).await.status.code(), Some(2));
    assert!(ostler(dir.path(), &["run", "--help"], &[]).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_with_their_origin_and_without_their_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ostler.toml");
    std::fs::write(&file, "[providers.openrouter]\napi_key = \"sk-in-the-file\"\n[model]\ndefault = \"in-the-file\"\n").unwrap();
    let args = ["config", "show", "--config", file.to_str().unwrap(), "--listen", "127.0.0.1:4711"];
    let env = [("ANTHROPIC_API_KEY", "sk-in-the-environment"), ("OSTLER_MODEL", "from-the-environment")];
    let shown = ostler(dir.path(), &args, &env).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && !text.contains("sk-in"), "{text}");
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(line("server.listen"), "server.listen 127.0.0.1:4711 flag");
    assert_eq!(line("model.default"), "model.default from-the-environment environment OSTLER_MODEL");
    assert_eq!(line("providers.anthropic.api_key"), "providers.anthropic.api_key (set) environment ANTHROPIC_API_KEY");
    assert_eq!(line("providers.openrouter.api_key"), format!("providers.openrouter.api_key (set) file {}", file.display()));
    let json = ostler(dir.path(), &[&args[..], &["--json"]].concat(), &env).await;
    let objects: Vec<serde_json::Value> =
        String::from_utf8(json.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().any(|object| object["name"] == "server.listen" && object["origin"] == "flag"));
}
