//! Verbs that a monitor carries out: start, stop, restart, kill, pause, unpause, rename.

use std::time::{Duration, Instant};

use monitor::{Event, Op, Request, Session, Task};

use crate::container::Status;
use crate::{ContainerId, Engine, Error, Name, Result, files, signal};

/// How long a monitor may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Starts a container that does not run; one that runs is left as it is.
    ///
    /// # Errors
    /// [`Error::Monitor`] with the reason and docker's exit code for it.
    pub fn start(&self, id: &ContainerId) -> Result<Vec<String>> {
        match self.state(id)?.status {
            Status::Running => return Ok(Vec::new()),
            Status::Paused => {
                return Err(Error::Conflict("cannot start a paused container, try unpause instead".into()));
            }
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut session = self.session(id)?;
            let asked = session.send(&Request::Start { explain: false }, &[]).map_err(Error::from);
            match asked.and_then(|()| self.answer(id, &mut session, Op::Start, Some(PATIENCE))) {
                Ok(Event::Started { warnings, .. }) => return Ok(warnings),
                Ok(_) => return Ok(Vec::new()),
                // Of two who start it at once, one is too late for it.
                Err(Error::Monitor(monitor::Error::Reported(_) | monitor::Error::Gone))
                    if self.is_running(id) =>
                {
                    return Ok(Vec::new());
                }
                // It was about to leave when it was asked, or was killed.
                Err(Error::Monitor(monitor::Error::Gone)) if Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_running(&self, id: &ContainerId) -> bool {
        self.state(id).is_ok_and(|state| state.status == Status::Running)
    }

    /// Asks a container to end, and kills it after `timeout_s` (its own without it; negative waits for ever).
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn stop(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<()> {
        // A monitor that goes without an answer had nothing more to look after, or was killed: then another is asked.
        while self.state(id)?.status.is_live() {
            let Some(mut session) = self.living(id)? else { return Ok(()) };
            let asked = session.send(&Request::Stop { signal, timeout_s }, &[]).map_err(Error::from);
            match asked.and_then(|()| self.answer(id, &mut session, Op::Stop, None)) {
                Err(Error::Monitor(monitor::Error::Gone)) => {}
                other => return other.map(drop),
            }
        }
        Ok(())
    }

    /// Stops, as [`Engine::stop`], and starts.
    ///
    /// # Errors
    /// [`Error::Monitor`].
    pub fn restart(&self, id: &ContainerId, signal: Option<i32>, timeout_s: Option<i64>) -> Result<()> {
        self.state(id)?;
        let mut session = self.session(id)?;
        session.send(&Request::Restart { signal, timeout_s }, &[])?;
        self.answer(id, &mut session, Op::Restart, None).map(drop)
    }

    /// Sends a signal to the first process. After `SIGKILL`, as in docker, it has ended when this returns.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run.
    pub fn kill(&self, id: &ContainerId, signal: i32) -> Result<()> {
        if signal == signal::KILL {
            if !self.state(id)?.status.is_live() {
                return Err(not_running(id, "kill"));
            }
            return self.stop(id, Some(signal), Some(0));
        }
        self.simple(id, &Request::Signal { signal }, Op::Signal, "kill")
    }

    /// Freezes every process.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it does not run, or is frozen already.
    pub fn pause(&self, id: &ContainerId) -> Result<()> {
        self.simple(id, &Request::Pause, Op::Pause, "pause")
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not frozen.
    pub fn unpause(&self, id: &ContainerId) -> Result<()> {
        self.simple(id, &Request::Resume, Op::Resume, "unpause")
    }

    fn simple(&self, id: &ContainerId, request: &Request, op: Op, verb: &str) -> Result<()> {
        if !self.state(id)?.status.is_live() {
            return Err(not_running(id, verb));
        }
        let mut session = self.living(id)?.ok_or_else(|| not_running(id, verb))?;
        session.send(request, &[])?;
        self.answer(id, &mut session, op, Some(PATIENCE)).map(drop)
    }

    /// The answer to a request; other events meanwhile are for others.
    fn answer(
        &self,
        id: &ContainerId,
        session: &mut Session,
        asked: Op,
        timeout: Option<Duration>,
    ) -> Result<Event> {
        loop {
            match session.next_event(timeout)?.0 {
                event @ (Event::Started { .. } | Event::Status(_)) => return Ok(event),
                event @ Event::Ok { op } if op == asked => return Ok(event),
                Event::Error { failure, .. } => return Err(monitor::Error::from(failure).into()),
                // The program ended although somebody waits for its start.
                Event::Exited { restarting: false, .. } if asked == Op::Start => {
                    return Err(Error::Conflict(format!("container {id} ended while it was being started")));
                }
                _ => {}
            }
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn rename(&self, id: &ContainerId, name: &Name) -> Result<()> {
        let mut summary = self.summary(id)?;
        let old = std::mem::replace(&mut summary.name, name.clone());
        if old == *name {
            return Err(Error::Request("Renaming a container with the same name as its current name".into()));
        }
        let dir = self.data_of(id);
        // Both names lead to it until the summary has decided; then the old claim no longer counts.
        self.claim_new_name(name, id)?;
        files::replace(&dir, "summary.json", &summary)?;
        self.release_name(&old, id)?;
        let task_file = dir.join("task.json");
        if let Some(mut task) = files::read::<Task>(&task_file)? {
            task.name = name.to_string();
            files::replace(&dir, "task.json", &task)?;
        }
        Ok(())
    }

    fn claim_new_name(&self, name: &Name, id: &ContainerId) -> Result<()> {
        match self.owner_of(name)? {
            Some(owner) if owner != *id => {
                Err(Error::NameTaken { name: name.to_string(), owner: owner.to_string() })
            }
            _ => self.claim_name(name, id),
        }
    }
}

fn not_running(id: &ContainerId, verb: &str) -> Error {
    Error::Conflict(format!("cannot {verb} container {id}: it is not running"))
}
