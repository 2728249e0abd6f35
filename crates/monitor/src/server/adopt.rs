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
        }
        let state: Option<runtime::State> = files::read_json(&self.run.join(files::STATE)).ok();
        let alive = state.as_ref().and_then(|state| state.process().ok().flatten());
        let pid = state.as_ref().and_then(|state| Pid::from_raw(state.pid));
        if status.as_ref().is_some_and(|status| status.phase == Phase::Restarting) {
            return self.resume_pause();
        }
        let paused = status.as_ref().is_some_and(|status| status.phase == Phase::Paused);
        let started = status.as_ref().and_then(|status| Timestamp::parse(&status.started_at));
        if let (Some(pid), Some(pidfd)) = (pid, alive) {
            match self.take_over(pid, pidfd, started.unwrap_or_else(Timestamp::now)) {
                Ok(()) => {
                    self.enter(if paused { Phase::Paused } else { Phase::Running });
                    let event = Event::Status(self.status());
                    return self.tell_all(&event, |_| true);
                }
                // Without its pipes nobody can look after it any more.
                Err(_) => self.kill_by_cgroup(),
            }
        }
        let exit = Exit {
            exit_code: 255,
            error: Some(self.unseen_end().to_owned()),
            started_at: status.map(|status| status.started_at).unwrap_or_default(),
            finished_at: Timestamp::now().to_string(),
            restart_count: self.restart_count,
            pid: pid.map_or(0, |pid| pid.as_raw_nonzero().get()),
            ..Exit::default()
        };
        if pid.is_none() {
            return self.ended(exit);
        }
        self.end_cgroup();
        self.ended_after(exit, Duration::ZERO);
    }

    /// The old monitor died in the pause between two runs.
    fn resume_pause(&mut self) {
        self.last_exit = files::read_json(&self.data.join(files::EXIT)).ok();
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
