//! Which crate may use which: `cargo metadata` against the table.

use anyhow::Context;
use serde::Deserialize;

use crate::run::{output, program};

/// A crate, its layer's allowed crates of ours. Edges point downwards only.
const TABLE: [(&str, &[&str]); 13] = [
    ("ostler-core", &[]),
    ("ostler-seal", &["ostler-core"]),
    ("ostler-store", &["ostler-core"]),
    ("ostler-models", &["ostler-core"]),
    ("ostler-mcp", &["ostler-core"]),
    ("ostler-sandbox", &["ostler-core"]),
    ("ostler-egress", &["ostler-core", "ostler-seal"]),
    ("ostler-runtime", &["ostler-core", "ostler-seal", "ostler-store", "ostler-models", "ostler-mcp", "ostler-sandbox"]),
    ("ostler-server", &["ostler-core", "ostler-seal", "ostler-store", "ostler-runtime"]),
    (
        "ostler",
        &[
            "ostler-core",
            "ostler-seal",
            "ostler-egress",
            "ostler-store",
            "ostler-models",
            "ostler-sandbox",
            "ostler-runtime",
            "ostler-server",
        ],
    ),
    ("ostler-testkit", &["ostler-core"]),
    ("ostler-bench", &["ostler-core", "ostler-seal", "ostler-sandbox", "ostler-egress"]),
    ("xtask", &[]),
];

/// What the core must never use: it is pure.
const IMPURE: [&str; 8] = ["tokio", "async-trait", "reqwest", "rusqlite", "axum", "nix", "libc", "getrandom"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

pub(super) fn check(findings: &mut Vec<String>) -> anyhow::Result<()> {
    let text =
        output(program("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"])).context("cargo metadata failed")?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading cargo metadata")?;
    for package in &metadata.packages {
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
            findings.push(format!("{}: is not in the table of layers (xtask/src/tidy/layers.rs)", package.name));
            continue;
        };
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
        for dependency in normal {
            let ours = TABLE.iter().any(|(name, _)| *name == dependency.name);
            if ours && !allowed.contains(&dependency.name.as_str()) {
                findings.push(format!("{}: must not use {}", package.name, dependency.name));
            }
            if package.name == "ostler-core" && IMPURE.contains(&dependency.name.as_str()) {
                findings.push(format!("ostler-core: is pure and must not use {}", dependency.name));
            }
        }
    }
    Ok(())
}
