//! The test suites, in the order in which they run: quick and telling ones first.

use std::time::Instant;

use anyhow::bail;

use crate::run::{output, program, root, run, say};
use crate::{bench, setup, tidy};

/// One suite.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    run: fn() -> anyhow::Result<()>,
}

/// All of them.
pub(crate) const SUITES: [Suite; 16] = [
    Suite { name: "tidy", about: "layers, file sizes, documents", run: tidy::check },
    Suite { name: "fmt", about: "formatting", run: fmt },
    Suite { name: "deny", about: "licences, sources, banned crates", run: deny },
    Suite { name: "clippy", about: "lints, warnings are errors", run: clippy },
    Suite { name: "unit", about: "every crate's own tests, goldens, 10,000 simulated histories", run: unit },
    Suite { name: "attacks", about: "attacks on sandboxes as they are, and on sandboxes that lack the layer against them", run: attacks },
    Suite {
        name: "fuzz",
        about: "nonsense on the protocols of spawner and init and on the ways out of a sandbox, a minute each",
        run: fuzz,
    },
    Suite { name: "engine", about: "sandboxes as containers of a Docker engine that is started for it", run: engine },
    Suite { name: "stories", about: "black-box stories against the real binary", run: stories },
    Suite { name: "crash", about: "the real binary killed at every fail point and at random", run: crash },
    Suite { name: "ratios", about: "costs of a turn against the floor of this machine, and how they grow", run: bench::ratios },
    Suite { name: "sdk", about: "the official Python SDK against the real binary, on both dialects of models", run: sdk },
    Suite { name: "egress", about: "what sandboxes reach and which secrets they use, with the programs that people use", run: egress },
    Suite { name: "examples", about: "every example as a user runs it: Python, TypeScript, curl", run: examples },
    Suite { name: "openapi", about: "the description linted, and generated requests against the real binary", run: openapi },
    Suite { name: "servers", about: "sessions against llama.cpp and LiteLLM", run: servers },
];

/// Runs the named suites, or all; prints a line for each at the end.
pub(crate) fn selected(names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| !SUITES.iter().any(|suite| suite.name == **name)) {
        bail!("there is no suite {unknown:?}; there are {}", SUITES.map(|suite| suite.name).join(", "));
    }
    let mut lines = Vec::new();
    let mut failed = 0;
    for suite in SUITES.iter().filter(|suite| names.is_empty() || names.contains(&suite.name)) {
        say(&format!("\n== {}: {}", suite.name, suite.about));
        let started = Instant::now();
        let outcome = (suite.run)();
        let seconds = started.elapsed().as_secs();
        match outcome {
            Ok(()) => lines.push(format!("{:<10} passed  {seconds:>4} s", suite.name)),
            Err(error) => {
                failed += 1;
                say(&format!("{}: {error:#}", suite.name));
                lines.push(format!("{:<10} FAILED  {seconds:>4} s", suite.name));
            }
        }
    }
    say("\nsuites:");
    for line in &lines {
        say(&format!("  {line}"));
    }
    say(&format!("{} passed, {failed} failed", lines.len() - failed));
    if failed > 0 {
        bail!("{failed} of {} suites failed", lines.len());
    }
    Ok(())
}

fn fmt() -> anyhow::Result<()> {
    run(program("cargo", &["fmt", "--all", "--check"]))
}

fn deny() -> anyhow::Result<()> {
    if output(program("cargo", &["deny", "--version"])).is_none() {
        bail!("cargo-deny is not installed; `cargo xtask setup` installs it");
    }
    run(program("cargo", &["deny", "check", "bans", "licenses", "sources"]))
}

fn clippy() -> anyhow::Result<()> {
    run(program("cargo", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn unit() -> anyhow::Result<()> {
    run(program("cargo", &["test", "--quiet", "--workspace", "--exclude", "ostler"]))?;
    run(program("cargo", &["test", "--quiet", "-p", "ostler", "--bins"]))?;
    say("not run by themselves, because other tests start them as child processes:");
    run(program("cargo", &["test", "--quiet", "-p", "ostler-store", "--lib", "--", "--list", "--ignored"]))
}

fn attacks() -> anyhow::Result<()> {
    run(program("cargo", &["test", "--quiet", "-p", "ostler-sandbox", "--features", "weaken", "--test", "attacks"]))
}

fn fuzz() -> anyhow::Result<()> {
    let packages = ["-p", "ostler-sandbox", "-p", "ostler-egress"];
    let mut command = program("cargo", &["test", "--quiet", "--release"]);
    command.args(packages).args(["--test", "fuzz", "--", "--nocapture"]);
    command.env("OSTLER_FUZZ_SECONDS", "60");
    run(command)
}

fn engine() -> anyhow::Result<()> {
    if !setup::is_root() {
        say("engine: not run: only root can start a container engine");
        return Ok(());
    }
    let tests = ["cargo", "test", "--quiet", "-p", "ostler-sandbox", "--test", "it", "--", "oci"];
    run(program("tests/engine/with-engine", &tests))
}

fn stories() -> anyhow::Result<()> {
    run(program("cargo", &["test", "--quiet", "-p", "ostler", "--test", "it"]))
}

fn crash() -> anyhow::Result<()> {
    run(program("cargo", &["build", "--quiet", "--release", "-p", "ostler"]))?;
    let mut command = program("cargo", &["test", "--quiet", "-p", "ostler", "--test", "crash"]);
    command.env("OSTLER_RELEASE_BINARY", root().join("target/release/ostler"));
    run(command)
}

fn sdk() -> anyhow::Result<()> {
    pytest("venv", "tests/sdk")
}

fn examples() -> anyhow::Result<()> {
    setup::NODE.installed()?;
    pytest("venv", "tests/examples")
}

fn egress() -> anyhow::Result<()> {
    setup::MCP.installed()?;
    pytest("venv", "tests/egress")
}

fn servers() -> anyhow::Result<()> {
    pytest("servers", "tests/servers")
}

/// `OSTLER_OPENAPI_CASES=10000` generates that many requests instead of the usual 2,000.
fn openapi() -> anyhow::Result<()> {
    const DESCRIPTION: &str = "crates/server/openapi.json";
    let linters = setup::LINTERS.installed()?.join("node_modules/.bin");
    let (spectral, redocly) = (linters.join("spectral"), linters.join("redocly"));
    run(program(
        &spectral.to_string_lossy(),
        &["lint", "--quiet", "--fail-severity", "warn", "--ruleset", "tests/openapi/spectral.yaml", DESCRIPTION],
    ))?;
    let mut lint =
        program(&redocly.to_string_lossy(), &["lint", "--config", "tests/openapi/redocly.yaml", "--max-problems", "1000", DESCRIPTION]);
    // It is a check of a file and asks nobody.
    lint.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    run(lint)?;
    let python = setup::python_of("openapi")?;
    run(program("cargo", &["build", "--quiet", "-p", "ostler", "-p", "ostler-testkit"]))?;
    run(program(&python.to_string_lossy(), &["tests/openapi/run.py"]))
}

fn pytest(environment: &str, tests: &str) -> anyhow::Result<()> {
    let python = setup::python_of(environment)?;
    run(program("cargo", &["build", "--quiet", "-p", "ostler", "-p", "ostler-testkit"]))?;
    run(program(&python.to_string_lossy(), &["-m", "pytest", "-q", tests]))
}
