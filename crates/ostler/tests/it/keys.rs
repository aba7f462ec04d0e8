//! Who has keys: egress and its keeper, and not the server, in whatever it leaves to be seen.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use ostler_seal::open::{KeyPair, KeyRing};
use serde_json::json;

use crate::support::events::{names, said};
use crate::support::server::{BINARY, command};
use crate::support::{Server, processes};

const IN_VARIABLE: &str = "sk-CANARY-in-a-variable-5d0c";
const IN_OTHER_VARIABLE: &str = "sk-CANARY-in-another-variable-77ab";
const IN_FILE: &str = "sk-CANARY-in-the-file-91fe";
/// The user that egress gets.
const EGRESS_USER: u32 = 60_750;

/// The bytes of a secret key in a key file.
fn secret_part(ring: &str) -> String {
    ring.split_whitespace().max_by_key(|word| word.len()).unwrap().to_owned()
}

struct Keys {
    server: Server,
    vault_key: String,
    _dir: tempfile::TempDir,
}

impl Keys {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ostler.toml");
        let text = format!(
            "# {IN_FILE}\n[providers.anthropic]\nmodels = [\"scripted-model\"]\n[providers.openai]\napi_key = \"{IN_FILE}\"\n\
             [providers.local]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\napi_key_env = \"LOCAL_KEY\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let ring = KeyRing::new(KeyPair::generate().unwrap(), Vec::new()).to_text().to_string();
        let vault_key = secret_part(&ring);
        let server = Server::builder()
            .env("OSTLER_CONFIG", file.to_str().unwrap())
            .env("ANTHROPIC_API_KEY", IN_VARIABLE)
            .env("LOCAL_KEY", IN_OTHER_VARIABLE)
            .env("OSTLER_VAULT_KEY", ring.trim())
            .start()
            .await;
        Self { server, vault_key, _dir: dir }
    }

    fn secrets(&self) -> [&str; 4] {
        [IN_VARIABLE, IN_OTHER_VARIABLE, IN_FILE, &self.vault_key]
    }

    /// Which of the secrets can be found in a process.
    fn in_process(&self, pid: i32) -> Vec<&str> {
        let secrets = self.secrets();
        let mut texts: Vec<Vec<u8>> = ["environ", "cmdline"].map(|name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap()).into();
        texts.extend(memory(pid));
        let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
        secrets.into_iter().filter(|secret| texts.iter().any(|text| text.contains(secret))).collect()
    }

    /// The processes of egress that belong to the server: its keeper and the keeper's worker.
    fn egress(&self) -> (i32, i32) {
        let child = |of: i32, role: &str| {
            let found = processes::with_argument(&format!("egress {role}"));
            found.into_iter().find(|pid| parent(*pid) == Some(of)).unwrap_or_else(|| panic!("no {role} of {of}"))
        };
        let keeper = child(self.server.pid(), "keeper");
        (keeper, child(keeper, "worker"))
    }
}

fn parent(pid: i32) -> Option<i32> {
    let about = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    about.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn has(text: &[u8], part: &str) -> bool {
    // What is no text becomes other text, and the keys are text.
    String::from_utf8_lossy(text).contains(part)
}

/// All memory of a process that can be written.
fn memory(pid: i32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let writable = maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|rights| rights.starts_with("rw")));
    let ranges = writable.filter_map(|line| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    });
    ranges
        .filter_map(|(from, to)| {
            let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
            // Some of it may be gone by now.
            memory.read_exact_at(&mut bytes, from).ok().map(|()| bytes)
        })
        .collect()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_has_no_key_and_its_keeper_has_them_all() {
    if !is_root() {
        eprintln!("skipped: only root reads the memory of other processes");
        return;
    }
    let keys = Keys::start().await;
    let (keeper, worker) = keys.egress();
    // The search finds what is there.
    assert_eq!(keys.in_process(keeper), keys.secrets());
    assert!(has(&std::fs::read(format!("/proc/{}/environ", keys.server.pid())).unwrap(), "ANTHROPIC_API_KEY=held-by-egress"));
    for pid in [keeper, worker] {
        assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    }
    assert_eq!(keys.in_process(keys.server.pid()), Vec::<&str>::new());

    let session = keys.server.session(json!([])).await;
    assert_eq!(said(&session.turn("SAY hello").await), "hello");
    assert_eq!(keys.server.model.requests()[0].headers["x-api-key"], IN_VARIABLE);
    // An error that names the key does so no further than to egress.
    session.turn("FAIL 401 1\nSAY never").await;
    assert_eq!(keys.in_process(keys.server.pid()), Vec::<&str>::new());
    assert!(!keys.server.log().text().contains("CANARY"));
    assert_eq!(files_with(keys.server.data_dir(), &keys.secrets()), Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", keys.server.pid())).unwrap().trim(), "ostler");
}

/// The files below a directory that have one of these in them. The disks of sandboxes, which are large, are left out.
fn files_with(dir: &Path, secrets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if entry.file_name() == "sandboxes" {
            continue;
        }
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), secrets));
        } else if kind.is_file() && std::fs::read(entry.path()).is_ok_and(|text| secrets.iter().any(|secret| has(&text, secret))) {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_that_dies_under_an_answer_is_a_failure_of_the_moment() {
    let keys = Keys::start().await;
    let session = keys.server.session(json!([])).await;
    let mut stream = session.follow("").await;
    session.say("SAY before\nGATE g\nSAY after").await;
    keys.server.model.reached("g").await;
    let (keeper, worker) = keys.egress();
    processes::signal(worker, Signal::SIGKILL);
    keys.server.model.open("g");
    let frames = stream.turn().await;
    let ends: Vec<_> =
        frames.iter().filter(|frame| frame.name == "span.model_request_end").map(|frame| frame.data["is_error"].clone()).collect();
    assert_eq!(ends, [json!(true), json!(false)]);
    assert!(!names(&frames).contains(&"session.error"));
    assert!(said(&frames).contains("after"));
    let (same, next) = keys.egress();
    assert!(same == keeper && next != worker);
    assert!(frames.iter().all(|frame| !frame.data.to_string().contains("CANARY")));
    assert!(!keys.server.log().text().contains("CANARY"));
    if is_root() {
        assert_eq!(keys.in_process(keys.server.pid()), Vec::<&str>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_keeper_is_gone_ends_and_says_why() {
    let mut keys = Keys::start().await;
    let (keeper, worker) = keys.egress();
    processes::signal(keeper, Signal::SIGKILL);
    assert!(!keys.server.ended().await.success());
    assert!(keys.server.log().text().contains("the keeper of egress has ended"), "{}", keys.server.log().text());
    processes::eventually("egress ends with its keeper", || !Path::new(&format!("/proc/{worker}")).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_is_shut_off_and_nobody_looks_into_it() {
    let keys = Keys::start().await;
    let (_, worker) = keys.egress();
    let about = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()));
    if !is_root() {
        eprintln!("skipped: only root gives egress a user of its own");
        return;
    }
    let user = EGRESS_USER.to_string();
    for kind in ["Uid:", "Gid:"] {
        assert_eq!(field(kind).split_whitespace().collect::<Vec<_>>(), [user.as_str(); 4], "{kind}");
    }
    assert_eq!((field("Groups:"), field("CapPrm:"), field("CapEff:")), (String::new(), "0".repeat(16), "0".repeat(16)));
    // Another process of the same user sees others of it, and not this one.
    let reads = |pid: u32| Command::new("cat").arg(format!("/proc/{pid}/environ")).uid(EGRESS_USER).gid(EGRESS_USER).output().unwrap();
    let mut open = Command::new("sleep").arg("1000").env("OPEN", "yes").uid(EGRESS_USER).gid(EGRESS_USER).spawn().unwrap();
    processes::eventually("the other process runs", || reads(open.id()).stdout.windows(8).any(|text| text == b"OPEN=yes")).await;
    open.kill().unwrap();
    open.wait().unwrap();
    for pid in [worker, keys.server.pid()] {
        let refused = reads(pid.cast_unsigned());
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("ermission denied"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_used_after_a_restart() {
    let mut keys = Keys::start().await;
    keys.server.terminate().await;
    keys.server.set_env("ANTHROPIC_API_KEY", Some("sk-rotated"));
    keys.server.restart().await;
    assert_eq!(said(&keys.server.session(json!([])).await.turn("SAY again").await), "again");
    assert_eq!(keys.server.model.requests()[0].headers["x-api-key"], "sk-rotated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_key_is_exchanged_by_the_keeper_and_the_server_never_has_one() {
    if !is_root() {
        eprintln!("skipped: only root reads the memory of other processes");
        return;
    }
    let mut keys = Keys::start().await;
    keys.server.terminate().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k");
    keys.server.set_env("OSTLER_VAULT_KEY", None);
    keys.server.set_env("OSTLER_VAULT_KEY_FILE", Some(file.to_str().unwrap()));
    keys.server.restart().await;
    let secrets = || -> Vec<String> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines()
            .filter(|line| line.starts_with("ostler-"))
            .filter_map(|line| line.split_whitespace().next_back())
            .map(str::to_owned)
            .collect()
    };
    let before = secrets();
    let mut command = command(BINARY.as_ref(), keys.server.data_dir());
    let output = command.args(["vault", "rotate-key"]).env("OSTLER_VAULT_KEY_FILE", &file).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = secrets();
    assert!(after.len() == 2 && before.len() == 1 && !after.contains(&before[0]), "a key and the number of the authority");
    let has = |pid: i32, secret: &str| memory(pid).iter().any(|text| has(text, secret));
    let (keeper, _) = keys.egress();
    assert!(has(keeper, &after[0]), "the search finds what is there");
    for secret in before.iter().chain(&after) {
        assert!(!has(keys.server.pid(), secret));
        assert!(!keys.server.log().text().contains(secret) && !String::from_utf8_lossy(&output.stderr).contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_why_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("ostler.toml"));
    let table = [
        (
            "[egress]\nextra_ca = [\"/nonexistent.pem\"]\n",
            "",
            "egress does not start: the certificates in /nonexistent.pem (extra_ca of [egress] in the settings) cannot be read",
        ),
        ("[providers.openai]\nbase_url = \"ftp://host\"\napi_key = \"sk-1\"\n", "", "its scheme is neither http nor https"),
        ("", "0", "OSTLER_HANDOVER is set by this program for itself alone"),
        ("", "1234567", "OSTLER_HANDOVER is set by this program for itself alone"),
    ];
    for (settings, handover, wanted) in table {
        std::fs::write(&file, settings).unwrap();
        let mut command = command(BINARY.as_ref(), &data);
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("OSTLER_CONFIG", &file);
        if !handover.is_empty() {
            command.env("OSTLER_HANDOVER", handover);
        }
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(wanted), "{said}");
        assert!(!said.contains("sk-1"));
    }
    processes::eventually("nothing is left", || processes::of_data_dir(&data).is_empty()).await;
}
