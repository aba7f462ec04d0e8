//! The spawner as a program of its own, for tests of this crate. The product has it inside its one
//! binary.

fn main() {
    std::process::exit(ostler_sandbox::spawner_main(std::env::args_os().skip(1)));
}
