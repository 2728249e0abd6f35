use engine::Engine;
use monitor::{Event, Request, WaitFor};

use super::each;
use crate::{Failed, Outcome};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        each(&self.containers, |name| {
            println!("{}", wait(engine, name)?);
            Ok(())
        })
    }
}

/// The exit code of the container's current run, or of its last one.
fn wait(engine: &Engine, name: &str) -> Result<i32, Failed> {
    let id = engine.resolve(name)?;
    let last = |engine: &Engine| -> Result<i32, Failed> {
        Ok(engine.state(&id)?.exit.map_or(0, |exit| exit.exit_code))
    };
    while let Some(mut session) = engine.live_session(&id)? {
        match session.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]) {
            // It ended meanwhile; or what it said last is still to be read.
            Ok(()) | Err(monitor::Error::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match session.next_event(None) {
                Ok((Event::Exited { exit, .. }, _)) => return Ok(exit.exit_code),
                Ok(_) => {}
                // The monitor was killed: its successor knows more, or the end is written down.
                Err(monitor::Error::Gone) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    last(engine)
}
