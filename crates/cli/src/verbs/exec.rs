use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use engine::{Engine, ExecSpec};
use monitor::{Event, Op};

use super::run::{Misfit, start_failed};
use crate::session::{End, ExecStreams, exec_session};
use crate::{Failed, Outcome, flags, terminal};

#[derive(Debug, clap::Args)]
#[command(override_usage = "sampan exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach, such as ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set an environment variable; without a value, to the one it has here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Keep its standard input open
    #[arg(short, long)]
    interactive: bool,
    /// With every capability
    #[arg(long)]
    privileged: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group, of the program
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The container, by name or id
    container: String,
    /// The command
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let id = engine.resolve(&self.container)?;
        let detach_keys = flags::detach_keys(self.detach_keys.as_deref())?;
        if self.tty && self.interactive && !self.detach && !std::io::stdin().is_terminal() {
            return Err(Misfit("the input device is not a TTY").into());
        }
        let env = flags::environment(&self.env_file, &self.env, &|name| std::env::var(name).ok())?;
        let stdout = std::io::stdout();
        let size = terminal::size(stdout.as_fd()).unwrap_or_default();
        let spec = ExecSpec {
            args: self.command,
            env,
            user: self.user,
            working_dir: self.workdir,
            privileged: self.privileged,
            tty: self.tty.then_some(size),
        };
        let (stdin, stderr) = (std::io::stdin(), std::io::stderr());
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let mut session = if self.detach {
            engine.exec(&id, &spec, &[null.as_fd(), null.as_fd(), null.as_fd()])?
        } else {
            let input = if self.interactive { stdin.as_fd() } else { null.as_fd() };
            engine.exec(&id, &spec, &[input, stdout.as_fd(), stderr.as_fd()])?
        };
        if self.detach {
            return match session.next_event(None)?.0 {
                Event::Error { failure, .. } => Err(start_failed(failure)),
                _ => Ok(0),
            };
        }
        let streams = ExecStreams {
            tty: self.tty,
            stdin: (self.tty && self.interactive).then(|| stdin.as_fd()),
            stdout: stdout.as_fd(),
            detach_keys,
            sig_proxy: true,
        };
        let ended = exec_session(&mut session, streams)?;
        match ended.end {
            End::Exited(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            End::Detached => Ok(0),
            End::Signalled(signal) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
            End::Failed(Op::Exec, failure) => Err(start_failed(failure)),
            End::Failed(_, failure) => Err(Failed::from(monitor::Error::from(failure))),
            End::Gone => Err(monitor::Error::Gone.into()),
        }
    }
}
