use super::super::Monitor;
use super::{Answer, Outcome, conflict, failed, not_running};
use crate::exit::Phase;

impl Monitor {
    pub(super) fn op_pause(&mut self) -> Outcome {
        match self.phase {
            Phase::Running => {}
            Phase::Paused => return Err(conflict("the container is paused already")),
            _ => return Err(not_running()),
        }
        self.cgroup().ok_or_else(not_running)?.freeze().map_err(|error| failed(&error))?;
        self.enter(Phase::Paused);
        Ok(Answer::Done)
    }

    pub(super) fn op_resume(&mut self) -> Outcome {
        if self.phase != Phase::Paused {
            return Err(conflict("the container is not paused"));
        }
        self.cgroup().ok_or_else(not_running)?.thaw().map_err(|error| failed(&error))?;
        self.enter(Phase::Running);
        Ok(Answer::Done)
    }

    /// Lets a paused program go on, because a frozen one does not even die.
    pub(super) fn thaw(&mut self) {
        if self.phase == Phase::Paused {
            if let Some(cgroup) = self.cgroup() {
                // If it does not thaw, the stop's own deadline comes back here.
                let _ = cgroup.thaw();
            }
            self.enter(Phase::Running);
        }
    }
}
