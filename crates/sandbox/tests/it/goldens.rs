//! Every message of both protocols as it is on the wire. A change here is a change of version.

use insta::assert_json_snapshot;
use ostler_core::call::{CallEnd, CallOutcome};
use ostler_sandbox::protocol::init::{CallState, FromInit, KnownCall, ToInit};
use ostler_sandbox::protocol::spawner::{Answer, Listed, Request};
use ostler_sandbox::{IdMapping, SandboxSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads back as the same message, also with a field that this release does not know.
fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(messages: Vec<T>) -> Value {
    let written: Vec<Value> = messages.iter().map(|message| serde_json::to_value(message).unwrap()).collect();
    for (message, value) in messages.iter().zip(&written) {
        let mut later = value.clone();
        later["a_field_of_a_later_release"] = json!([1]);
        assert_eq!(serde_json::from_value::<T>(later).unwrap(), *message);
    }
    Value::Array(written)
}

#[test]
fn server_to_spawner() {
    let (sandbox_id, incarnation) = ("sesn_1".parse().unwrap(), "inc_1".parse().unwrap());
    let spec = SandboxSpec::default();
    assert_json_snapshot!(survives(vec![
        Request::Hello { version: 2 },
        Request::Create { sandbox_id, incarnation, spec },
        Request::Kill { sandbox_id: "sesn_1".parse().unwrap() },
        Request::Prepare { sandbox_id: "sesn_1".parse().unwrap() },
        Request::List,
        Request::Attend { sandbox_ids: vec!["sesn_1".parse().unwrap()], orphan_ttl_ms: 60_000, spares: 2, spec: SandboxSpec::default() },
        Request::Shutdown,
    ]));
}

#[test]
fn spawner_to_server() {
    let sandbox_id: ostler_core::ids::SessionId = "sesn_1".parse().unwrap();
    let incarnation: ostler_core::ids::IncarnationId = "inc_1".parse().unwrap();
    assert_json_snapshot!(survives(vec![
        Answer::Welcome { version: 2 },
        Answer::Created {
            sandbox_id: sandbox_id.clone(),
            incarnation: incarnation.clone(),
            ids: IdMapping::OwnRange,
            layers: vec!["namespaces".into()]
        },
        Answer::Created { sandbox_id: sandbox_id.clone(), incarnation: incarnation.clone(), ids: IdMapping::ServerUser, layers: vec![] },
        Answer::Prepared { sandbox_id: sandbox_id.clone(), first_id: 2_000_000_000 },
        Answer::Killed { sandbox_id: sandbox_id.clone(), was_alive: true },
        Answer::Sandboxes {
            sandboxes: vec![Listed {
                sandbox_id,
                incarnation,
                age_ms: 1_000,
                memory_bytes: Some(1 << 20),
                processes: Some(2),
                cpu_ms: None
            }],
            spares: 1
        },
        Answer::Attended,
        Answer::Refused { layer: "seccomp".into(), reason: "because".into(), remedy: "do this".into() },
        Answer::Bye,
    ]));
}

#[test]
fn server_to_init() {
    let call = || "sevt_1".parse().unwrap();
    assert_json_snapshot!(survives(vec![
        ToInit::Hello { version: 2, secret: "00ff".into(), epoch: 7 },
        ToInit::Run {
            call_id: call(),
            tool: "bash".into(),
            input: json!({"command": "true"}),
            timeout_ms: Some(1_000),
            environment: std::collections::BTreeMap::from([("TOKEN".into(), "ostler_1".into())]),
            lease_deadline_boot_ms: Some(5)
        },
        ToInit::Run {
            call_id: call(),
            tool: "read".into(),
            input: json!({"file_path": "a"}),
            timeout_ms: None,
            environment: std::collections::BTreeMap::new(),
            lease_deadline_boot_ms: None
        },
        ToInit::Cancel { call_id: call() },
        ToInit::Fetch { call_id: call() },
        ToInit::Acknowledge { call_id: call() },
        ToInit::Doors,
        ToInit::Stop,
    ]));
}

#[test]
fn init_to_server() {
    let call = || "sevt_1".parse().unwrap();
    let known = |state| KnownCall { call_id: call(), state };
    assert_json_snapshot!(survives(vec![
        FromInit::Welcome {
            version: 2,
            incarnation: "inc_1".parse().unwrap(),
            calls: vec![known(CallState::Running), known(CallState::Finished)]
        },
        FromInit::Received { call_id: call() },
        FromInit::Finished { call_id: call(), outcome: CallOutcome::text("hi", false, CallEnd::Finished) },
        FromInit::Doors { count: 5 },
        FromInit::Refused { call_id: Some(call()), reason: "because".into() },
        FromInit::Refused { call_id: None, reason: "because".into() },
    ]));
}
