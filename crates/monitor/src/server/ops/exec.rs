use std::os::fd::OwnedFd;

use fault::Kind;
use linux::PidFd;
use rustix::process::Pid;

use super::super::creator::{Outcome as Creation, Purpose};
use super::super::jobs::{Document, ExecJob, exec};
use super::super::session::SessionId;
use super::super::{Exec, Monitor};
use super::{Answer, Outcome, conflict, failed, not_running};
use crate::exit::Phase;
use crate::protocol::{Event, Failure, Op};

/// What the client asked for.
pub(super) struct Wanted {
    pub(super) process: Option<String>,
    pub(super) user: Option<String>,
    pub(super) tty: bool,
    pub(super) rows: u16,
    pub(super) cols: u16,
}

impl Monitor {
    pub(super) fn op_exec(&mut self, id: SessionId, wanted: Wanted, mut fds: Vec<OwnedFd>) -> Outcome {
        match self.phase {
            Phase::Running => {}
            Phase::Paused => return Err(conflict("the container is paused")),
            _ => return Err(not_running()),
        }
        let busy = self.execs.iter().any(|exec| exec.session == id)
            || self.creators.iter().any(|creator| creator.purpose == Purpose::Exec(id));
        if busy {
            return Err(conflict("this session has an exec already"));
        }
        let document = match wanted.process {
            Some(text) => Document::Text(text),
            None => Document::Memfd(fds.pop().ok_or_else(|| invalid("exec needs a process document"))?),
        };
        let expected = if wanted.tty { 0 } else { 3 };
        if fds.len() != expected {
            return Err(invalid(&format!(
                "exec came with {} stdio descriptors instead of {expected}",
                fds.len()
            )));
        }
        let memfd = if let Document::Memfd(memfd) = &document { Some(memfd) } else { None };
        let keep: Vec<&OwnedFd> = fds.iter().chain(memfd).collect();
        let size = (wanted.rows > 0 && wanted.cols > 0).then_some((wanted.rows, wanted.cols));
        self.create(Purpose::Exec(id), &keep, |monitor, _| {
            let job = ExecJob { document: &document, user: wanted.user.clone(), size, stdio: &fds };
            exec(monitor, job)
        })
        .map_err(|error| failed(&error))?;
        Ok(Answer::Later)
    }

    /// The creator of an exec has reported.
    pub(in crate::server) fn exec_made(&mut self, session: SessionId, outcome: Creation) {
        let (made, terminal) = match outcome {
            Creation::Made(made, terminal) => (made, terminal),
            Creation::Failed(failure) => return self.fail(session, Op::Exec, failure),
        };
        let opened = Pid::from_raw(made.pid).and_then(|pid| PidFd::open(pid).ok().map(|pidfd| (pid, pidfd)));
        let Some((pid, pidfd)) = opened else {
            return self.fail(session, Op::Exec, Failure::new(Kind::System, "the exec has vanished"));
        };
        self.execs.push(Exec { pid, pidfd, session });
        if let Some(session) = self.session(session) {
            session.event_with(&Event::ExecStarted { pid: made.pid }, terminal.into_iter().collect());
        }
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(Kind::Invalid, message)
}
