//! Nonsense on both protocols: frames that are nearly messages, cut, repeated and mixed up, given to the decoder, to a
//! living spawner and to a living init. Whatever they get, they answer the next one who speaks properly. Takes
//! OSTLER_FUZZ_SECONDS for each of the three (1 without it); OSTLER_FUZZ_SEED repeats a run.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says its seed")]

#[path = "../it/home.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod home;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ostler_sandbox::protocol::frame::{self, Decoder};
use ostler_sandbox::protocol::init::{FromInit, ToInit};
use ostler_sandbox::protocol::spawner::{Answer, Request};
use ostler_sandbox::{SandboxSpec, limits};
use ostler_testkit::fuzz::{Chance, until};
use serde_json::{Value, json};

use home::{Home, sh};

fn for_a_while(mut work: impl FnMut()) -> u64 {
    let (until, mut rounds) = (until(), 0);
    while Instant::now() < until {
        work();
        rounds += 1;
    }
    rounds
}

/// Messages of both protocols, as they should be.
fn messages(secret: &str) -> Vec<Value> {
    let spec = SandboxSpec { max_memory_bytes: 64 << 20, ..SandboxSpec::default() };
    let (id, life, call) = ("sesn_fuzz".parse().unwrap(), "inc_fuzz".parse().unwrap(), || "sevt_fuzz".parse().unwrap());
    let requests = [
        Request::Hello { version: 2 },
        Request::Create { sandbox_id: id, incarnation: life, spec: spec.clone() },
        Request::Kill { sandbox_id: "sesn_fuzz".parse().unwrap() },
        Request::Prepare { sandbox_id: "sesn_fuzz2".parse().unwrap() },
        Request::List,
        Request::Attend { sandbox_ids: Vec::new(), orphan_ttl_ms: 600_000, spares: 1, spec },
    ];
    let said = [
        ToInit::Hello { version: 2, secret: secret.to_owned(), epoch: 1 },
        ToInit::Run {
            call_id: call(),
            tool: "bash".into(),
            input: json!({"command": "true"}),
            timeout_ms: Some(100),
            environment: std::collections::BTreeMap::new(),
            lease_deadline_boot_ms: None,
        },
        ToInit::Run {
            call_id: "sevt_fuzz2".parse().unwrap(),
            tool: "internal:pack".into(),
            input: json!({"parts": ["home"], "max_bytes": 9}),
            timeout_ms: None,
            environment: std::collections::BTreeMap::new(),
            lease_deadline_boot_ms: Some(1),
        },
        ToInit::Doors,
        ToInit::Cancel { call_id: call() },
        ToInit::Fetch { call_id: call() },
        ToInit::Acknowledge { call_id: call() },
    ];
    let requests = requests.iter().map(|message| serde_json::to_value(message).unwrap());
    requests.chain(said.iter().map(|message| serde_json::to_value(message).unwrap())).collect()
}

/// Changes one thing somewhere in a message.
fn bent(chance: &mut Chance, value: &mut Value) {
    let strange = [
        Value::Null,
        json!(-1),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("../../etc"),
        json!("\u{0}"),
        json!([[[[[[]]]]]]),
        json!({"type": "hello"}),
        json!("x".repeat(5_000)),
    ];
    match value {
        Value::Object(fields) if !fields.is_empty() && chance.below(4) > 0 => {
            let at = chance.below(fields.len());
            let key = fields.keys().nth(at).unwrap().clone();
            if chance.below(8) == 0 {
                fields.remove(&key);
            } else if let Some(field) = fields.get_mut(&key) {
                bent(chance, field);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let at = chance.below(items.len());
            bent(chance, &mut items[at]);
        }
        other => *other = strange[chance.below(strange.len())].clone(),
    }
}

/// Bytes that are nearly a conversation.
fn nonsense(chance: &mut Chance, messages: &[Value], greeting: Option<&Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(greeting) = greeting.filter(|_| chance.below(4) > 0) {
        bytes.extend(frame::encode(greeting).unwrap());
    }
    for _ in 0..=chance.below(4) {
        let mut message = messages[chance.below(messages.len())].clone();
        for _ in 0..chance.below(3) {
            bent(chance, &mut message);
        }
        bytes.extend(frame::encode(&message).unwrap_or_default());
    }
    for _ in 0..chance.below(3) {
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => bytes[at] = chance.byte(),
            1 => bytes.truncate(at),
            2 => {
                bytes.remove(at);
            }
            _ => bytes.insert(at, 0xff),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

fn connected(directory: &Path, name: &str) -> UnixStream {
    let opened = std::fs::File::open(directory).unwrap();
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// Says it, and listens for a moment; that the other side hangs up is an answer, too.
fn said(mut stream: UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 4096]);
}

#[test]
fn the_decoder_takes_any_bytes() {
    let (mut chance, messages) = (Chance::new("decoder"), messages("00"));
    let rounds = for_a_while(|| {
        let bytes = nonsense(&mut chance, &messages, None);
        let mut decoder = Decoder::default();
        for piece in bytes.chunks(1 + chance.below(bytes.len() + 1)) {
            decoder.push(piece);
            while let Ok(Some(_)) = decoder.next::<ToInit>(limits::MAX_FRAME) {}
            let _ = decoder.next::<Request>(limits::MAX_FRAME);
            let _ = decoder.next::<FromInit>(limits::MAX_HELLO_FRAME);
            let _ = decoder.next::<Answer>(limits::MAX_HELLO_FRAME);
        }
    });
    eprintln!("decoder: {rounds} conversations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawner_and_its_sandboxes_bear_any_bytes() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let (mut chance, messages, path) = (Chance::new("spawner"), messages("00"), home.path());
    let greeting = json!({"type": "hello", "version": 2});
    let rounds = for_a_while(|| said(connected(&path, "spawner.sock"), &nonsense(&mut chance, &messages, Some(&greeting))));
    eprintln!("spawner: {rounds} conversations");
    assert_eq!(sh(&inside, "echo on").await, "on");
    let (_, another) = home.sandbox().await;
    assert_eq!(sh(&another, "echo on").await, "on");
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_bears_any_bytes() {
    let home = Home::new().await;
    let (id, inside) = home.sandbox().await;
    let directory = home.path().join(id.as_str());
    let secret = std::fs::read_to_string(directory.join("secret")).unwrap();
    let (mut chance, messages) = (Chance::new("init"), messages(&secret));
    let greeting = json!({"type": "hello", "version": 2, "secret": secret, "epoch": 1});
    let rounds = for_a_while(|| said(connected(&directory, "init.sock"), &nonsense(&mut chance, &messages, Some(&greeting))));
    eprintln!("init: {rounds} conversations");
    // An epoch that a bent hello may have raised is not lowered again.
    let next = home.server(u64::MAX).await.attach(&id, inside.incarnation()).await.unwrap();
    assert_eq!(sh(&next, "echo on").await, "on");
    home.end().await;
}
