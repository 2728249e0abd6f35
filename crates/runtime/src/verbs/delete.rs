//! `delete`: nothing of a container is left, whatever state a crash has left it in.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{CONFIG, parse_spec, read_bounded};
use crate::hooks;
use crate::state::{State, StateDir, Status};
use crate::{Error, Result};

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container that has stopped or was not started, or any with `force`. With `force`, one that does not exist
/// is no error. Returns warnings.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Wrong`] for one that runs.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>> {
    let dir = StateDir::at(root, id)?;
    let state = match dir.read() {
        // A creation that was killed before its first state had made nothing but the directory.
        Err(Error::NotFound(_)) if force || dir.exists() => {
            dir.remove()?;
            return Ok(Vec::new());
        }
        other => other?,
    };
    let status = dir.status(&state)?;
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(Error::Wrong {
            id: id.to_owned(),
            status,
            reason: "cannot delete container that is not stopped",
        });
    }
    destroy(&dir, Some(&state))
}

/// Kills what runs, removes the cgroup, runs `poststop` hooks, and removes the state last, so that it can be done again
/// after a crash at any point.
pub(super) fn destroy(dir: &StateDir, state: Option<&State>) -> Result<Vec<String>> {
    let read;
    let state = match state {
        Some(state) => state,
        None => {
            read = dir.read()?;
            &read
        }
    };
    let cgroup = state.open_cgroup()?;
    if !cgroup.is_gone() && !cgroup.pids()?.is_empty() {
        cgroup.kill()?;
    }
    if let Some(pidfd) = state.process()? {
        pidfd.kill()?;
        let until = Instant::now() + PATIENCE;
        while state.process()?.is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    cgroup.remove()?;
    let config = dir.path().join(CONFIG);
    let mut warnings = Vec::new();
    // A creation that was killed early has no configuration yet, and no hook of it has run.
    if state.pid != 0
        && let Ok(spec) = read_bounded(&config).and_then(|text| parse_spec(&config, &text))
    {
        let list = spec.hooks().as_ref().and_then(|h| h.poststop().clone()).unwrap_or_default();
        let failed = hooks::run_all("poststop", &list, &hooks::State::of(state), "stopped");
        warnings.extend(failed.iter().map(ToString::to_string));
    }
    dir.remove()?;
    Ok(warnings)
}
