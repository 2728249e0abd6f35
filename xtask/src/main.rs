//! Benches, suites, the guest and other long work: `cargo xtask`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a development tool speaks to its terminal")]

mod bench;
mod kill;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask vm COMMAND [ARG...]   run a command in a guest with Debian's kernel and pure cgroup v2
cargo xtask vm test [CRATE...] [-- NAME...]
                                  run the crates' tests there (default: every crate that has kernel tests)
cargo xtask bench run [N [RUNTIME...]]
                                  N rounds (default 30) of run, create+start+delete, exec and an engine's run --rm,
                                  beside the peers installed and more runtimes by path
cargo xtask kill run|rm [N]       kill `sampan run -d` or `sampan rm -f` at every (Nth) system call, and see what is left
";

/// What a task ends with: a message for people when it failed.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["vm", "test", words @ ..] => vm::test(words),
        ["vm", command @ ..] if !command.is_empty() => vm::run(command),
        ["bench", "run", rest @ ..] => bench::run(rest),
        ["kill", sweep, rest @ ..] => kill::run(sweep, rest),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's directory.
fn workspace() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
