//! Finding, starting and replacing containers' monitors.

use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use monitor::client::Hold;
use monitor::{Event, Session, Spawn, Task, client};

use crate::{ContainerId, Engine, Error, Result, files};

/// How long a monitor may take to come or go; it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a container may be between its first process and its state, when the monitor was killed there.
const HALF_MADE: Duration = Duration::from_secs(2);

impl Engine {
    /// A conversation with the container's monitor: the living one, one that takes over from a dead one, or a new one
    /// that waits for `start`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Monitor`].
    pub fn session(&self, id: &ContainerId) -> Result<Session> {
        let run = self.run_of(id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.data_of(id).exists() {
                return Err(Error::NotFound(id.to_string()));
            }
            if let Some(session) = client::connect(&run)? {
                return Ok(session);
            }
            if run.exists() && !client::is_monitored(&run)? {
                self.take_over(id)?;
            }
            match self.spawn(id, false) {
                Err(Error::Monitor(error)) if error.kind() == Kind::Conflict => {}
                other => return other,
            }
            // Another monitor has the lock: it is about to listen, or about to leave.
            if Instant::now() >= deadline {
                return Err(monitor::Error::Timeout.into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A conversation with the monitor of a container that runs, is paused or is about to start again; none once it has
    /// ended. No monitor is made that waits for a start: who wants to hear of an end would wait there for ever.
    ///
    /// # Errors
    /// As [`Engine::session`].
    pub fn live_session(&self, id: &ContainerId) -> Result<Option<Session>> {
        let deadline = Instant::now() + PATIENCE;
        while self.state(id)?.status.is_live() {
            if let Some(session) = self.living(id)? {
                return Ok(Some(session));
            }
            // It is about to listen, or about to leave.
            if Instant::now() >= deadline {
                return Err(monitor::Error::Timeout.into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(None)
    }

    /// Another conversation with a monitor that lives; none while there is none that listens.
    ///
    /// # Errors
    /// [`monitor::Error::Kernel`].
    pub fn connect(&self, id: &ContainerId) -> monitor::Result<Option<Session>> {
        client::connect(&self.run_of(id))
    }

    /// The living monitor of a container that runs; none where there is none even after a take-over. Who waits for the
    /// end must not ask for [`Engine::session`]: of a container that has ended meanwhile that is a monitor which waits for
    /// a start.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn living(&self, id: &ContainerId) -> Result<Option<Session>> {
        let run = self.run_of(id);
        if run.exists() && !client::is_monitored(&run)? {
            self.take_over(id)?;
        }
        Ok(client::connect(&run)?)
    }

    fn spawn(&self, id: &ContainerId, adopt: bool) -> Result<Session> {
        let mut session = self.launch_monitor(id, |spawn| Spawn { adopt, ..spawn })?;
        // It answers once it has the lock, or says that it could not get it.
        match session.send(&monitor::Request::Status, &[]) {
            // It has left already, and has said why.
            Ok(()) | Err(monitor::Error::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        match session.next_event(Some(PATIENCE)) {
            Ok((Event::Status(_), _)) => Ok(session),
            Ok((Event::Error { failure, .. }, _)) => Err(monitor::Error::from(failure).into()),
            Ok(_) | Err(monitor::Error::Gone) => Err(monitor::Error::Locked { id: id.to_string() }.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// A monitor that has time until its container is made; `network` has it make a network namespace meanwhile.
    pub(crate) fn launch_early_monitor(&self, id: &ContainerId, network: bool) -> Result<Session> {
        self.launch_monitor(id, |spawn| Spawn { early: true, network, ..spawn })
    }

    fn launch_monitor(&self, id: &ContainerId, how: impl FnOnce(Spawn<'_>) -> Spawn<'_>) -> Result<Session> {
        let (program, data, run) = (self.runtime()?, self.data_of(id), self.run_of(id));
        let spawn =
            Spawn { program: &program, data: &data, run: &run, adopt: false, early: false, network: false };
        let spawn = how(spawn);
        let (session, child) = client::spawn(spawn)?;
        // It outlives this process; init reaps it.
        drop(child);
        Ok(session)
    }

    /// Looks after a container whose monitor is dead: a new monitor goes on with it, or records its end.
    pub(crate) fn take_over(&self, id: &ContainerId) -> Result<()> {
        if !self.needs_monitor(id)? {
            return Ok(());
        }
        match self.spawn(id, true) {
            // It ended at once, because the container had ended, or somebody else was quicker.
            Err(Error::Monitor(error)) if error.kind() == Kind::Conflict => {
                self.wait_until_settled(id);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Whether there is something for a new monitor to look after. Without it the run directory is removed.
    fn needs_monitor(&self, id: &ContainerId) -> Result<bool> {
        let run = self.run_of(id);
        let deadline = Instant::now() + HALF_MADE;
        loop {
            let hold = match Hold::take(&run) {
                Ok(hold) => hold,
                // Somebody else looks after it.
                Err(monitor::Error::Locked { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            // Its monitor was killed in the middle of a start: the creator finishes or undoes that.
            if client::is_being_made(&run)? && Instant::now() < deadline {
                hold.release();
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            if run.join("state.json").exists() || run.join("status.json").exists() {
                hold.release();
                return Ok(true);
            }
            // It had never run.
            self.end_cgroup(id)?;
            return Ok(false);
        }
    }

    fn wait_until_settled(&self, id: &ContainerId) {
        let run = self.run_of(id);
        let deadline = Instant::now() + PATIENCE;
        while run.exists() && !run.join("ctl.sock").exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The container's cgroup, where it exists.
    pub(crate) fn cgroup_of(&self, id: &ContainerId) -> Result<Option<cgroup::Cgroup>> {
        let path = cgroup::CgroupPath::new(&self.cgroup_path(id))?;
        let cgroup = cgroup::Cgroup::open(&cgroup::Host::probe()?, &path)?;
        Ok((!cgroup.is_gone()).then_some(cgroup))
    }

    /// Kills what is in the container's cgroup and removes it. The caller holds the container's lock.
    pub(crate) fn end_cgroup(&self, id: &ContainerId) -> Result<()> {
        end_cgroup_at(&self.cgroup_path(id))
    }

    /// Where the container's cgroup is: as its documents say, and where they are damaged, where it would be by default.
    pub(crate) fn cgroup_path(&self, id: &ContainerId) -> String {
        if let Ok(Some(task)) = files::read::<Task>(&self.data_of(id).join("task.json")) {
            return task.cgroup;
        }
        let config = self.config(id).ok();
        let path = config.as_ref().and_then(|config| config["linux"]["cgroupsPath"].as_str());
        path.map_or_else(|| self.default_cgroup(id), str::to_owned)
    }

    fn default_cgroup(&self, id: &ContainerId) -> String {
        format!("/{}/{id}", self.options.cgroup_parent.trim_matches('/'))
    }
}

/// Kills what is in a cgroup and removes it.
pub(crate) fn end_cgroup_at(path: &str) -> Result<()> {
    let (host, path) = (cgroup::Host::probe()?, cgroup::CgroupPath::new(path)?);
    if !cgroup::Cgroup::remove_if_empty(&host, &path)? {
        let cgroup = cgroup::Cgroup::open(&host, &path)?;
        cgroup.kill()?;
        cgroup.remove()?;
    }
    Ok(())
}
