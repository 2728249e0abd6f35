use std::io::IsTerminal;

use engine::{Engine, Status};

use super::run::{Attachment, Misfit};
use crate::{Outcome, flags};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,
    /// Keys that detach, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Do not give it our standard input
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the container
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = flags::boolean,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true"
    )]
    sig_proxy: bool,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let id = engine.resolve(&self.container)?;
        let container = engine.inspect(&id)?;
        match container.state.status {
            Status::Running => {}
            Status::Paused => {
                return Err(Misfit("You cannot attach to a paused container, unpause it first").into());
            }
            Status::Restarting => {
                return Err(
                    Misfit("You cannot attach to a restarting container, wait until it is running").into()
                );
            }
            _ => return Err(Misfit("You cannot attach to a stopped container, start it first").into()),
        }
        let tty = container.spec.tty;
        let stdin = container.spec.open_stdin && !self.no_stdin;
        if tty && stdin && !std::io::stdin().is_terminal() {
            return Err(Misfit("the input device is not a TTY").into());
        }
        let attachment = Attachment {
            engine,
            id: &id,
            tty,
            stdin,
            detach_keys: flags::detach_keys(self.detach_keys.as_deref())?,
            sig_proxy: self.sig_proxy,
        };
        match engine.live_session(&id)? {
            Some(mut session) => attachment.join(&mut session, stdin),
            None => Err(Misfit("You cannot attach to a stopped container, start it first").into()),
        }
    }
}
