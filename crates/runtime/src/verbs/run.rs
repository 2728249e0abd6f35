//! `run`: create, start, stay until the end, delete.

use super::create::{Begun, Create, begin};
use super::{console, delete};
use crate::Result;

/// What `run` is given beyond `create`'s.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The container.
    pub create: Create,
    /// Return once the user's program runs.
    pub detach: bool,
    /// Do not become the subreaper of what the container's processes leave behind.
    pub no_subreaper: bool,
    /// Keep the state after the end.
    pub keep: bool,
}

/// Runs a container; returns its exit code (0 when detached), 128 + n for a signal, and warnings.
///
/// # Errors
/// As [`super::create`].
pub fn run(request: &Run) -> Result<(i32, Vec<String>)> {
    if !request.no_subreaper && !request.detach {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|errno| linux::Error::new("prctl(PR_SET_CHILD_SUBREAPER)", errno))?;
    }
    let Begun { dir, state, launched, host, poststop } = begin(&request.create, false, request.detach)?;
    if request.detach {
        return Ok((0, launched.warnings));
    }
    let code = console::attend(&launched.pidfd, launched.terminal);
    if !request.keep {
        delete::clear(&dir, &state, &host, &poststop)?;
    }
    Ok((code?, launched.warnings))
}
