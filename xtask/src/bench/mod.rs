//! `cargo xtask bench`: builds the binary under test and the program that measures it, and runs that.
//! The program is a crate of its own (`crates/bench`), so that no other task waits for it to compile.

use anyhow::bail;

use crate::run::{program, root, run};

/// The profiles that a binary can be measured in, and the directory below `target/` of each.
const PROFILES: [(&str, &str, &str); 4] =
    [("debug", "dev", "debug"), ("release", "release", "release"), ("dist", "dist", "dist"), ("profiling", "profiling", "profiling")];
/// What is measured unless said otherwise: what is released.
const USUAL: &str = "dist";

/// Measures rows, or with `ratios` as the first word checks the ratios that hold on any machine.
pub(crate) fn main(words: &[&str]) -> anyhow::Result<()> {
    let (profile, rest) = profile(words);
    match rest.as_slice() {
        ["--help" | "-h"] => {
            run(program("cargo", &["build", "--quiet", "--release", "-p", "ostler-bench"]))?;
            run(program(&root().join("target/release/ostler-bench").to_string_lossy(), &["rows", "--help"]))
        }
        ["ratios"] => measure(profile.unwrap_or(USUAL), "ratios", &[]),
        rest => {
            let typed: Vec<&str> = ["cargo xtask bench"].into_iter().chain(words.iter().copied()).collect();
            let shown = format!("--shown-as={}", typed.join(" "));
            let args: Vec<&str> = [shown.as_str()].into_iter().chain(rest.iter().copied()).collect();
            measure(profile.unwrap_or(USUAL), "rows", &args)
        }
    }
}

/// The suite: on the profile that other suites build anyway.
pub(crate) fn ratios() -> anyhow::Result<()> {
    measure("release", "ratios", &[])
}

/// The profile that is asked for, and the other words.
fn profile<'a>(words: &[&'a str]) -> (Option<&'a str>, Vec<&'a str>) {
    let (mut profile, mut rest, mut words) = (None, Vec::new(), words.iter().copied());
    while let Some(word) = words.next() {
        match word.strip_prefix("--profile") {
            Some("") => profile = words.next(),
            Some(named) if named.starts_with('=') => profile = named.strip_prefix('='),
            _ => rest.push(word),
        }
    }
    (profile, rest)
}

fn measure(profile: &str, command: &str, args: &[&str]) -> anyhow::Result<()> {
    let Some((_, cargo_name, dir)) = PROFILES.iter().find(|(name, _, _)| *name == profile) else {
        bail!("there is no profile {profile:?}; there are {}", PROFILES.map(|(name, _, _)| name).join(", "));
    };
    run(program("cargo", &["build", "--quiet", "--profile", cargo_name, "-p", "ostler"]))?;
    run(program("cargo", &["build", "--quiet", "--release", "-p", "ostler-bench"]))?;
    let target = root().join("target");
    let mut bench = program(&target.join("release/ostler-bench").to_string_lossy(), &[command, "--server"]);
    bench.arg(target.join(dir).join("ostler")).args(args);
    run(bench)
}
