//! Ends of processes, and what follows from the end of the container's program.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use linux::PidFd;
use logs::Timestamp;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::{Monitor, restart};
use crate::exit::{Exit, Phase};
use crate::files;
use crate::protocol::{Event, Failure, WaitFor};

/// The exit code for an end that nobody saw.
const UNKNOWN: i32 = 255;
/// How long the kernel is asked for the exit code of an adopted process, which its new parent has to reap first.
const REAP_PATIENCE: Duration = Duration::from_secs(1);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
    Unknown,
}

impl End {
    pub(super) fn exit_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => UNKNOWN,
        }
    }
}

impl Monitor {
    /// Reaps every child that has ended: the container's program, execs, creators, and orphans of containers without a
    /// pid namespace.
    ///
    /// While a creator is at work, children that we do not know yet stay: one of them may be what it is making.
    pub(super) fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.next() {}
        if let Some(pid) = self.running.as_ref().filter(|running| !running.adopted).map(|running| running.pid)
            && let Some(end) = reap_one(pid)
        {
            self.program_ended(end);
        }
        let mut at = 0;
        while at < self.execs.len() {
            match reap_one(self.execs[at].pid) {
                Some(end) => {
                    let exec = self.execs.swap_remove(at);
                    self.tell(exec.session, &Event::ExecExited { exit_code: end.exit_code() });
                }
                None => at += 1,
            }
        }
        if self.creators.is_empty() {
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                if self.running.as_ref().is_some_and(|running| running.pid == pid) {
                    self.program_ended(end_of(status));
                } else if let Some(at) = self.execs.iter().position(|exec| exec.pid == pid) {
                    let exec = self.execs.swap_remove(at);
                    let exit_code = end_of(status).exit_code();
                    self.tell(exec.session, &Event::ExecExited { exit_code });
                }
            }
        }
    }

    /// An adopted container's program has ended. Somebody else is its parent, so the code comes from the kernel's memory
    /// of it (`PIDFD_GET_INFO`, Linux 6.15), once that parent has reaped it.
    pub(super) fn adopted_ended(&mut self) {
        let Some(running) = &self.running else {
            return;
        };
        self.poller.remove(&running.pidfd);
        let end = end_by_pidfd(&running.pidfd);
        self.program_ended(end);
    }

    fn program_ended(&mut self, end: End) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.input.reset(&self.poller);
        let oom_killed = self.end_cgroup();
        self.drain_output();
        let exit = Exit {
            exit_code: end.exit_code(),
            signal: if let End::Signal(signal) = end { Some(signal) } else { None },
            oom_killed,
            error: (end == End::Unknown)
                .then(|| "it ended while it had no monitor, and the kernel no longer knew how".to_owned()),
            started_at: running.started.to_string(),
            finished_at: Timestamp::now().to_string(),
            restart_count: self.restart_count,
            stopped_by_user: self.stopped_by_user,
            pid: running.pid.as_raw_nonzero().get(),
            log_dropped: self.log_dropped(),
        };
        self.ended_after(exit, running.since.elapsed());
    }

    /// The end of a run that never began: as docker, what the run before left, with the reason. A start that no user asked
    /// for keeps the exit code, too.
    pub(super) fn failed_exit(&self, failure: &Failure, asked: bool) -> Exit {
        let error = Some(failure.to_string());
        let (restart_count, stopped_by_user) = (self.restart_count, self.stopped_by_user);
        match &self.last_exit {
            Some(last) if !last.started_at.is_empty() => Exit {
                exit_code: if asked { failure.exit } else { last.exit_code },
                error,
                restart_count,
                stopped_by_user,
                ..last.clone()
            },
            _ => Exit {
                exit_code: failure.exit,
                error,
                finished_at: Timestamp::now().to_string(),
                restart_count,
                stopped_by_user,
                ..Exit::default()
            },
        }
    }

    /// The container could not be started: no policy tries that again, as in docker.
    pub(super) fn ended(&mut self, exit: Exit) {
        self.input.reset(&self.poller);
        self.end_cgroup();
        self.drain_output();
        self.finish(exit);
    }

    pub(super) fn ended_after(&mut self, mut exit: Exit, ran: Duration) {
        let stopping = self.stopping.take();
        if let Some(session) = stopping.as_ref().and_then(|stopping| stopping.restart) {
            self.record(&exit);
            self.announce(&exit, true);
            self.restart_count = 0;
            self.backoff = restart::Backoff::default();
            self.last_exit = Some(exit);
            return self.start(Some(session), false);
        }
        let again =
            restart::wanted(self.task.restart, exit.exit_code, exit.stopped_by_user, self.restart_count);
        if !again {
            self.stopping = stopping;
            return self.finish(exit);
        }
        // As docker, which counts a restart from the beginning of the pause before it.
        self.restart_count += 1;
        exit.restart_count = self.restart_count;
        self.record(&exit);
        self.restart_at = Some(Instant::now() + self.backoff.next(ran));
        self.announce(&exit, true);
        self.last_exit = Some(exit);
        self.enter(Phase::Restarting);
    }

    /// Writes `exit.json`; it is there before anybody is told.
    pub(super) fn record(&self, exit: &Exit) {
        // A full disk must not keep the container's users from hearing of its end; the event carries the same.
        let durable = !self.task.auto_remove && !exit.finished_at.is_empty();
        let _ = files::write_json(&self.data, files::EXIT, exit, durable)
            .or_else(|_| files::overwrite_json(&self.data, files::EXIT, exit));
    }

    /// Tells those whom this end concerns.
    pub(super) fn announce(&mut self, exit: &Exit, restarting: bool) {
        let event = Event::Exited { exit: exit.clone(), restarting };
        self.tell_all(&event, |session| match session.wait {
            Some(WaitFor::NextExit) => true,
            Some(WaitFor::NotRunning | WaitFor::Removed) => !restarting,
            None => session.attached.any(),
        });
    }

    /// The container's cgroup, in the hierarchies where it exists.
    pub(super) fn cgroup(&self) -> Option<cgroup::Cgroup> {
        let host = self.host()?;
        cgroup::Cgroup::open(&host, &cgroup::CgroupPath::new(&self.task.cgroup).ok()?).ok()
    }

    /// The hierarchies in which it was made.
    fn host(&self) -> Option<Cow<'_, cgroup::Host>> {
        self.host.as_ref().map(Cow::Borrowed).or_else(|| cgroup::Host::probe().ok().map(Cow::Owned))
    }

    /// Ends what is left of the container and removes its cgroup; whether the kernel had killed there for want of memory.
    /// What resists is found by its name later.
    pub(super) fn end_cgroup(&self) -> bool {
        let (Some(host), Ok(path)) = (self.host(), cgroup::CgroupPath::new(&self.task.cgroup)) else {
            return false;
        };
        let oom_killed = cgroup::Cgroup::oom_kills_at(&host, &path).is_ok_and(|kills| kills > 0);
        if !cgroup::Cgroup::remove_if_empty(&host, &path).unwrap_or(false)
            && let Some(cgroup) = self.cgroup()
        {
            // Without a pid namespace of its own a container can outlive its first process.
            let _ = cgroup.kill();
            let _ = cgroup.remove();
        }
        oom_killed
    }
}

fn reap_one(pid: Pid) -> Option<End> {
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(end_of(status)),
        Ok(None) => None,
        // Not ours to wait for, which cannot be; better an unknown end than none at all.
        Err(Errno::CHILD) => Some(End::Unknown),
        Err(_) => None,
    }
}

fn end_of(status: rustix::process::WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Unknown,
    }
}

fn end_by_pidfd(pidfd: &PidFd) -> End {
    let deadline = Instant::now() + REAP_PATIENCE;
    loop {
        match pidfd.info() {
            Ok(info) => {
                if let Some(exit) = info.exit {
                    return match (exit.exit_status(), exit.terminating_signal()) {
                        (Some(code), _) => End::Code(code),
                        (None, Some(signal)) => End::Signal(signal),
                        (None, None) => End::Unknown,
                    };
                }
            }
            Err(error) if error.errno != Errno::SRCH => return End::Unknown,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return End::Unknown;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
