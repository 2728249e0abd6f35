use super::super::Monitor;
use super::super::session::SessionId;
use super::{Answer, Outcome};
use crate::exit::Phase;
use crate::protocol::{Event, WaitFor};

impl Monitor {
    pub(super) fn op_wait(&mut self, id: SessionId, condition: WaitFor) -> Outcome {
        // Nothing runs, so this has come about already; a start may never come.
        if condition == WaitFor::NotRunning && self.phase == Phase::Armed {
            let exit = self.last_exit.clone().unwrap_or_default();
            self.tell(id, &Event::Exited { exit, restarting: false });
            return Ok(Answer::Later);
        }
        if let Some(session) = self.session(id) {
            session.wait = Some(condition);
        }
        Ok(Answer::Later)
    }
}
