use super::super::Monitor;
use super::super::session::SessionId;
use super::{Answer, Outcome};
use crate::exit::Phase;

impl Monitor {
    pub(super) fn op_restart(
        &mut self,
        id: SessionId,
        signal: Option<i32>,
        timeout_s: Option<i64>,
    ) -> Outcome {
        if matches!(self.phase, Phase::Armed | Phase::Restarting | Phase::Exited) {
            return self.op_start(id, false);
        }
        self.stop(signal, timeout_s)?;
        self.stopping.get_or_insert_default().restart = Some(id);
        Ok(Answer::Later)
    }
}
