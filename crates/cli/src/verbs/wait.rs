use engine::Engine;
use monitor::{Event, Request, WaitFor};

use super::each;
use crate::{Failed, Outcome};

#[derive(clap::Args)]
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
    // A monitor that goes without a word has just written the end down, or was killed: then its successor is asked.
    while engine.state(&id)?.status.is_live() {
        let Some(mut session) = engine.living(&id)? else { continue };
        let mut asked = session.send(&Request::Wait { condition: WaitFor::NotRunning }, &[]);
        while asked.is_ok() {
            match session.next_event(None) {
                Ok((Event::Exited { exit, .. }, _)) => return Ok(exit.exit_code),
                Ok(_) => {}
                Err(error) => asked = Err(error),
            }
        }
        match asked {
            Ok(()) | Err(monitor::Error::Gone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(engine.state(&id)?.exit.map_or(0, |exit| exit.exit_code))
}
