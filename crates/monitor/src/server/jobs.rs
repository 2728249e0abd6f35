//! What a creator does in its fork: start the container, or another process in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use fault::{Fault, Kind};
use linux::SeqSocket;
use oci_spec::runtime::{
    BoxBuilder as ConsoleSizeBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, MountBuilder, Process, Spec,
};
use rustix::fs::{Mode, OFlags};

use super::Monitor;
use super::creator::{Work, packet};
use crate::protocol::{self, Event, Failure};
use crate::task::Task;
use crate::{Error, Result, files};

/// Where POSIX shared memory is.
const SHM: &str = "/dev/shm";
/// `f_type` of tmpfs (`linux/magic.h`).
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// Most bytes of a container's `config.json`.
const MAX_CONFIG: u64 = 8 << 20;

/// What the forked creator needs to start the container.
pub(super) struct ContainerJob {
    pub(super) stdio: runtime::Stdio,
    pub(super) explain: bool,
    pub(super) size: Option<(u16, u16)>,
    /// A network namespace that nobody is in yet.
    pub(super) network: Option<OwnedFd>,
}

/// Starts the container, in the creator.
pub(super) fn container(monitor: &Monitor, socket: &SeqSocket, job: ContainerJob) -> Result<Work, Failure> {
    let task = &monitor.task;
    let (spec, _held) = container_spec(monitor, job.size).map_err(|error| Failure::of(&error))?;
    let annotations = spec.annotations().clone().unwrap_or_default().into_iter().collect();
    let oci_version = spec.version().clone();
    let mut tell = |step: runtime::StepReport| {
        // A client that has gone needs no steps.
        let _ = socket.send(&packet(protocol::JSON, &Event::Step(step)), &[]);
    };
    let launched = runtime::launch(runtime::Launch {
        id: &task.id,
        spec,
        bundle: &monitor.data,
        root: task.overlay.clone().map_or(runtime::Root::Bundle, runtime::Root::Overlay),
        user: task.user.clone(),
        create_cwd: task.create_cwd,
        reaper: task.reaper,
        stdio: job.stdio,
        start: runtime::Start::Now,
        parent: runtime::Parent::Sibling,
        cgroup_default: Some(task.cgroup.clone()),
        host: monitor.host.clone(),
        network: job.network,
        controllers: task.controllers.clone(),
        default_filter: task.default_filter,
        seccomp_cache: task.seccomp_cache.as_deref(),
        keep_fds: 0,
        no_pivot: false,
        no_new_keyring: false,
        explain: if job.explain { Some(&mut tell) } else { None },
    })
    .map_err(|error| failure_of(&error))?;
    let state = runtime::State {
        oci_version,
        id: task.id.clone(),
        pid: launched.pid.as_raw_nonzero().get(),
        bundle: monitor.data.clone(),
        annotations,
        start_time: runtime::state::process_stat(launched.pid).map_or(0, |(start_time, _)| start_time),
        boot_id: runtime::state::boot_id(),
        created: logs::Timestamp::now().to_string(),
        rootfs: task
            .overlay
            .as_ref()
            .map_or_else(|| monitor.data.clone(), |overlay| overlay.mount_at.clone()),
        cgroup: task.cgroup.clone(),
        owner: 0,
    };
    if let Err(error) = files::write_json(&monitor.run, files::STATE, &state, false) {
        // Without it nobody could adopt the container.
        let _ = launched.pidfd.kill();
        return Err(Failure::of(&error));
    }
    Ok(Work { pid: launched.pid, terminal: launched.terminal, warnings: launched.warnings })
}

/// docker's exit code of a start that failed: 127 for a program that is not there, 126 for one that cannot be executed.
pub(super) fn failure_of(error: &runtime::Error) -> Failure {
    let exit = match error {
        runtime::Error::Exec { errno: rustix::io::Errno::NOENT, .. } => 127,
        runtime::Error::Exec { .. } => 126,
        _ => 125,
    };
    Failure::of(error as &dyn Fault).with_exit(exit)
}

/// The configuration as it is for this start, and descriptors that it names and that must stay open.
fn container_spec(monitor: &Monitor, size: Option<(u16, u16)>) -> Result<(Spec, Vec<OwnedFd>)> {
    let mut spec = read_spec(monitor)?;
    if let Some(process) = spec.process_mut() {
        set_terminal(process, monitor.task.tty, size)?;
    }
    let held = join(&mut spec, &monitor.task, monitor.run.parent().unwrap_or(&monitor.run))?;
    Ok((spec, held))
}

/// An exec's OCI `process` document.
pub(super) enum Document {
    /// As it came in the request.
    Text(String),
    /// A file that the client filled.
    Memfd(OwnedFd),
}

/// What the forked creator needs for another process.
pub(super) struct ExecJob<'a> {
    pub(super) document: &'a Document,
    pub(super) user: Option<String>,
    /// Of the terminal, if it has one.
    pub(super) size: Option<(u16, u16)>,
    /// Its standard streams; none gives it a terminal.
    pub(super) stdio: &'a [OwnedFd],
}

/// Starts another process in the container, in the creator.
pub(super) fn exec(monitor: &Monitor, job: ExecJob<'_>) -> Result<Work, Failure> {
    let prepared = prepare_exec(monitor, &job).map_err(|error| Failure::of(&error))?;
    let (state, spec, process, stdio) = prepared;
    let request = runtime::ExecRequest {
        process,
        filter: runtime::Filter::of(&spec, monitor.task.default_filter),
        user: job.user,
        stdio,
        parent: runtime::Parent::Sibling,
        seccomp_cache: monitor.task.seccomp_cache.as_deref(),
        keep_fds: 0,
    };
    let launched = runtime::exec(&state, request).map_err(|error| failure_of(&error))?;
    Ok(Work { pid: launched.pid, terminal: launched.terminal, warnings: launched.warnings })
}

fn prepare_exec(
    monitor: &Monitor,
    job: &ExecJob<'_>,
) -> Result<(runtime::State, Spec, Process, runtime::Stdio)> {
    let text = match job.document {
        Document::Text(text) => text.clone(),
        Document::Memfd(memfd) => read_memfd(memfd)?,
    };
    let mut process: Process = serde_json::from_str(&text)
        .map_err(|source| Error::Document { path: "the exec's process".into(), source })?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(Error::file("dup", "stdio"));
    let stdio = match job.stdio {
        [stdin, stdout, stderr] => {
            runtime::Stdio::Fds { stdin: copy(stdin)?, stdout: copy(stdout)?, stderr: copy(stderr)? }
        }
        _ => runtime::Stdio::Terminal,
    };
    set_terminal(&mut process, matches!(stdio, runtime::Stdio::Terminal), job.size)?;
    let state = files::read_json(&monitor.run.join(files::STATE))?;
    Ok((state, read_spec(monitor)?, process, stdio))
}

/// By offset, since the client's and our descriptors share one position.
fn read_memfd(memfd: &OwnedFd) -> Result<String> {
    use std::os::unix::fs::FileExt;
    let path = Path::new("the exec's process");
    let file = File::from(memfd.as_fd().try_clone_to_owned().map_err(Error::file("dup", path))?);
    let size = file.metadata().map_err(Error::file("stat", path))?.len();
    if size > protocol::MAX_PROCESS {
        return Err(Error::TooLarge { path: path.into(), limit: protocol::MAX_PROCESS });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(Error::file("read", path))?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Kind::Invalid, "the exec's process document is no UTF-8").into())
}

fn read_spec(monitor: &Monitor) -> Result<Spec> {
    let path = monitor.data.join(files::CONFIG);
    let mut text = Vec::new();
    let file = File::open(&path).map_err(Error::file("open", &path))?;
    file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(Error::file("read", &path))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(Error::TooLarge { path, limit: MAX_CONFIG });
    }
    serde_json::from_slice(&text).map_err(|source| Error::Document { path, source })
}

fn set_terminal(process: &mut Process, tty: bool, size: Option<(u16, u16)>) -> Result<()> {
    process.set_terminal(Some(tty));
    if let (true, Some((rows, cols))) = (tty, size) {
        let size = ConsoleSizeBuilder::default().height(rows).width(cols).build();
        process.set_console_size(Some(size.map_err(|error| Failure::new(Kind::System, error.to_string()))?));
    }
    Ok(())
}

/// Points the namespaces that are other containers' at their processes of now.
fn join(spec: &mut Spec, task: &Task, containers: &Path) -> Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    for join in &task.join {
        let (kind, file) = match join.kind.as_str() {
            "network" => (LinuxNamespaceType::Network, "net"),
            "pid" => (LinuxNamespaceType::Pid, "pid"),
            "ipc" => (LinuxNamespaceType::Ipc, "ipc"),
            "uts" => (LinuxNamespaceType::Uts, "uts"),
            other => {
                let reason = format!("cannot join a {other} namespace of another container");
                return Err(Failure::new(Kind::Invalid, reason).into());
            }
        };
        // The id becomes a part of a path.
        let id = &join.container_id;
        let plain = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let state: Option<runtime::State> =
            plain.then(|| files::read_json(&containers.join(id).join(files::STATE)).ok()).flatten();
        let alive = state.filter(|state| matches!(state.process(), Ok(Some(_))));
        let Some(state) = alive else {
            let reason =
                format!("cannot join the {} namespace of container {id}: it is not running", join.kind);
            return Err(Failure::new(Kind::Conflict, reason).into());
        };
        let namespace = LinuxNamespaceBuilder::default()
            .typ(kind)
            .path(format!("/proc/{}/ns/{file}", state.pid))
            .build()
            .map_err(|error| Failure::new(Kind::System, error.to_string()))?;
        if let Some(linux) = spec.linux_mut() {
            let mut namespaces = linux.namespaces().clone().unwrap_or_default();
            namespaces.retain(|namespace| namespace.typ() != kind);
            namespaces.push(namespace);
            linux.set_namespaces(Some(namespaces));
        }
        if kind == LinuxNamespaceType::Ipc {
            held.push(share_memory(spec, state.pid)?);
        }
    }
    Ok(held)
}

/// POSIX shared memory is files in `/dev/shm`, so who shares another container's IPC shares that file system too. It is
/// found inside the other's root, where a symbolic link cannot lead out, and named by its descriptor.
fn share_memory(spec: &mut Spec, pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/mnt");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| linux::Error::on("open", path, errno))?;
    let shared = linux::mount::clone_foreign(&namespace, Path::new(SHM), true)?;
    let kind = rustix::fs::fstatfs(&shared).map_err(|errno| linux::Error::new("fstatfs", errno))?.f_type;
    if u64::try_from(kind) != Ok(TMPFS_MAGIC) {
        let reason = "the other container's /dev/shm is no file system of its own, so it cannot be shared";
        return Err(Failure::new(Kind::Conflict, reason).into());
    }
    let shared = OwnedFd::from(shared);
    let mount = MountBuilder::default()
        .destination(SHM)
        .typ("bind")
        .source(format!("/proc/self/fd/{}", shared.as_raw_fd()))
        .options(["rbind", "rprivate", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec())
        .build()
        .map_err(|error| Failure::new(Kind::System, error.to_string()))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    // In the place of its own, so that what is mounted below stays behind it.
    match mounts.iter().position(|own| own.destination().as_path() == Path::new(SHM)) {
        Some(at) => mounts[at] = mount,
        None => mounts.push(mount),
    }
    spec.set_mounts(Some(mounts));
    Ok(shared)
}
