//! `create`: everything but the user's program, which waits for `start`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, CgroupPath, Controllers, Host};
use oci_spec::runtime::{Hook, Spec};
use rustix::fs::{CWD, Mode, OFlags};

use super::{CONFIG, console, delete, file_error, parse_spec, read_bounded, seccomp_cache, write_atomically};
use crate::launch::{Launch, Launched, Parent, Root, Start, Stdio, launch};
use crate::state::{EXEC_FIFO, State, StateDir, boot_id, process_stat};
use crate::{Error, Result};

/// What `create` and `run` are given.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// Directory of all states.
    pub root: PathBuf,
    /// The container's id.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Unix socket to which the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// Unix socket to which the first process's pidfd is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the first process's id.
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root.
    pub no_pivot: bool,
    /// Join no session keyring.
    pub no_new_keyring: bool,
    /// Descriptors after the standard streams that are handed on.
    pub preserve_fds: u32,
}

/// Creates a container, which waits for `start`.
///
/// # Errors
/// [`Error::Exists`], [`Error::Spec`], and what [`crate::launch()`] says. Nothing is left of a container that failed.
pub fn create(request: &Create) -> Result<Vec<String>> {
    Ok(begin(request, true, true)?.launched.warnings)
}

/// A container that was begun.
pub(super) struct Begun {
    pub dir: StateDir,
    pub state: State,
    pub launched: Launched,
    pub host: Host,
    pub poststop: Vec<Hook>,
}

/// Begins a container: `waiting` for `start` or at once; `detached` from this process or not.
pub(super) fn begin(request: &Create, waiting: bool, detached: bool) -> Result<Begun> {
    let bundle = std::fs::canonicalize(&request.bundle).map_err(|e| file_error(&request.bundle, e))?;
    let config = bundle.join(CONFIG);
    let text = read_bounded(&config)?;
    let mut spec = parse_spec(&config, &text)?;
    if let Some(process) = spec.process_mut().as_mut().filter(|_| !detached) {
        console::adopt_size(process);
    }
    let terminal = spec.process().as_ref().is_some_and(|p| p.terminal().unwrap_or(false));
    check_console(request.console_socket.as_deref(), terminal, detached)?;
    let poststop = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().clone()).unwrap_or_default();
    let host = Host::probe()?;
    let cgroup = cgroup_path(&host, &spec, &request.id)?;
    let dir = StateDir::claim(&request.root, &request.id)?;
    let made = fill(request, &dir, &bundle, &text, spec, (host.clone(), cgroup), waiting);
    if made.is_err() {
        // The first error is the one that matters; what cannot be removed now is found by `delete --force`.
        let _ = delete::destroy(&dir, None);
    }
    let (state, launched) = made?;
    Ok(Begun { dir, state, launched, host, poststop })
}

/// The container's cgroup: one that has processes is somebody else's, and deleting the container would kill them.
fn cgroup_path(host: &Host, spec: &Spec, id: &str) -> Result<CgroupPath> {
    let asked = spec.linux().as_ref().and_then(|l| l.cgroups_path().as_deref()).and_then(Path::to_str);
    let path = CgroupPath::from_spec(asked, &format!("/sampan-{id}"))?;
    if !Cgroup::is_inhabited(host, &path)? {
        return Ok(path);
    }
    Err(Error::Argument {
        what: "linux.cgroupsPath",
        value: path.to_string(),
        reason: "this cgroup has processes already",
    })
}

pub(super) fn check_console(socket: Option<&Path>, terminal: bool, detached: bool) -> Result<()> {
    let wrong = |value: &Path, reason| {
        Err(Error::Argument { what: "--console-socket", value: value.display().to_string(), reason })
    };
    match socket {
        None if terminal && detached => {
            wrong(Path::new(""), "cannot allocate a terminal for a detached process without a console socket")
        }
        None if terminal && !rustix::termios::isatty(std::io::stdin()) => Err(Error::Argument {
            what: "process.terminal",
            value: "true".into(),
            reason: "standard input is no terminal: set it to false, or use --detach with --console-socket",
        }),
        Some(path) if !terminal || !detached => {
            wrong(path, "is of use only for a detached process with a terminal")
        }
        _ => Ok(()),
    }
}

fn fill(
    request: &Create,
    dir: &StateDir,
    bundle: &Path,
    config: &[u8],
    spec: Spec,
    (host, cgroup): (Host, CgroupPath),
    waiting: bool,
) -> Result<(State, Launched)> {
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default();
    let mut state = State {
        oci_version: spec.version().clone(),
        id: request.id.clone(),
        pid: 0,
        bundle: bundle.to_owned(),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
        start_time: 0,
        boot_id: boot_id(),
        created: jiff::Timestamp::now().to_string(),
        rootfs,
        cgroup: cgroup.to_string(),
        owner: rustix::process::getuid().as_raw(),
    };
    // Before anything else is made: whoever finds this directory knows what may have been.
    dir.write(&state)?;
    let copy = dir.path().join(CONFIG);
    std::fs::write(&copy, config).map_err(|e| file_error(&copy, e))?;
    let has_filter = spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some());
    let cache = if has_filter { seccomp_cache(&request.root) } else { None };
    let wanted = Launch {
        id: &request.id,
        spec,
        bundle,
        root: Root::Bundle,
        user: None,
        create_cwd: true,
        reaper: false,
        stdio: Stdio::Inherit,
        start: if waiting { fifo(dir)? } else { Start::Now },
        parent: Parent::Caller,
        cgroup_default: Some(cgroup.to_string()),
        host: Some(host),
        network: None,
        controllers: Controllers::All,
        default_filter: None,
        seccomp_cache: cache.as_deref(),
        keep_fds: request.preserve_fds,
        no_pivot: request.no_pivot,
        no_new_keyring: request.no_new_keyring,
        explain: None,
    };
    let launched = launch(wanted)?;
    state.pid = launched.pid.as_raw_nonzero().get();
    // A program that ended at once is a zombie of ours until it is waited for, so it has a start time.
    state.start_time = process_stat(launched.pid).map_or(0, |(start_time, _)| start_time);
    dir.write(&state)?;
    hand_out(request, &state, &launched)?;
    Ok((state, launched))
}

/// Gives the callers what they asked for: terminal, pidfd, pid file (last: it says that the container is there).
fn hand_out(request: &Create, state: &State, launched: &Launched) -> Result<()> {
    if let (Some(path), Some(master)) = (&request.console_socket, &launched.terminal) {
        console::send(path, master.as_fd(), b"/dev/ptmx")?;
    }
    if let Some(path) = &request.pidfd_socket {
        console::send(path, launched.pidfd.as_fd(), b"pidfd")?;
    }
    request
        .pid_file
        .as_deref()
        .map_or(Ok(()), |path| write_atomically(path, state.pid.to_string().as_bytes()))
}

fn fifo(dir: &StateDir) -> Result<Start> {
    let path = dir.path().join(EXEC_FIFO);
    rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(|e| file_error(&path, e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(CWD, dir.path(), flags, Mode::empty()).map_err(|e| file_error(dir.path(), e))?;
    Ok(Start::Fifo(fd))
}
