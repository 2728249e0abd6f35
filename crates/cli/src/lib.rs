//! Commands, flags and tables of the sampan command line. One file per verb; a verb returns its error, and the only
//! place that renders one is [`run`].
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this crate is the terminal's side")]

mod flags;
mod human;
mod session;
mod table;
mod terminal;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use fault::{Fault, Report};

/// One container stack, from the kernel's namespaces upwards.
#[derive(Parser)]
#[command(name = "sampan", version, max_term_width = 100)]
struct Cli {
    /// Where images and containers are kept
    #[arg(
        long,
        value_name = "DIR",
        env = "SAMPAN_DATA_ROOT",
        default_value = "/var/lib/sampan",
        global = true
    )]
    data_root: PathBuf,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// How a verb ends.
type Outcome = Result<(), Box<dyn Fault>>;

/// Runs the command line `args` (the program's name first) and returns its exit code: 0, 1 for a failure, 125 for a
/// command line that is wrong, as docker has it.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails when the terminal is gone, and then nobody is there to be told.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(125) } else { ExitCode::SUCCESS };
        }
    };
    match cli.verb.run(&cli.data_root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("sampan: {}", Report(&*fault));
            ExitCode::FAILURE
        }
    }
}

/// The whole grammar, for completions and manual pages.
fn grammar() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_grammar_is_sound() {
        super::grammar().debug_assert();
    }
}
