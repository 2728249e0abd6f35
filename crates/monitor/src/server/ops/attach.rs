use super::super::Monitor;
use super::super::session::{Attached, SessionId};
use super::{Answer, Outcome};
use crate::exit::Phase;

impl Monitor {
    pub(super) fn op_attach(&mut self, id: SessionId, stdin: bool, stdout: bool, stderr: bool) -> Outcome {
        if let Some(session) = self.session(id) {
            session.attached = Attached { stdin, stdout, stderr };
        }
        Ok(Answer::Done)
    }

    /// Input frames: to the container, or its end.
    pub(in crate::server) fn take_input(&mut self, id: SessionId, bytes: &[u8]) {
        if !self.session(id).is_some_and(|session| session.attached.stdin) || !self.task.open_stdin {
            return;
        }
        if bytes.is_empty() {
            return self.input_ended();
        }
        let coming = matches!(self.phase, Phase::Armed | Phase::Starting | Phase::Restarting);
        self.input.write(bytes, coming, &self.poller);
        let full = self.input.is_full();
        if let Some(session) = self.session(id) {
            session.held_back = full;
        }
    }

    /// A session that gave input has no more. As docker: that is the container's end of input if it was created for one
    /// session's input; a terminal has no such end.
    pub(in crate::server) fn input_ended(&mut self) {
        if self.task.stdin_once && !self.task.tty {
            self.input.end(&self.poller);
        }
    }
}
