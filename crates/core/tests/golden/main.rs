//! The stored and the public form of every event and every record, one file each. A changed file
//! is a changed format: old journals and clients must still be understood.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ostler-core --test golden` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod examples;
mod records;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_core::events::wire::Event;
use ostler_core::session::context::Context;
use ostler_core::session::project::{Shared, project};
use ostler_core::session::record::{Record, RecordBody};
use ostler_core::session::state::State;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Lists one example for each variant of an enum; a variant that is left out does not compile.
macro_rules! one_of_each {
    ($name:ident, $type:ident { $($variant:ident: $value:expr),* $(,)? }) => {
        pub(crate) fn $name() -> Vec<$type> {
            // Only the compiler reads this: the match must be exhaustive.
            let _every_variant = |body: &$type| match body {
                $($type::$variant { .. } => {})*
            };
            vec![$($value),*]
        }
    };
}
pub(crate) use one_of_each;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares each value with its file, apart from the order of keys, and the file with the value.
fn compare<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, values: &[(&'static str, T)]) {
    let folder = folder(name);
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::create_dir_all(&folder).unwrap();
    }
    let mut names = BTreeSet::new();
    for (kind, value) in values {
        let (file, text) = (folder.join(format!("{kind}.json")), serde_json::to_string_pretty(value).unwrap() + "\n");
        if update {
            std::fs::write(&file, &text).unwrap();
        }
        let golden =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}; write it with UPDATE_GOLDEN=1", file.display()));
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parse(&text), parse(&golden), "{kind} changed; if that is meant and old data still reads: UPDATE_GOLDEN=1");
        assert_eq!(&serde_json::from_str::<T>(&golden).unwrap(), value, "{kind} does not read back");
        assert!(names.insert(format!("{kind}.json")), "{kind} is there twice");
    }
    let found: BTreeSet<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, names, "files without a variant, or variants without a file");
}

#[test]
fn events_look_as_they_always_did() {
    let values: Vec<(&str, Event)> = events::bodies()
        .into_iter()
        .map(|body| (body.kind(), Event { id: examples::event(0), processed_at: Some(examples::at()), body }))
        .collect();
    for (kind, event) in &values {
        assert_eq!(serde_json::to_value(event).unwrap()["type"], *kind);
    }
    compare("events", &values);
}

#[test]
fn an_event_that_waits_has_no_time() {
    let event = Event { id: examples::event(0), processed_at: None, body: events::bodies().remove(0) };
    assert!(serde_json::to_value(&event).unwrap()["processed_at"].is_null());
}

#[test]
fn records_look_as_they_always_did() {
    let values: Vec<(&str, Record)> = records::bodies().into_iter().map(|body| (body.kind(), record(body))).collect();
    for (kind, record) in &values {
        assert_eq!(serde_json::to_value(record).unwrap()["kind"], *kind);
    }
    compare("records", &values);
}

fn record(body: RecordBody) -> Record {
    Record { v: 1, at: examples::at(), body }
}

#[test]
fn a_record_of_a_later_version_changes_nothing() {
    let later = json!({"v": 9, "at": "2026-01-02T03:04:05.678901Z", "kind": "from_the_future", "type": "odd", "call": {"deep": [1, null, {"kind": "idled"}]}, "inputs": 7});
    let later: Record = serde_json::from_value(later).unwrap();
    assert_eq!(later.body, RecordBody::Unknown);
    let journal: Vec<Record> = records::bodies().into_iter().filter(|body| !matches!(body, RecordBody::Unknown)).map(record).collect();
    let mixed: Vec<Record> = journal.iter().flat_map(|record| [record.clone(), later.clone()]).collect();
    assert_eq!(State::fold(&mixed), State::fold(&journal));
    assert!(State::fold(&journal).is_some() && State::fold([&later]).is_none());
    let shared = Shared { thread: examples::thread(), agent_name: "helper".into() };
    assert!(project(&later, &shared).is_empty());
    let messages = |records: &[Record]| {
        let mut context = Context::default();
        records.iter().for_each(|record| context.push(record));
        context.messages()
    };
    assert_eq!(messages(&mixed), messages(&journal));
}

#[test]
fn records_that_do_not_fit_fold_safely_in_any_order() {
    let bodies = records::bodies();
    for first in &bodies {
        for second in &bodies {
            let journal = [bodies[0].clone(), first.clone(), second.clone()].map(record);
            let state = State::fold(&journal).unwrap();
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
    }
}
