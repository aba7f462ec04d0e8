//! What the tests need beyond Rust: a few Debian packages, a Python environment with the official
//! SDK below `target/`, cargo-deny among cargo's programs.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::run::{output, program, root, run, say};

/// Programs that tests start, and the Debian package of each.
const PROGRAMS: [(&str, &str); 6] =
    [("bash", "bash"), ("script", "bsdutils"), ("python3", "python3"), ("curl", "curl"), ("git", "git"), ("cc", "build-essential")];

/// The Python packages that black-box tests use.
const PYTHON: [&str; 2] = ["anthropic==2.11.0", "pytest==8.4.2"];

/// The version of cargo-deny that the checked-in `deny.toml` is written for.
const DENY: &str = "0.20.2";

/// Installs all of it; quick when it is there.
pub(crate) fn all() -> anyhow::Result<()> {
    packages()?;
    python()?;
    deny()
}

fn has(name: &str) -> bool {
    output(program("sh", &["-c", &format!("command -v {name}")])).is_some()
}

fn packages() -> anyhow::Result<()> {
    let mut missing: Vec<&str> = PROGRAMS.iter().filter(|(name, _)| !has(name)).map(|(_, package)| *package).collect();
    if output(program("python3", &["-c", "import venv, ensurepip"])).is_none() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let root_user = output(program("id", &["-u"])).is_some_and(|id| id.trim() == "0");
    if !root_user || !has("apt-get") {
        bail!(
            "these packages are missing: {}; install them, on Debian with: sudo apt-get install {}",
            missing.join(", "),
            missing.join(" ")
        );
    }
    run(program("apt-get", &["update", "-q"]))?;
    let mut args = vec!["install", "-y", "-q", "--no-install-recommends"];
    args.extend(missing);
    run(program("apt-get", &args))
}

/// The Python of the tests' own environment.
pub(crate) fn venv_python() -> PathBuf {
    root().join("target/venv/bin/python")
}

fn python() -> anyhow::Result<()> {
    let venv = root().join("target/venv");
    let stamp = venv.join("installed");
    let wanted = PYTHON.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    let path = venv.to_str().context("the workspace's path is not UTF-8")?;
    run(program("python3", &["-m", "venv", "--clear", path]))?;
    let python = venv_python();
    let python = python.to_str().context("the workspace's path is not UTF-8")?;
    let mut args = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    args.extend(PYTHON);
    run(program(python, &args))?;
    std::fs::write(&stamp, wanted).context("writing the stamp of the Python environment")
}

fn deny() -> anyhow::Result<()> {
    if output(program("cargo", &["deny", "--version"])).is_some() {
        return Ok(());
    }
    say("installing cargo-deny; this takes some minutes once");
    run(program("cargo", &["install", "--quiet", "--locked", "--version", DENY, "cargo-deny"]))
}
