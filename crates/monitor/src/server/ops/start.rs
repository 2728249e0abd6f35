use super::super::Monitor;
use super::super::session::SessionId;
use super::{Answer, Outcome, conflict};
use crate::exit::Phase;

impl Monitor {
    pub(super) fn op_start(&mut self, id: SessionId, explain: bool) -> Outcome {
        match self.phase {
            Phase::Armed => {}
            // A user does not want to wait for the pause to end.
            Phase::Restarting => self.restart_at = None,
            Phase::Starting => {
                self.also_starting.push(id);
                return Ok(Answer::Later);
            }
            Phase::Running | Phase::Paused => return Err(conflict("the container is running already")),
            Phase::Exited => return Err(conflict("the container has just ended; try again")),
        }
        self.restart_count = 0;
        self.backoff = Default::default();
        self.start(Some(id), explain);
        Ok(Answer::Later)
    }

    pub(super) fn op_disarm(&mut self) -> Outcome {
        if self.phase != Phase::Armed {
            return Err(conflict("the container has been started"));
        }
        self.disarm();
        Ok(Answer::Done)
    }

    pub(super) fn op_cleanup_by_me(&mut self, id: SessionId) -> Outcome {
        if let Some(session) = self.session(id) {
            session.cleans_up = true;
        }
        Ok(Answer::Done)
    }
}
