//! What clients ask, one file per request.

mod attach;
mod exec;
mod pause;
mod resize;
mod restart;
mod signal;
mod start;
mod stop;
mod update;
mod wait;

use std::os::fd::OwnedFd;

use fault::Kind;

use super::Monitor;
use super::session::SessionId;
use crate::protocol::{Event, Failure, Request};

/// What a request is answered with at once.
enum Answer {
    /// `ok`.
    Done,
    /// Something else was or will be sent.
    Later,
}

type Outcome = Result<Answer, Failure>;

impl Monitor {
    pub(super) fn request(&mut self, id: SessionId, request: Request, fds: Vec<OwnedFd>) {
        let op = request.op();
        let outcome = match request {
            Request::Start { explain } => self.op_start(id, explain),
            Request::Attach { stdin, stdout, stderr } => self.op_attach(id, stdin, stdout, stderr),
            Request::Resize { rows, cols } => self.op_resize(rows, cols),
            Request::Signal { signal } => self.op_signal(signal),
            Request::Stop { signal, timeout_s } => self.op_stop(id, signal, timeout_s),
            Request::Restart { signal, timeout_s } => self.op_restart(id, signal, timeout_s),
            Request::Pause => self.op_pause(),
            Request::Resume => self.op_resume(),
            Request::Exec { process, user, tty, rows, cols } => {
                self.op_exec(id, exec::Wanted { process, user, tty, rows, cols }, fds)
            }
            Request::ExecSignal { signal } => self.op_exec_signal(id, signal),
            Request::Wait { condition } => self.op_wait(id, condition),
            Request::Status => {
                let status = self.status();
                self.tell(id, &Event::Status(status));
                Ok(Answer::Later)
            }
            Request::Update { restart } => self.op_update(restart),
            Request::CleanupByMe => self.op_cleanup_by_me(id),
            Request::Disarm => self.op_disarm(),
        };
        match outcome {
            Ok(Answer::Done) => self.tell(id, &Event::Ok { op }),
            Ok(Answer::Later) => {}
            Err(failure) => self.fail(id, op, failure),
        }
    }
}

fn conflict(message: &str) -> Failure {
    Failure::new(Kind::Conflict, message)
}

fn not_running() -> Failure {
    conflict("the container is not running")
}

/// The name of an operation on a kernel object that failed.
fn failed(error: &dyn fault::Fault) -> Failure {
    Failure::of(error)
}
