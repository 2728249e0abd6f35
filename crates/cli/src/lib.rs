//! Commands, flags and tables of the sampan command line. One file per verb; a verb returns its error, and the only
//! place that renders one is [`run`].
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this crate is the terminal's side")]

mod docker;
mod explain;
mod flags;
mod format;
mod human;
mod narrow;
mod registries;
mod session;
mod table;
mod template;
mod terminal;
mod transfer;
mod verbs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use engine::{Engine, Options};
use fault::{Fault, Report};

/// One container stack, from the kernel's namespaces upwards.
#[derive(Debug, Parser)]
#[command(name = "sampan", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// Where things are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Where images, containers and volumes are kept
    #[arg(
        long,
        value_name = "DIR",
        env = "SAMPAN_DATA_ROOT",
        default_value = "/var/lib/sampan",
        global = true
    )]
    data_root: PathBuf,
    /// Where the state of running containers is kept
    #[arg(long, value_name = "DIR", env = "SAMPAN_RUN_ROOT", default_value = "/run/sampan", global = true)]
    run_root: PathBuf,
    /// The cgroup below which containers get theirs
    #[arg(long, value_name = "PATH", env = "SAMPAN_CGROUP_ROOT", default_value = "/sampan", global = true)]
    cgroup_root: String,
}

impl Global {
    /// Opens the engine.
    pub(crate) fn engine(&self) -> Result<Engine, Failed> {
        let options = Options {
            data: self.data_root.clone(),
            run: self.run_root.clone(),
            cgroup_parent: self.cgroup_root.clone(),
            runtime: None,
        };
        Ok(Engine::open(options)?)
    }
}

/// A verb that failed.
pub(crate) struct Failed {
    pub(crate) fault: Box<dyn Fault>,
    code: u8,
}

impl<F: Fault> From<F> for Failed {
    fn from(fault: F) -> Self {
        Self { fault: Box::new(fault), code: 1 }
    }
}

impl Failed {
    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }
}

/// How a verb ends: the exit code.
pub(crate) type Outcome = Result<u8, Failed>;

/// Runs the command line `args` (the program's name first) and returns its exit code: 0, 1 for a failure, 125 for a
/// command line that is wrong, as docker has it; for containers' verbs the container's.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match narrow::parse(&args).map_or_else(|| Cli::try_parse_from(&args), Ok) {
        Ok(cli) => cli,
        Err(error) => {
            // Printing fails when the terminal is gone, and then nobody is there to be told.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(125) } else { ExitCode::SUCCESS };
        }
    };
    match cli.verb.run(&cli.global) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            tell(&*failed.fault);
            ExitCode::from(failed.code)
        }
    }
}

/// Renders an error on standard error.
pub(crate) fn tell(fault: &dyn Fault) {
    eprintln!("sampan: {}", Report(fault));
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
