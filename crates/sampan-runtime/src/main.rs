//! The runc command line and the monitor. Argument routing only: the verbs are in the crate `runtime`.
#![forbid(unsafe_code)]

mod args;
mod log;
mod route;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == "monitor") {
        // Not a verb of the runc command line: what the engine starts for each container.
        return monitor::server::main(args);
    }
    let mut global = args::Global::default();
    let ended = route::route(&mut global, lexopt::Parser::from_env());
    match ended {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            log::error(&global, &error);
            ExitCode::from(1)
        }
    }
}
