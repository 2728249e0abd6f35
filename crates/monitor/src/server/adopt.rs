//! Taking over a container whose monitor died.

use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;

use linux::PidFd;
use logs::{LogWriter, Timestamp};
use rustix::process::Pid;

use super::poller::Token;
use super::start::open;
use super::{Monitor, Running};
use crate::exit::{Exit, Phase, Status};
use crate::protocol::Event;
use crate::task::LogDriver;
use crate::{Result, files};

impl Monitor {
    /// Goes on where the dead monitor stopped: with its program if that still runs, else with its end.
    pub(super) fn adopt(&mut self) {
        let status: Option<Status> = files::read_json(&self.run.join(files::STATUS)).ok();
        if let Some(status) = &status {
            self.restart_count = status.restart_count;
            self.stopped_by_user = status.stopped_by_user;
            self.last_exit = status.last_exit.clone();
        }
        let state: Result<runtime::State> = files::read_json(&self.run.join(files::STATE));
        let alive = state.as_ref().ok().and_then(|state| state.process().ok().flatten());
        let pid = state.as_ref().ok().and_then(|state| Pid::from_raw(state.pid));
        let phase = status.as_ref().map(|status| status.phase);
        // Of a run that was only being started the status does not know yet.
        let known = status.as_ref().filter(|status| status.phase != Phase::Restarting);
        let started = known.and_then(|status| Timestamp::parse(&status.started_at));
        if let (Some(pid), Some(pidfd)) = (pid, alive) {
            match self.take_over(pid, pidfd, started.unwrap_or_else(Timestamp::now)) {
                Ok(()) => {
                    self.enter(if phase == Some(Phase::Paused) { Phase::Paused } else { Phase::Running });
                    let event = Event::Status(self.status());
                    return self.tell_all(&event, |_| true);
                }
                // Without its pipes nobody can look after it any more.
                Err(_) => self.kill_by_cgroup(),
            }
        } else if phase == Some(Phase::Restarting) && !self.stopped_by_user {
            self.end_cgroup();
            return self.resume_pause();
        }
        let why = match &state {
            Err(error) if matches!(phase, Some(Phase::Running | Phase::Paused)) => {
                format!("it had to be ended when its monitor had died: {error}")
            }
            _ => self.unseen_end().to_owned(),
        };
        let exit = Exit {
            exit_code: 255,
            error: Some(why),
            started_at: match (&status, pid) {
                (Some(status), _) => status.started_at.clone(),
                (None, Some(_)) => Timestamp::now().to_string(),
                (None, None) => String::new(),
            },
            finished_at: Timestamp::now().to_string(),
            restart_count: self.restart_count,
            stopped_by_user: self.stopped_by_user,
            pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get()),
            ..Exit::default()
        };
        if pid.is_none() {
            return self.ended(exit);
        }
        self.end_cgroup();
        self.ended_after(exit, Duration::ZERO);
    }

    /// The old monitor died in the pause between two runs, or while it was starting the second.
    fn resume_pause(&mut self) {
        self.restart_at = Some(Instant::now() + self.backoff.next(Duration::ZERO));
        self.enter(Phase::Restarting);
        let event = Event::Status(self.status());
        self.tell_all(&event, |_| true);
    }

    fn unseen_end(&self) -> &'static str {
        if self.task.tty {
            "its monitor died and took its terminal with it"
        } else {
            "it ended while it had no monitor, so its exit code is not known"
        }
    }

    fn take_over(&mut self, pid: Pid, pidfd: PidFd, started: Timestamp) -> Result<()> {
        let reading = OFlags::RDONLY | OFlags::NONBLOCK;
        let [stdin, stdout, stderr] = files::PIPES.map(|name| self.run.join(name));
        let stdout = open(&stdout, reading)?;
        let stderr = open(&stderr, reading)?;
        // The program saw the end of its input when the old monitor died; there is nothing to open if it closed it.
        if let Ok(stdin) = open(&stdin, OFlags::WRONLY | OFlags::NONBLOCK) {
            self.input.begin(stdin, &self.poller);
        }
        if self.task.log.driver == LogDriver::JsonFile {
            let (size, files) = (self.task.log.max_size, self.task.log.max_file);
            self.output.log = LogWriter::open(&self.log_dir(), size, files).ok();
        }
        self.poller.add(&pidfd, Token::Adopted, EventFlags::IN)?;
        self.output.prepare(stdout, Some(stderr));
        let since = Instant::now();
        let since = since.checked_sub(Timestamp::now().since(started)).unwrap_or(since);
        self.running = Some(Running { pid, pidfd, started, since, terminal: None, adopted: true });
        Ok(())
    }

    fn kill_by_cgroup(&self) {
        if let Some(cgroup) = self.cgroup() {
            let _ = cgroup.kill();
        }
    }
}
