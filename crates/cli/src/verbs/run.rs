use std::cell::Cell;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use engine::{ContainerId, ContainerSpec, Created, Engine};
use fault::{Fault, Kind};
use monitor::{Event, Exit, Failure, Request, Session, StepReport};

use super::create::{CidFile, FAILED};
use crate::flags::{self, Attached, ContainerFlags, RunFlags};
use crate::registries;
use crate::session::{End, Ended, Foreground, foreground};
use crate::terminal::DetachKeys;
use crate::{Failed, Outcome, explain};

#[derive(Debug, clap::Args)]
#[command(args_override_self = true, override_usage = "sampan run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Args {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    container: ContainerFlags,
}

/// Flags that do not go together, or with where the command runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Misfit(pub(super) &'static str);

impl Fault for Misfit {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let detach = self.run.detach.unwrap_or(false);
        let run = Run {
            engine,
            attached: self.container.attached().map_err(usage)?,
            detach_keys: flags::detach_keys(self.run.detach_keys.as_deref()).map_err(usage)?,
            sig_proxy: self.run.sig_proxy.unwrap_or(true),
            explain: self.run.explain.unwrap_or(false),
        };
        if detach && self.container.chooses_streams() {
            return Err(usage(Misfit("Conflicting options: -a and -d")));
        }
        let cidfile =
            CidFile::reserve(self.container.cidfile()).map_err(|failed| failed.with_code(FAILED))?;
        let pull = self.container.pull().map_err(usage)?;
        let mut spec = self.container.into_spec(&|name| std::env::var(name).ok()).map_err(usage)?;
        if detach {
            spec.stdin_once = false;
        } else if spec.tty && run.attached.stdin && !std::io::stdin().is_terminal() {
            return Err(Failed::from(Misfit("the input device is not a TTY")));
        }
        registries::ensure(engine.images()?, &spec.image, pull).map_err(|failed| failed.with_code(FAILED))?;
        let auto_remove = spec.auto_remove;
        let tty = spec.tty;
        let (created, mut session) = run.create(spec)?;
        cidfile.write(&created.id)?;
        let outcome = match detach {
            true => run.start_detached(&created.id, &mut session),
            false => run.stay(&created.id, &mut session, tty, auto_remove),
        };
        if auto_remove && !matches!(outcome, Ok(Stayed::Lives(_))) {
            // Also after a start that failed.
            engine.clean_up_behind(&created.id)?;
        }
        match outcome? {
            Stayed::Lives(code) | Stayed::Ended(code) => Ok(code),
        }
    }
}

fn usage(fault: impl Fault) -> Failed {
    Failed::from(fault).with_code(FAILED)
}

/// What is left when the command ends, and its exit code.
enum Stayed {
    /// The container goes on.
    Lives(u8),
    /// It has ended.
    Ended(u8),
}

struct Run<'a> {
    engine: &'a Engine,
    attached: Attached,
    detach_keys: DetachKeys,
    sig_proxy: bool,
    explain: bool,
}

impl Run<'_> {
    fn create(&self, spec: ContainerSpec) -> Result<(Created, Session), Failed> {
        let mut sink = |step: StepReport| explain::print(&step);
        let sink: Option<&mut dyn FnMut(StepReport)> = if self.explain { Some(&mut sink) } else { None };
        self.engine.create_with_session(spec, sink).map_err(|error| Failed::from(error).with_code(FAILED))
    }

    fn start_detached(&self, id: &ContainerId, session: &mut Session) -> Result<Stayed, Failed> {
        session.send(&Request::Start { explain: self.explain }, &[])?;
        loop {
            match session.next_event(None)?.0 {
                Event::Error { failure, .. } => return Err(start_failed(failure)),
                event @ Event::Started { .. } => {
                    tell(event);
                    println!("{id}");
                    return Ok(Stayed::Lives(0));
                }
                other => tell(other),
            }
        }
    }

    fn stay(
        &self,
        id: &ContainerId,
        session: &mut Session,
        tty: bool,
        auto_remove: bool,
    ) -> Result<Stayed, Failed> {
        let Attached { stdin, stdout, stderr } = self.attached;
        let mut requests = vec![Request::Attach { stdin, stdout, stderr }];
        if auto_remove {
            requests.push(Request::CleanupByMe);
        }
        requests.push(Request::Start { explain: self.explain });
        let attachment = Attachment {
            engine: self.engine,
            id,
            tty,
            stdin,
            detach_keys: self.detach_keys.clone(),
            sig_proxy: self.sig_proxy,
        };
        attachment.attend(session, &requests, false)
    }
}

/// Tells what the terminal's user should know of an event.
pub(super) fn tell(event: Event) {
    match event {
        Event::Started { warnings, .. } => {
            warnings.iter().for_each(|text| eprintln!("sampan: warning: {text}"));
        }
        Event::Step(step) => explain::print(&step),
        _ => {}
    }
}

/// A start that failed, with docker's exit code for it.
pub(super) fn start_failed(failure: Failure) -> Failed {
    let code = u8::try_from(failure.exit).unwrap_or(FAILED);
    Failed::from(monitor::Error::from(failure)).with_code(code)
}

/// How a command in the foreground is attached.
pub(super) struct Attachment<'a> {
    pub(super) engine: &'a Engine,
    pub(super) id: &'a ContainerId,
    pub(super) tty: bool,
    pub(super) stdin: bool,
    pub(super) detach_keys: DetachKeys,
    pub(super) sig_proxy: bool,
}

impl Attachment<'_> {
    /// Attaches to a container that runs already.
    pub(super) fn join(&self, session: &mut Session, stdin: bool) -> Outcome {
        let requests = [Request::Attach { stdin, stdout: true, stderr: true }];
        match self.attend(session, &requests, self.tty)? {
            Stayed::Lives(code) | Stayed::Ended(code) => Ok(code),
        }
    }

    /// Starts a container and stays attached to it.
    pub(super) fn start(&self, session: &mut Session) -> Outcome {
        let attach = Request::Attach { stdin: self.stdin, stdout: true, stderr: true };
        match self.attend(session, &[attach, Request::Start { explain: false }], false)? {
            Stayed::Lives(code) | Stayed::Ended(code) => Ok(code),
        }
    }

    /// Stays with the container. One whose monitor is killed is looked for again once: its output goes on from there.
    fn attend(&self, session: &mut Session, requests: &[Request], redraw: bool) -> Result<Stayed, Failed> {
        let started = Cell::new(false);
        let ended = self.foreground(session, requests, redraw, &started)?;
        let End::Gone = ended.end else { return self.ended(ended) };
        if !started.get() && !requests.iter().any(|request| matches!(request, Request::Attach { .. })) {
            return Err(monitor::Error::Gone.into());
        }
        let again = if self.tty { None } else { self.engine.live_session(self.id)? };
        if let Some(mut again) = again {
            let requests = [Request::Attach { stdin: self.stdin, stdout: true, stderr: true }];
            let ended = self.foreground(&mut again, &requests, false, &started)?;
            return self.ended(ended);
        }
        let state = self.engine.state(self.id)?;
        match state.exit {
            Some(exit) if !state.status.is_live() => {
                if let Some(why) = &exit.error {
                    eprintln!("sampan: warning: {why}");
                }
                Ok(Stayed::Ended(code_of(&exit)))
            }
            _ => Err(monitor::Error::Gone.into()),
        }
    }

    fn foreground(
        &self,
        session: &mut Session,
        requests: &[Request],
        redraw: bool,
        started: &Cell<bool>,
    ) -> Result<Ended<Exit>, Failed> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let with = Foreground {
            requests,
            tty: self.tty,
            stdin: self.stdin.then(|| stdin.as_fd()),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            detach_keys: self.detach_keys.clone(),
            sig_proxy: self.sig_proxy,
            redraw,
        };
        let mut connect = || self.engine.connect(self.id);
        let mut note = |event: Event| {
            started.set(started.get() || matches!(event, Event::Started { .. }));
            tell(event);
        };
        Ok(foreground(session, with, &mut connect, &mut note)?)
    }

    fn ended(&self, ended: Ended<Exit>) -> Result<Stayed, Failed> {
        if let Some(errno) = ended.write_error {
            eprintln!("sampan: warning: output was lost: {}", std::io::Error::from(errno));
        }
        match ended.end {
            End::Exited(exit) => Ok(Stayed::Ended(code_of(&exit))),
            End::Detached => Ok(Stayed::Lives(0)),
            End::Signalled(signal) => Ok(Stayed::Lives(u8::try_from(128 + signal).unwrap_or(u8::MAX))),
            End::Failed(_, failure) => Err(start_failed(failure)),
            End::Gone => Err(monitor::Error::Gone.into()),
        }
    }
}

fn code_of(exit: &Exit) -> u8 {
    u8::try_from(exit.exit_code).unwrap_or(u8::MAX)
}
