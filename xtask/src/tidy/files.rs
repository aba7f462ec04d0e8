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
        if text.contains(concat!("unsafe", " {")) && !path.starts_with("crates/sandbox") {
            findings.push(format!("{name}: unsafe code belongs into ostler-sandbox alone"));
        }
    }
    manifests(findings)
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
