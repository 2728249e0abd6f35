use engine::{ContainerId, Engine};
use monitor::{Event, Incoming, Request};

use super::create::{CidFile, FAILED};
use crate::flags::{ContainerFlags, RunFlags};
use crate::{Failed, Outcome};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    container: ContainerFlags,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let cidfile = self.container.cidfile().map(|p| p.to_owned());
        let cidfile = CidFile::reserve(cidfile.as_deref())?;
        let spec = self.container.into_spec(&|name| std::env::var(name).ok())?;
        let rm = spec.auto_remove;
        let created = engine.create(spec, None).map_err(|e| Failed::from(e).with_code(FAILED))?;
        cidfile.write(&created.id)?;
        let mut session = engine.first_session(&created.id)?;
        if self.run.detach == Some(true) {
            session.send(&Request::Start { explain: false }, &[])?;
            loop {
            match session.next_event(None)?.0 { Event::Started{..} => break, Event::Error{failure,..} => { return Err(Failed::from(monitor::Error::from(failure))) } _ => {} }
            }
            println!("{}", created.id);
            return Ok(0);
        }
        session.send(&Request::Attach { stdin: false, stdout: true, stderr: true }, &[])?;
        if rm { session.send(&Request::CleanupByMe, &[])?; }
        session.send(&Request::Start { explain: false }, &[])?;
        use std::io::Write;
        let code = loop {
            match session.next(None)? {
                Incoming::Stdout(b) => std::io::stdout().write_all(b)?,
                Incoming::Stderr(b) => std::io::stderr().write_all(b)?,
                Incoming::Event(Event::Exited { exit, restarting: false }, _) => break exit.exit_code,
                Incoming::Event(Event::Error { failure, .. }, _) => {
                    let c = failure.exit; crate::tell(&monitor::Error::from(failure)); break c;
                }
                Incoming::Closed => break 125,
                _ => {}
            }
        };
        if rm { clean(engine, &created.id)?; }
        Ok(code as u8)
    }
}
fn clean(engine: &Engine, id: &ContainerId) -> Result<(), Failed> { engine.clean_up(id)?; Ok(()) }
