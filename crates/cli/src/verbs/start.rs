use std::io::IsTerminal;

use engine::{Engine, Status};

use super::each;
use super::run::{Attachment, Misfit};
use crate::{Outcome, flags};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, by name or id
    #[arg(required = true)]
    containers: Vec<String>,
    /// Show its output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Give it our standard input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that detach, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        if !self.attach && !self.interactive {
            return each(&self.containers, |name| {
                let warnings = engine.start(&engine.resolve(name)?)?;
                warnings.iter().for_each(|text| eprintln!("sampan: warning: {text}"));
                println!("{name}");
                Ok(())
            });
        }
        let [name] = self.containers.as_slice() else {
            return Err(Misfit("you cannot start and attach multiple containers at once").into());
        };
        let id = engine.resolve(name)?;
        let container = engine.inspect(&id)?;
        let tty = container.spec.tty;
        let stdin = self.interactive && container.spec.open_stdin;
        if tty && stdin && !std::io::stdin().is_terminal() {
            return Err(Misfit("the input device is not a TTY").into());
        }
        let detach_keys = flags::detach_keys(self.detach_keys.as_deref())?;
        let attachment = Attachment { engine, id: &id, tty, stdin, detach_keys, sig_proxy: true };
        let mut session = engine.session(&id)?;
        match container.state.status {
            Status::Running => attachment.join(&mut session, stdin),
            Status::Paused => Err(Misfit("cannot start a paused container, try unpause instead").into()),
            _ => attachment.start(&mut session),
        }
    }
}
