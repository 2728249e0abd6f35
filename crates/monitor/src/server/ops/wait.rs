use super::super::Monitor;
use super::super::session::SessionId;
use super::{Answer, Outcome};
use crate::protocol::WaitFor;

impl Monitor {
    pub(super) fn op_wait(&mut self, id: SessionId, condition: WaitFor) -> Outcome {
        if let Some(session) = self.session(id) {
            session.wait = Some(condition);
        }
        Ok(Answer::Later)
    }
}
