//! Every source file says what it is and stays readable in one sitting.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run::{output, program, root};

/// Lines of a source file.
const LINES: usize = 600;

/// Words that do not belong into the tree: they speak of unfinished work.
const WORDS: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];

pub(super) fn check(findings: &mut Vec<String>) -> anyhow::Result<()> {
    for path in sources()? {
        let text = std::fs::read_to_string(root().join(&path)).with_context(|| format!("reading {}", path.display()))?;
        let name = path.display();
        if !text.trim_start().starts_with("//!") && !text.starts_with("#![") {
            findings.push(format!("{name}: does not begin with //! saying what it is"));
        }
        let lines = text.lines().count();
        if lines > LINES {
            findings.push(format!("{name}: {lines} lines, {LINES} are allowed; split it by meaning"));
        }
        if path != Path::new("xtask/src/tidy/files.rs") {
            for word in WORDS.iter().filter(|word| text.contains(**word)) {
                findings.push(format!("{name}: contains {word:?}"));
            }
        }
        if opens_secrets(&text) && !may_open_secrets(&path) {
            findings.push(format!("{name}: only egress opens secrets; let it do so where this needs one"));
        }
        if text.contains(concat!("unsafe", " {")) && !path.starts_with("crates/sandbox") {
            findings.push(format!("{name}: unsafe code belongs into ostler-sandbox alone"));
        }
    }
    manifests(findings)
}

/// Whether a file uses the part of `ostler-seal` that opens secrets.
fn opens_secrets(text: &str) -> bool {
    let names = |line: &str| line.contains("ostler_seal::open") || (line.contains("ostler_seal::{") && line.contains("open"));
    text.lines().any(names)
}

/// Egress, what reads the keys for it, tests, and this file, which names it.
fn may_open_secrets(path: &Path) -> bool {
    const PLACES: [&str; 6] = [
        "crates/egress",
        "crates/bench",
        "crates/seal",
        "crates/ostler/src/egress",
        "crates/ostler/src/vault_key.rs",
        "xtask/src/tidy/files.rs",
    ];
    let is_test = |part: &std::ffi::OsStr| part == "tests" || part.to_str().is_some_and(|part| part.starts_with("test_"));
    PLACES.iter().any(|place| path.starts_with(place)) || path.iter().any(is_test)
}

fn tracked(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let list =
        output(program("git", &["ls-files", "--cached", "--others", "--exclude-standard", pattern])).context("git ls-files failed")?;
    Ok(list.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn sources() -> anyhow::Result<Vec<PathBuf>> {
    tracked("*.rs")
}

/// Every crate takes lints, edition and versions from the workspace.
fn manifests(findings: &mut Vec<String>) -> anyhow::Result<()> {
    for path in tracked("*/Cargo.toml")? {
        let text = std::fs::read_to_string(root().join(&path))?;
        let manifest: toml::Table = toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        let inherits = |table: &str, key: &str| {
            manifest
                .get(table)
                .and_then(|table| table.get(key))
                .is_some_and(|value| value.as_bool() == Some(true) || value.get("workspace").is_some())
        };
        if !inherits("lints", "workspace") {
            findings.push(format!("{}: lacks [lints] workspace = true", path.display()));
        }
        if !inherits("package", "edition") || !inherits("package", "license") {
            findings.push(format!("{}: takes edition or license not from the workspace", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_egress_opens_secrets() {
        for line in ["use ostler_seal::open::KeyRing;", "use ostler_seal::{Binding, open::KeyRing};"] {
            assert!(opens_secrets(line), "{line}");
        }
        assert!(!opens_secrets("use ostler_seal::{Binding, Sealed};"));
        let table = [
            ("crates/egress/src/grants.rs", true),
            ("crates/ostler/src/vault_key.rs", true),
            ("crates/runtime/tests/it/node.rs", true),
            ("crates/models/src/test_egress.rs", true),
            ("crates/runtime/src/network.rs", false),
            ("crates/ostler/src/node.rs", false),
        ];
        for (path, may) in table {
            assert_eq!(may_open_secrets(Path::new(path)), may, "{path}");
        }
    }
}
