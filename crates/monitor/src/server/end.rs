//! The last exit, and leaving nothing behind.

use std::process::{Command, Stdio};

use super::Monitor;
use crate::exit::{Exit, Phase};
use crate::files;
use crate::protocol::{Event, Failure, Op, WaitFor};

impl Monitor {
    /// The container has ended for good: its end is recorded, what it had in the run directory is removed, the lock is
    /// free, and then everybody is told, so that whoever hears of it can remove or start it at once.
    pub(super) fn finish(&mut self, exit: Exit) {
        self.record(&exit);
        self.phase = Phase::Exited;
        self.let_go();
        if let Some(failure) = self.failed_start.take() {
            for session in std::mem::take(&mut self.also_starting) {
                self.fail(session, Op::Start, failure.clone());
            }
        }
        if let Some(stopping) = self.stopping.take() {
            for session in stopping.waiting {
                self.tell(session, &Event::Ok { op: Op::Stop });
            }
            if let Some(session) = stopping.restart {
                let failure = Failure::new(fault::Kind::Conflict, "the container ended for good meanwhile");
                self.fail(session, Op::Restart, failure);
            }
        }
        self.announce(&exit, false);
        self.last_exit = Some(exit);
        self.leaving = true;
    }

    /// No client came to an armed monitor.
    pub(super) fn disarm(&mut self) {
        self.let_go();
        self.task.cleanup = Vec::new();
        self.leaving = true;
    }

    /// Removes the run directory, under the lock, and then gives the lock back.
    fn let_go(&mut self) {
        if let Some(listener) = self.listener.take() {
            self.poller.remove(&listener);
        }
        files::clear(&self.run);
        self.lock = None;
    }

    /// Has the container removed if that is due and nobody has promised to.
    pub(super) fn clean_up(&mut self) {
        let promised = self.sessions.iter().any(|session| session.cleans_up && !session.closed);
        if !self.task.auto_remove || promised {
            return;
        }
        let Some((program, args)) = self.task.cleanup.split_first() else {
            return;
        };
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A container that nobody removed is removed by the next engine call that meets it.
        let Ok(mut child) = command.spawn() else {
            return;
        };
        if self.sessions.iter().any(|session| session.wait == Some(WaitFor::Removed)) {
            let _ = child.wait();
            self.tell_all(&Event::Removed, |session| session.wait == Some(WaitFor::Removed));
        }
    }
}
