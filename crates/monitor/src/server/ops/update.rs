use super::super::Monitor;
use super::{Answer, Outcome};
use crate::task::RestartPolicy;

impl Monitor {
    pub(super) fn op_update(&mut self, restart: Option<RestartPolicy>) -> Outcome {
        if let Some(restart) = restart {
            self.task.restart = restart;
        }
        Ok(Answer::Done)
    }
}
