//! Hooks (runtime-spec config.md, "POSIX-platform Hooks"): the state on stdin, a bound in time, the end of stderr in the
//! error.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::{Hook, Hooks};
use rustix::fs::MemfdFlags;
use rustix::process::Pid;

use crate::{Error, Result};

/// For hooks that set no timeout: nothing here waits for ever.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// How much of a failed hook's stderr is shown.
const SHOWN: u64 = 2048;

/// What a hook reads on stdin: the container's state (runtime.md, "State").
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub id: String,
    pub bundle: String,
    pub pid: i32,
    pub oci_version: String,
    pub annotations: std::collections::HashMap<String, String>,
}

impl State {
    /// What hooks are told of a container with a state.
    pub(crate) fn of(state: &crate::State) -> Self {
        Self {
            id: state.id.clone(),
            bundle: state.bundle.to_string_lossy().into_owned(),
            pid: state.pid,
            oci_version: state.oci_version.clone(),
            annotations: state.annotations.clone().into_iter().collect(),
        }
    }

    fn json(&self, status: &str) -> String {
        serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "pid": self.pid,
            "bundle": self.bundle,
            "annotations": self.annotations,
        })
        .to_string()
    }
}

/// Whether hooks must run in the runtime's namespaces before the root changes.
pub(crate) fn has_runtime_hooks(hooks: &Hooks) -> bool {
    [hooks.prestart(), hooks.create_runtime()].into_iter().flatten().any(|list| !list.is_empty())
}

/// Runs `prestart` and `createRuntime`.
///
/// # Errors
/// The first hook that failed.
pub(crate) fn run_runtime_hooks(hooks: &Hooks, state: &State) -> Result<()> {
    run("prestart", hooks.prestart().as_deref().unwrap_or_default(), state, "creating")?;
    run("createRuntime", hooks.create_runtime().as_deref().unwrap_or_default(), state, "creating")
}

/// Runs a list of hooks in order, up to the first that fails.
///
/// # Errors
/// That hook's [`Error::Hook`].
pub(crate) fn run(kind: &'static str, list: &[Hook], state: &State, status: &str) -> Result<()> {
    list.iter().try_for_each(|hook| {
        one(hook, &state.json(status)).map_err(|reason| Error::Hook {
            kind,
            path: hook.path().clone(),
            reason,
        })
    })
}

/// Runs every hook of a list, whatever the others do, and returns what failed: `poststart` and `poststop` stop nothing.
pub(crate) fn run_all(kind: &'static str, list: &[Hook], state: &State, status: &str) -> Vec<Error> {
    list.iter().filter_map(|hook| run(kind, std::slice::from_ref(hook), state, status).err()).collect()
}

fn one(hook: &Hook, state: &str) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let stderr = rustix::fs::memfd_create("hook-stderr", MemfdFlags::CLOEXEC).map_err(|e| e.to_string())?;
    let mut stderr = std::fs::File::from(stderr);
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for (key, value) in hook.env().iter().flatten().filter_map(|entry| entry.split_once('=')) {
        command.env(key, value);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr.try_clone().map_err(said)?);
    let mut child = command.spawn().map_err(said)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its stdin is fine.
        let _ = stdin.write_all(state.as_bytes());
    }
    let seconds = hook.timeout().and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0);
    let timeout = seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    if !ended_within(&child, timeout)? {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("did not end within {} s", timeout.as_secs()));
    }
    let status = child.wait().map_err(said)?;
    if status.success() {
        return Ok(());
    }
    let length = stderr.seek(SeekFrom::End(0)).map_err(said)?;
    stderr.seek(SeekFrom::Start(length.saturating_sub(SHOWN))).map_err(said)?;
    let mut text = Vec::new();
    stderr.take(SHOWN).read_to_end(&mut text).map_err(said)?;
    Err(format!("{status}: {}", String::from_utf8_lossy(&text).trim()))
}

fn ended_within(child: &std::process::Child, timeout: Duration) -> Result<bool, String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no pid")?;
    let pidfd = linux::PidFd::open(pid).map_err(|e| e.to_string())?;
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match rustix::event::poll(&mut fds, Some(&limit)) {
        Ok(n) => Ok(n > 0),
        Err(errno) => Err(errno.to_string()),
    }
}
