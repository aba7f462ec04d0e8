//! The shape of the workspace, as checks: layers, file sizes, documents.

mod files;
mod layers;

use anyhow::bail;

use crate::run::{root, say};

/// Documents that must exist.
const DOCUMENTS: [&str; 7] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/decisions.md", "docs/api.md"];
/// Lines of ARCHITECTURE.md.
const ARCHITECTURE_LINES: usize = 200;

/// Runs every check; all findings are printed.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut findings = Vec::new();
    layers::check(&mut findings)?;
    files::check(&mut findings)?;
    documents(&mut findings);
    for finding in &findings {
        say(finding);
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}

fn documents(findings: &mut Vec<String>) {
    for name in DOCUMENTS {
        if !root().join(name).is_file() {
            findings.push(format!("{name}: is missing"));
        }
    }
    let lines = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap_or_default().lines().count();
    if lines > ARCHITECTURE_LINES {
        findings.push(format!("ARCHITECTURE.md: {lines} lines, {ARCHITECTURE_LINES} are allowed"));
    }
}
