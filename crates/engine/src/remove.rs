//! `rm`, and the clean-up after a `--rm` container: one function, safe to run twice and at the same time.

use std::path::Path;
use std::time::{Duration, Instant};

use monitor::client::Hold;
use monitor::{Event, Request};

use crate::container::{Status, Summary};
use crate::monitors::end_cgroup_at;
use crate::{ContainerId, Engine, Error, Result, files, signal};

/// Prefix of a container's directory while it is being removed.
pub(crate) const REMOVED: &str = ".rm-";
/// The same where its anonymous volumes are removed, too.
pub(crate) const REMOVED_WITH_VOLUMES: &str = ".rmv-";
/// How long a monitor that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Removes a container; `force` kills it first, `volumes` removes its anonymous volumes.
    ///
    /// # Errors
    /// [`Error::Conflict`] for one that runs, without `force`.
    pub fn remove(&self, id: &ContainerId, force: bool, volumes: bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = match self.state(id) {
                Ok(state) => state.status,
                // What cannot be read can still be removed by force.
                Err(_) if force => Status::Running,
                Err(error) => return Err(error),
            };
            if status.is_live() {
                if !force {
                    return Err(refusal(id, status));
                }
                self.kill_for_removal(id)?;
            }
            let auto_remove = self.summary(id).is_ok_and(|summary| summary.auto_remove);
            match self.remove_ended(id, volumes || auto_remove) {
                // It was being started, and runs now.
                Err(Error::Conflict(_)) if force && Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    /// The end of a `--rm` container that runs no more: what the monitor's clean-up and an attached client call.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs.
    pub fn clean_up(&self, id: &ContainerId) -> Result<()> {
        self.remove_ended(id, true)
    }

    /// [`Engine::clean_up`] whose last part, the removal of what is no longer anybody's, goes on for a moment in a process
    /// of its own: the name is free and the container gone when this returns. What that process leaves, if it is killed,
    /// the next list removes.
    ///
    /// The caller has one thread.
    ///
    /// # Errors
    /// As [`Engine::clean_up`].
    pub fn clean_up_behind(&self, id: &ContainerId) -> Result<()> {
        let hold = self.hold(id)?;
        let cgroup = self.cgroup_path(id);
        let Some(gone) = self.take_away(id, true)? else { return Ok(()) };
        // Users look for volumes by name.
        self.remove_anonymous(&self.containers().join(&gone))?;
        linux::fork(|| {
            // Whoever reads the caller's output to its end does not wait for this.
            let closed = linux::descriptor::close_all_but(&mut []);
            // The monitor has ended the cgroup; this is for what resisted it.
            let ended = end_cgroup_at(&cgroup);
            let removed = self.remove_taken(&gone, true);
            i32::from(closed.is_err() || ended.is_err() || removed.is_err())
        })?;
        drop(hold);
        Ok(())
    }

    /// Asks for the end at once and waits for it.
    fn kill_for_removal(&self, id: &ContainerId) -> Result<()> {
        // Without a monitor, or with one that cannot begin because the container's documents are damaged, what runs is
        // found by its cgroup.
        let Ok(Some(mut session)) = self.living(id) else { return Ok(()) };
        match session.send(&Request::Stop { signal: Some(signal::KILL), timeout_s: Some(0) }, &[]) {
            Ok(()) => {}
            Err(monitor::Error::Gone) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        loop {
            match session.next_event(Some(PATIENCE)) {
                Ok((Event::Ok { .. }, _)) | Err(monitor::Error::Gone) => return Ok(()),
                Ok((Event::Error { failure, .. }, _)) => return Err(monitor::Error::from(failure).into()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn remove_ended(&self, id: &ContainerId, volumes: bool) -> Result<()> {
        let hold = self.hold(id)?;
        self.end_cgroup(id)?;
        if let Some(gone) = self.take_away(id, volumes)? {
            self.remove_taken(&gone, volumes)?;
        }
        drop(hold);
        Ok(())
    }

    /// From a container to a directory that nobody looks for; its name. None when somebody else has done it.
    fn take_away(&self, id: &ContainerId, volumes: bool) -> Result<Option<String>> {
        let root = files::open_dir(&self.containers())?;
        let gone = format!("{}{id}", if volumes { REMOVED_WITH_VOLUMES } else { REMOVED });
        match rustix::fs::renameat(&root, id.as_str(), &root, &gone) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(linux::Error::on("renameat", id.as_str(), errno).into()),
        }
        self.release_names(id)?;
        Ok(Some(gone))
    }

    fn remove_taken(&self, gone: &str, volumes: bool) -> Result<()> {
        if volumes {
            self.remove_anonymous(&self.containers().join(gone))?;
        }
        Ok(linux::tree::remove_tree(files::open_dir(&self.containers())?, gone)?)
    }

    /// Removes the anonymous volumes of a container that is being removed.
    pub(crate) fn remove_anonymous(&self, dir: &Path) -> Result<()> {
        // Of a damaged container nobody knows its volumes.
        let Ok(Some(summary)) = files::read::<Summary>(&dir.join("summary.json")) else { return Ok(()) };
        let anonymous = summary.volumes.iter().filter(|volume| volume.anonymous);
        anonymous.map(|volume| &volume.name).try_for_each(|name| self.remove_volume(name))
    }

    /// Waits for the monitor to be gone, and keeps others from starting.
    fn hold(&self, id: &ContainerId) -> Result<Hold> {
        let run = self.run_of(id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Hold::take(&run) {
                Ok(hold) => return Ok(hold),
                Err(monitor::Error::Locked { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(mut session) = monitor::client::connect(&run)? {
                // An armed one leaves when it is told; one that runs a container says no.
                let asked =
                    session.send(&Request::Disarm, &[]).and_then(|()| session.next_event(Some(PATIENCE)));
                if let Ok((Event::Error { .. }, _)) = asked {
                    let status = self.state(id).map_or(Status::Running, |state| state.status);
                    if status.is_live() {
                        return Err(refusal(id, status));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(monitor::Error::Timeout.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn refusal(id: &ContainerId, status: Status) -> Error {
    let advice = match status {
        Status::Paused => "Unpause and then stop the container before attempting removal or force remove",
        _ => "Stop the container before attempting removal or force remove",
    };
    Error::Conflict(format!("You cannot remove a {} container {id}. {advice}", status.as_str()))
}
