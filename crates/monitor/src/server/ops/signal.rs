use super::super::Monitor;
use super::super::session::SessionId;
use super::{Answer, Outcome, conflict, failed, not_running};
use crate::Error;
use crate::exit::Phase;

pub(super) const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Monitor {
    pub(super) fn op_signal(&mut self, signal: i32) -> Outcome {
        let ends = signal == SIGKILL || signal == SIGTERM || signal == self.task.stop_signal;
        if self.phase == Phase::Restarting && ends {
            // As docker: what would have killed it keeps it from coming back.
            self.stay_ended();
            return Ok(Answer::Done);
        }
        let running = self.running.as_ref().ok_or_else(not_running)?;
        running.pidfd.signal(signal).map_err(|error| failed(&Error::from(error)))?;
        if ends {
            self.stopped_by_user = true;
            self.publish();
        }
        if signal == SIGKILL {
            self.thaw();
        }
        Ok(Answer::Done)
    }

    pub(super) fn op_exec_signal(&mut self, id: SessionId, signal: i32) -> Outcome {
        let exec = self.execs.iter().find(|exec| exec.session == id);
        let exec = exec.ok_or_else(|| conflict("this session has no running exec"))?;
        exec.pidfd.signal(signal).map_err(|error| failed(&Error::from(error)))?;
        Ok(Answer::Done)
    }

    /// `SIGKILL`, whatever state the program is in.
    pub(in crate::server) fn kill_now(&mut self) {
        if let Some(running) = &self.running {
            // It can only have ended, which we are about to hear.
            let _ = running.pidfd.kill();
        }
        self.thaw();
    }
}
