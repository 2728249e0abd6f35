//! `start`: lets the user's program of a created container begin.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{CONFIG, file_error, parse_spec, read_bounded};
use crate::hooks;
use crate::state::{EXEC_FIFO, StateDir, Status};
use crate::{Error, Result};

/// Starts a created container; returns warnings.
///
/// # Errors
/// [`Error::Wrong`] for one that is not waiting.
pub fn start(root: &Path, id: &str) -> Result<Vec<String>> {
    let dir = StateDir::at(root, id)?;
    let state = dir.read()?;
    let status = dir.status(&state)?;
    let wrong = |status| Error::Wrong {
        id: id.to_owned(),
        status,
        reason: match status {
            Status::Stopped => "cannot start a container that has stopped",
            _ => "cannot start an already running container",
        },
    };
    if status != Status::Created {
        return Err(wrong(status));
    }
    let path = dir.path().join(EXEC_FIFO);
    let fifo = match rustix::fs::openat(
        CWD,
        &path,
        OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        // Nobody reads any more.
        Err(Errno::NXIO) => return Err(wrong(Status::Stopped)),
        Err(Errno::NOENT) => return Err(wrong(Status::Running)),
        other => other.map_err(|e| file_error(&path, e))?,
    };
    // Of two starts at once the one that removes it goes on.
    match rustix::fs::unlink(&path) {
        Err(Errno::NOENT) => return Err(wrong(Status::Running)),
        other => other.map_err(|e| file_error(&path, e))?,
    }
    linux::tree::write_all(&fifo, b"1")?;
    let config = dir.path().join(CONFIG);
    let spec = parse_spec(&config, &read_bounded(&config)?)?;
    let list = spec.hooks().as_ref().and_then(|h| h.poststart().clone()).unwrap_or_default();
    let told = hooks::State::of(&state);
    // The specification: a poststart hook that fails is logged, and the container goes on.
    Ok(hooks::run_all("poststart", &list, &told, "running").iter().map(ToString::to_string).collect())
}
