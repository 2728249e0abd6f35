//! `ps`: what there is, and a place where what crashes left is found.

use std::os::fd::AsFd;

use monitor::client::Hold;
use rustix::fs::FlockOperation;

use crate::container::{State, Status, Summary};
use crate::create::NEW;
use crate::remove::{REMOVED, REMOVED_WITH_VOLUMES};
use crate::{ContainerId, Engine, Error, Result, files};

/// One container of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub summary: Summary,
    /// What it is doing.
    pub state: State,
}

impl Engine {
    /// All containers, the newest first. What cannot be read is told in the second list and does not hide the others.
    ///
    /// # Errors
    /// [`Error::File`] when there is no directory to look in.
    pub fn list(&self) -> Result<(Vec<Listed>, Vec<Error>)> {
        self.sweep()?;
        let (mut listed, mut failed) = (Vec::new(), Vec::new());
        for id in self.ids()? {
            match self.listed(&id) {
                Ok(Some(container)) => listed.push(container),
                // Removed since the directory was read.
                Ok(None) | Err(Error::NotFound(_)) => {}
                Err(error) => failed.push(error),
            }
        }
        listed.sort_by(|a, b| b.summary.created.cmp(&a.summary.created));
        Ok((listed, failed))
    }

    fn listed(&self, id: &ContainerId) -> Result<Option<Listed>> {
        let summary = self.summary(id)?;
        let state = self.state(id)?;
        if summary.auto_remove && state.status == Status::Exited && !self.run_of(id).exists() {
            // Whoever was to remove it was killed.
            self.remove_ended(id, true)?;
            return Ok(None);
        }
        Ok(Some(Listed { summary, state }))
    }

    /// Whether somebody is making this container now: he holds a lock on its directory.
    pub(crate) fn is_being_made(&self, id: &ContainerId) -> Result<bool> {
        let dir = self.containers().join(format!("{NEW}{id}"));
        match files::open_dir(&dir) {
            Ok(dir) => Ok(!try_lock(&dir)),
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what killed callers left: containers half made, and containers half removed.
    pub(crate) fn sweep(&self) -> Result<()> {
        let root = files::open_dir(&self.containers())?;
        for (name, _) in linux::tree::entries(&root)? {
            let text = name.to_str().unwrap_or_default();
            let prefix =
                [NEW, REMOVED, REMOVED_WITH_VOLUMES].into_iter().find(|prefix| text.starts_with(prefix));
            let Some(prefix) = prefix else { continue };
            let Some(_held) = files::abandoned(&root, &name) else { continue };
            if let Ok(id) = text[prefix.len()..].parse() {
                self.release_names(&id)?;
            }
            let dir = self.containers().join(&name);
            if prefix == NEW {
                self.remove_announced(&dir)?;
            }
            if prefix != REMOVED {
                self.remove_anonymous(&dir)?;
            }
            linux::tree::remove_tree(&root, &name)?;
        }
        self.sweep_volumes()?;
        self.sweep_runs()
    }

    /// Removes volumes half made or half removed.
    fn sweep_volumes(&self) -> Result<()> {
        let root = files::open_dir(&self.options.data.join("volumes"))?;
        for (name, _) in linux::tree::entries(&root)? {
            if name.as_encoded_bytes().starts_with(linux::tree::TEMPORARY.as_bytes())
                && let Some(_held) = files::abandoned(&root, &name)
            {
                linux::tree::remove_tree(&root, &name)?;
            }
        }
        Ok(())
    }

    /// Removes run directories whose container is gone.
    fn sweep_runs(&self) -> Result<()> {
        let Ok(root) = files::open_dir(&self.options.run.join("containers")) else { return Ok(()) };
        for (name, _) in linux::tree::entries(&root)? {
            let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else { continue };
            if self.data_of(&id).exists() {
                continue;
            }
            // Whoever holds it is removing it just now.
            if let Ok(hold) = Hold::take(&self.run_of(&id)) {
                self.end_cgroup(&id)?;
                drop(hold);
            }
        }
        Ok(())
    }
}

/// Takes the lock of a directory being made or removed; false when somebody else has it.
pub(crate) fn try_lock(dir: impl AsFd) -> bool {
    rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive).is_ok()
}
