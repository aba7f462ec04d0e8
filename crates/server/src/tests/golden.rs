//! The description of the API is kept beside the crate and is current. `UPDATE_GOLDEN=1` rewrites it.

use std::path::Path;

use crate::openapi::openapi;

#[test]
fn the_kept_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let now = crate::openapi::pretty();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == now, "openapi.json is not current: run the tests of this crate with UPDATE_GOLDEN=1 and review the difference");
}

#[test]
fn every_operation_is_described_and_has_its_errors() {
    let description = serde_json::to_value(openapi()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}: the operation id is taken");
            let open = !path.starts_with("/v1/") && path != crate::routes::metrics::PATH;
            assert_eq!(operation["responses"].get("401").is_none(), open, "{method} {path}");
        }
    }
    for reference in references(&description) {
        let pointer = reference.trim_start_matches('#');
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn references(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(map) => {
            let own = map.get("$ref").and_then(|target| target.as_str()).map(str::to_owned);
            own.into_iter().chain(map.values().flat_map(references)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
