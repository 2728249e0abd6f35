//! `delete`: nothing of a container is left, whatever state a crash has left it in.

use std::path::Path;
use std::time::{Duration, Instant};

use cgroup::{Cgroup, Host};
use oci_spec::runtime::Hook;

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

/// [`clear`] for a container of another command, or of one that failed.
pub(super) fn destroy(dir: &StateDir, state: Option<&State>) -> Result<Vec<String>> {
    let read;
    let state = match state {
        Some(state) => state,
        None => {
            read = dir.read()?;
            &read
        }
    };
    let config = dir.path().join(CONFIG);
    // A creation that was killed early has no configuration yet, and no hook of it has run.
    let spec = read_bounded(&config).and_then(|text| parse_spec(&config, &text)).ok();
    let hooks = spec.as_ref().and_then(|spec| spec.hooks().as_ref()?.poststop().as_deref());
    clear(dir, state, &Host::probe()?, hooks.unwrap_or_default())
}

/// Kills what runs, removes the cgroup, runs `poststop` hooks, and removes the state last, so that it can be done again
/// after a crash at any point.
pub(super) fn clear(dir: &StateDir, state: &State, host: &Host, poststop: &[Hook]) -> Result<Vec<String>> {
    let path = state.cgroup_path()?;
    let left = if Cgroup::remove_if_empty(host, &path)? { None } else { Some(Cgroup::open(host, &path)?) };
    if let Some(cgroup) = &left
        && !cgroup.pids()?.is_empty()
    {
        cgroup.kill()?;
    }
    if let Some(pidfd) = state.process()? {
        pidfd.kill()?;
        let until = Instant::now() + PATIENCE;
        while state.process()?.is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    left.map_or(Ok(()), Cgroup::remove)?;
    let mut warnings = Vec::new();
    if state.pid != 0 {
        let failed = hooks::run_all("poststop", poststop, &hooks::State::of(state), "stopped");
        warnings.extend(failed.iter().map(ToString::to_string));
    }
    dir.remove()?;
    Ok(warnings)
}
