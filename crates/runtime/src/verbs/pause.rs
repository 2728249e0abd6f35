//! `pause` and `resume`: the freezer.

use std::path::Path;

use crate::state::{StateDir, Status};
use crate::{Error, Result};

/// Freezes every process of a container.
///
/// # Errors
/// [`Error::Wrong`] for one that does not run.
pub fn pause(root: &Path, id: &str) -> Result<()> {
    let dir = StateDir::at(root, id)?;
    let state = dir.read()?;
    match dir.status(&state)? {
        Status::Running | Status::Created => Ok(state.open_cgroup()?.freeze()?),
        status => Err(Error::Wrong { id: id.to_owned(), status, reason: "container not running or created" }),
    }
}

/// Lets a paused container go on.
///
/// # Errors
/// [`Error::Wrong`] for one that is not paused.
pub fn resume(root: &Path, id: &str) -> Result<()> {
    let dir = StateDir::at(root, id)?;
    let state = dir.read()?;
    match dir.status(&state)? {
        Status::Paused => Ok(state.open_cgroup()?.thaw()?),
        status => Err(Error::Wrong { id: id.to_owned(), status, reason: "container not paused" }),
    }
}
