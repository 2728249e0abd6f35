use std::time::{Duration, Instant};

use super::super::session::SessionId;
use super::super::{Monitor, Stopping};
use super::{Answer, Outcome, failed};
use crate::exit::Phase;
use crate::{Error, protocol::Failure};

use super::signal::SIGKILL;

impl Monitor {
    pub(super) fn op_stop(&mut self, id: SessionId, signal: Option<i32>, timeout_s: Option<i64>) -> Outcome {
        match self.phase {
            Phase::Armed | Phase::Exited => return Ok(Answer::Done),
            Phase::Restarting => {
                self.stopping = Some(Stopping { waiting: vec![id], ..Stopping::default() });
                self.stay_ended();
                return Ok(Answer::Later);
            }
            Phase::Starting | Phase::Running | Phase::Paused => {}
        }
        self.stop(signal, timeout_s)?;
        self.stopping.get_or_insert_default().waiting.push(id);
        Ok(Answer::Later)
    }

    /// Nothing runs, and nothing is to run again: the end of the last run becomes the last.
    pub(super) fn stay_ended(&mut self) {
        self.restart_at = None;
        self.stopped_by_user = true;
        let mut exit = self.last_exit.take().unwrap_or_default();
        exit.stopped_by_user = true;
        self.finish(exit);
    }

    /// Asks the program to end. One that is being started is asked as soon as it runs.
    pub(super) fn stop(&mut self, signal: Option<i32>, timeout_s: Option<i64>) -> Result<(), Failure> {
        let signal = signal.unwrap_or(self.task.stop_signal);
        let timeout = timeout_s.unwrap_or(self.task.stop_timeout_s);
        let kill_at =
            u64::try_from(timeout).ok().map(|timeout| Instant::now() + Duration::from_secs(timeout));
        self.stopped_by_user = true;
        self.publish();
        let stopping = self.stopping.get_or_insert_default();
        // Of two stops the more impatient one counts.
        stopping.kill_at = [stopping.kill_at, kill_at].into_iter().flatten().min();
        if let Some(running) = &self.running {
            running.pidfd.signal(signal).map_err(|error| failed(&Error::from(error)))?;
            if signal == SIGKILL || self.phase == Phase::Paused {
                self.thaw();
            }
        } else {
            stopping.signal = Some(signal);
        }
        Ok(())
    }

    /// The program has started; carries out a stop that came too early.
    pub(in crate::server) fn resume_stop(&mut self) {
        let signal = self.stopping.as_mut().and_then(|stopping| stopping.signal.take());
        if let (Some(signal), Some(running)) = (signal, &self.running) {
            self.stopped_by_user = true;
            // It can only have ended, which we are about to hear.
            let _ = running.pidfd.signal(signal);
        }
    }
}
