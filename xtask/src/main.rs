//! Tasks of this workspace: `cargo xtask setup | test [SUITE..] | tidy | bench`.

mod bench;
mod run;
mod setup;
mod suites;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask setup            install what the tests need (Debian packages when root)
cargo xtask test             install it and run every suite
cargo xtask test SUITE..     run these suites only
cargo xtask tidy             check the shape of the workspace
cargo xtask bench [ROW..] [--quick] [--json FILE] [--profile debug|release|dist|profiling]
                             measure the real binary; see docs/benchmarks.md
cargo xtask bench ratios     check the ratios that hold on any machine

Suites:";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["setup"] => setup::all(),
        ["test"] => setup::all().and_then(|()| suites::selected(&[])),
        ["test", suites @ ..] => suites::selected(suites),
        ["tidy"] => tidy::check(),
        ["bench", words @ ..] => bench::main(words),
        _ => {
            run::say(HELP);
            for suite in suites::SUITES {
                run::say(&format!("  {:<12} {}", suite.name, suite.about));
            }
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
