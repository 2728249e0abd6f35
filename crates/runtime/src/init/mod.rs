//! The container's first process, from clone3 to execve: it applies the [`Plan`] step by step.
//!
//! Everything that needs the host's files was opened by the creator and is inherited as descriptors; what is opened here
//! is opened inside the container's root by [`RootDir`].

mod dev;
mod mounts;
mod paths;
mod reaper;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Controllers;
use linux::mount::MountAttr;
use linux::{MountFd, Namespaces, Propagation, RootDir, SeqSocket};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{DumpableBehavior, Signal};

use crate::hooks;
use crate::plan::{NamespacePlan, Plan};
use crate::process::{Context, Entered, LoadFilter, trusted_proc, write_proc};
use crate::step::{Cause, Failure, Frame, Reporter, Step, failure, send};

/// What the creator made and opened for init.
pub(crate) struct Prepared {
    /// The root: an overlay, or a copy of the bundle's root filesystem.
    pub root: MountFd,
    /// Where the root is attached inside the new mount namespace before it becomes `/`.
    pub attach_at: PathBuf,
    /// The source of each bind mount, by the mount's index.
    pub binds: Vec<Option<MountFd>>,
    /// Where device nodes come from.
    pub nodes: Nodes,
    /// The host's `/dev/null` likewise, for masks.
    pub host_null: Option<MountFd>,
    /// Namespaces to join.
    pub joins: Vec<Join>,
    /// The network namespace that is used in the place of a new one.
    pub network: Option<OwnedFd>,
    /// The creator has something to do for this process: id maps, cgroups.
    pub wait_for_go: bool,
    /// The v1 hierarchies in which it has a cgroup of its own.
    pub controllers: Controllers,
    /// That was waited for, and this process is in its cgroup and cgroup namespace.
    pub in_cgroup: bool,
    /// The system call filter.
    pub filter: Option<LoadFilter>,
    /// The three standard streams, where they are not inherited.
    pub stdio: Option<[OwnedFd; 3]>,
    /// `exec.fifo`, open for reading: the start is a byte written to it.
    pub start: Option<OwnedFd>,
    /// Docker's user.
    pub user: Option<String>,
    /// Make the working directory.
    pub create_cwd: bool,
    /// Stay as pid 1 and reap.
    pub reaper: bool,
    /// Descriptors to hand on.
    pub keep_fds: u32,
    /// Do not pivot_root (the root is on an initramfs).
    pub no_pivot: bool,
    /// Join no session keyring.
    pub no_new_keyring: bool,
    /// The terminal is wanted.
    pub terminal: bool,
    /// What hooks are told.
    pub hook_state: hooks::State,
    /// Report each step.
    pub explain: bool,
}

/// A namespace to join: its kind, its path and the file there.
pub(crate) type Join = (Namespaces, PathBuf, OwnedFd);

/// Where a container's device nodes come from.
pub(crate) enum Nodes {
    /// They are made in its `/dev`.
    Make,
    /// From a filesystem that the creator made for them; each one's name is its index in the plan.
    Made(MountFd),
    /// The host's own, in the order of the plan.
    Host(Vec<MountFd>),
}

/// Runs init to its end. Returns only when the start failed: the exit status then.
pub(crate) fn run(plan: Plan, prepared: Prepared, socket: &SeqSocket) -> i32 {
    let mut report = Reporter::to_creator(socket, prepared.explain);
    let failure = match start(plan, prepared, socket, &mut report) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if send(socket, &Frame::Failed(failure.clone()), &[]).is_err() {
        // A created container's creator is gone by the time of its start: the last place to say it is stderr.
        let text = format!("sampan: error: {}\n", crate::Error::from(failure));
        let _ = rustix::io::write(std::io::stderr(), text.as_bytes());
    }
    1
}

fn start(
    plan: Plan,
    mut prepared: Prepared,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<Infallible, Failure> {
    protect().map_err(|error| failure(Step::Clone(plan.namespaces.new), error))?;
    rustix::process::umask(Mode::empty());
    let attach_at = enter_namespaces(&plan, &mut prepared, socket, report)?;
    if let Some(streams) = prepared.stdio.take() {
        use linux::descriptor::{StdStream, redirect};
        for (fd, stream) in streams.iter().zip([StdStream::Stdin, StdStream::Stdout, StdStream::Stderr]) {
            redirect(fd.as_fd(), stream).map_err(|error| failure(Step::Terminal, error.into()))?;
        }
    }
    let proc = prepare_proc(&plan, report)?;
    name_host(&plan, report)?;
    let root = build_root(&plan, &mut prepared, &attach_at, socket, report)?;
    for (key, value) in &plan.sysctl {
        report.step(Step::Sysctl(key, value), || {
            // Its file is the host's root's to write, in whatever uts namespace (`kernel/utsname_sysctl.c`).
            if plan.namespaces.user() && key == "kernel/domainname" {
                return rustix::system::setdomainname(value.as_bytes()).map_err(Cause::from);
            }
            let proc = proc.as_ref().ok_or(Errno::NOENT)?;
            write_proc(proc, &format!("sys/{key}"), value.as_bytes()).map_err(Cause::from)
        })?;
    }
    run_hooks(&plan, &prepared, socket, report)?;
    change_root(&plan, &prepared, root, report)?;
    finish(plan, prepared, proc, socket, report)
}

/// Nobody may trace this process or read its descriptors while it holds the host's, and it does not outlive its creator.
fn protect() -> Result<(), Cause> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the directory where the root is attached: it is opened in the container's mount namespace, but while this process
/// is still the host's root for it, since the way there may be closed to others (`/run/sampan` is 0700).
fn enter_namespaces(
    plan: &Plan,
    prepared: &mut Prepared,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<OwnedFd, Failure> {
    for (kind, path, fd) in &prepared.joins {
        report.step(Step::JoinNamespace(*kind, path), || linux::setns(fd, *kind))?;
    }
    if let Some(network) = prepared.network.take() {
        report.step(Step::OwnNetwork, || linux::setns(network, Namespaces::NET))?;
    }
    let spaces = &plan.namespaces;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let attach_at = rustix::fs::open(&prepared.attach_at, flags, Mode::empty())
        .map_err(|errno| linux::Error::on("open", prepared.attach_at.to_string_lossy(), errno))
        .map_err(|error| failure(Step::Root(&prepared.attach_at), error.into()))?;
    if spaces.user() {
        // Nothing can be done in a user namespace before it has its maps.
        enter_cgroup(plan, prepared, socket, report)?;
        report.step(Step::BecomeRoot, become_root)?;
    }
    if !prepared.no_new_keyring {
        let joined =
            report.step(Step::Keyring, || match linux::keyring::join_new_session(c"_ses.sampan") {
                Err(error) if error.errno == Errno::NOSYS => Ok(None),
                Err(error) if error.errno == Errno::DQUOT => {
                    Ok(Some("no session keyring: the quota of keys is used up"))
                }
                other => other.map(|()| None),
            })?;
        if let Some(text) = joined {
            report.warn(text.into());
        }
    }
    if spaces.new.contains(Namespaces::NET) {
        report.step(Step::Loopback, linux::netif::loopback_up)?;
    }
    Ok(attach_at)
}

/// Waits for what the creator does for this process, and enters the cgroup that it made. As late as possible, since the
/// two work at the same time: only the mounts of cgroups, a user namespace and hooks need it. The second time it does
/// nothing.
fn enter_cgroup(
    plan: &Plan,
    prepared: &mut Prepared,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<(), Failure> {
    if std::mem::replace(&mut prepared.in_cgroup, true) {
        return Ok(());
    }
    if prepared.wait_for_go {
        let step = Step::JoinCgroup(plan.cgroup_path.as_deref().unwrap_or(Path::new("")));
        let entrance = wait_for_go(socket).map_err(|cause| failure(step, cause))?;
        report.step(step, || cgroup::enter(&entrance).map_err(|error| Cause::Reason(error.to_string())))?;
    }
    // The root of a cgroup namespace is the cgroup that its maker is in.
    if plan.namespaces.new.contains(Namespaces::CGROUP) {
        report.step(Step::CgroupNamespace, || linux::unshare(Namespaces::CGROUP))?;
    }
    Ok(())
}

/// Becomes root as the user namespace numbers users: until now this process is the host's, whom nothing inside belongs to.
pub(crate) fn become_root() -> Result<(), linux::Error> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let on = |call| move |errno| linux::Error::new(call, errno);
    match set_thread_groups(&[]) {
        Err(Errno::PERM) => {}
        other => other.map_err(on("setgroups"))?,
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(on("setresgid"))?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(on("setresuid"))?;
    // The change of ids has cleared both.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(on("prctl(PR_SET_DUMPABLE)"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(on("prctl(PR_SET_PDEATHSIG)"))
}

/// Waits until the creator says that its part is done; returns the descriptors that it sends along.
fn wait_for_go(socket: &SeqSocket) -> Result<Vec<OwnedFd>, Cause> {
    let gone = || Cause::Reason("the creator ended".into());
    let mut buffer = [0; 64];
    let received = socket.recv(&mut buffer)?.ok_or_else(gone)?;
    match serde_json::from_slice(&buffer[..received.len]) {
        Ok(Frame::Go) => Ok(received.fds),
        _ => Err(gone()),
    }
}

/// A procfs of the container's pid namespace that only this process can reach, when something must be written there.
fn prepare_proc(plan: &Plan, report: &mut Reporter<'_>) -> Result<Option<OwnedFd>, Failure> {
    let process = &plan.process;
    let offsets = &plan.namespaces.time_offsets;
    let needed = !plan.sysctl.is_empty()
        || !offsets.is_empty()
        || process.oom_score_adj.is_some()
        || process.apparmor.is_some()
        || process.selinux.is_some();
    if !needed {
        return Ok(None);
    }
    let proc = trusted_proc().map_err(|error| failure(Step::Sysctl("", ""), error.into()))?;
    if !offsets.is_empty() {
        report.step(Step::TimeOffsets(offsets), || set_time_offsets(&plan.namespaces, &proc))?;
    }
    Ok(Some(proc))
}

/// A time namespace takes offsets only while nobody is in it, so it is made for the children first and entered then.
fn set_time_offsets(plan: &NamespacePlan, proc: &OwnedFd) -> Result<(), linux::Error> {
    linux::unshare(Namespaces::TIME)?;
    let mut text = String::new();
    for offset in &plan.time_offsets {
        text.push_str(&format!("{} {} {}\n", offset.clock, offset.secs, offset.nanosecs));
    }
    write_proc(proc, "self/timens_offsets", text.as_bytes())?;
    let own = rustix::fs::openat(
        proc,
        "self/ns/time_for_children",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| linux::Error::on("openat", "/proc/self/ns/time_for_children", errno))?;
    linux::setns(&own, Namespaces::TIME)
}

fn name_host(plan: &Plan, report: &mut Reporter<'_>) -> Result<(), Failure> {
    if let Some(name) = &plan.hostname {
        report.step(Step::Hostname(name), || rustix::system::sethostname(name.as_bytes()))?;
    }
    if let Some(name) = &plan.domainname {
        report.step(Step::Domainname(name), || rustix::system::setdomainname(name.as_bytes()))?;
    }
    Ok(())
}

/// Attaches the root and everything in it.
fn build_root(
    plan: &Plan,
    prepared: &mut Prepared,
    attach_at: &OwnedFd,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<RootDir, Failure> {
    // pivot_root wants a parent that is not shared, and nothing mounted here may reach the host.
    report.step(Step::Propagation, || linux::mount::set_root_propagation(Propagation::Slave))?;
    let masks = match plan.masked.first() {
        Some(first) => report.step(Step::Mask(first), || {
            paths::Masks::new(attach_at, prepared.host_null.as_ref()).map(Some)
        })?,
        None => None,
    };
    let root = report.step(Step::Root(&prepared.attach_at), || {
        if let Nodes::Made(nodes) = &prepared.nodes {
            // As the masks: the root will cover it, and kernels before 6.15 copy attached mounts only.
            nodes.attach(attach_at)?;
        }
        prepared.root.attach(attach_at)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&prepared.root, ".", flags, Mode::empty())
            .map_err(|errno| linux::Error::new("openat", errno))?;
        Ok::<_, linux::Error>(RootDir::from_fd(fd))
    })?;
    let mounted = mounts::mount_all(plan, prepared, &root, socket, report)?;
    enter_cgroup(plan, prepared, socket, report)?;
    if plan.setup_dev {
        dev::make(plan, &prepared.nodes, &root, report)?;
    }
    if prepared.terminal {
        report.step(Step::Terminal, || dev::terminal(plan, &mounted, &root, socket))?;
    }
    for mount in &mounted.read_only_later {
        let attr = MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() };
        mount.set_attr(&attr, false).map_err(|error| failure(Step::ReadOnlyRoot, error.into()))?;
    }
    paths::protect(plan, masks.as_ref(), &root, report)?;
    if plan.read_only_root {
        let attr = MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() };
        report.step(Step::ReadOnlyRoot, || prepared.root.set_attr(&attr, false))?;
    }
    Ok(root)
}

fn run_hooks(
    plan: &Plan,
    prepared: &Prepared,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<(), Failure> {
    let Some(hooks) = &plan.hooks else { return Ok(()) };
    if hooks::has_runtime_hooks(hooks) {
        report.step(Step::Hooks("createRuntime"), || {
            send(socket, &Frame::NeedHooks, &[])?;
            wait_for_go(socket).map(drop)
        })?;
    }
    if let Some(list) = hooks.create_container().as_deref().filter(|l| !l.is_empty()) {
        report.step(Step::Hooks("createContainer"), || {
            hooks::run("createContainer", list, &prepared.hook_state, "creating")
                .map_err(|error| Cause::Reason(error.to_string()))
        })?;
    }
    Ok(())
}

fn change_root(
    plan: &Plan,
    prepared: &Prepared,
    root: RootDir,
    report: &mut Reporter<'_>,
) -> Result<(), Failure> {
    report.step(Step::PivotRoot, || {
        let on = |call| move |errno| linux::Error::new(call, errno);
        rustix::process::fchdir(&root).map_err(on("fchdir"))?;
        if prepared.no_pivot {
            // The root filesystem of an initramfs cannot be pivoted away from; move the mount over it instead.
            rustix::mount::mount_move(".", "/").map_err(on("mount(MS_MOVE)"))?;
            rustix::process::chroot(".").map_err(on("chroot"))?;
        } else {
            // The old root ends up on top of the new one, at the working directory (pivot_root(2), NOTES).
            rustix::process::pivot_root(".", ".").map_err(on("pivot_root"))?;
            linux::mount::detach_working_directory()?;
        }
        rustix::process::chdir("/").map_err(on("chdir"))
    })?;
    if let Some(propagation) = plan.root_propagation {
        report.step(Step::Propagation, || linux::mount::set_root_propagation(propagation))?;
    }
    Ok(())
}

fn finish(
    plan: Plan,
    prepared: Prepared,
    proc: Option<OwnedFd>,
    socket: &SeqSocket,
    report: &mut Reporter<'_>,
) -> Result<Infallible, Failure> {
    let Prepared { filter, start, user, create_cwd, reaper, keep_fds, hook_state, .. } = prepared;
    let context =
        Context { proc: proc.as_ref().map(AsFd::as_fd), user: user.as_deref(), create_cwd, keep_fds, filter };
    let identified = Entered::new(plan.process, context, report).label()?.limit()?.identify()?;
    // The creator has nothing to say any more: what there is to read is its end. A sibling gets no death signal for it,
    // and a container that nobody was told of must not start.
    if socket
        .wait(Some(std::time::Duration::ZERO))
        .map_err(|error| failure(Step::WaitForStart, error.into()))?
    {
        return Err(failure(Step::WaitForStart, Cause::Reason("the creator ended".into())));
    }
    rustix::process::set_parent_process_death_signal(None)
        .map_err(|errno| failure(Step::WaitForStart, errno.into()))?;
    if let Some(fifo) = start {
        send(socket, &Frame::Ready, &[]).map_err(|error| failure(Step::WaitForStart, error.into()))?;
        wait_for_start(&fifo).map_err(|errno| failure(Step::WaitForStart, errno.into()))?;
    }
    if let Some(list) = plan.hooks.as_ref().and_then(|h| h.start_container().as_deref()) {
        hooks::run("startContainer", list, &hook_state, "created")
            .map_err(|error| failure(Step::Hooks("startContainer"), Cause::Reason(error.to_string())))?;
    }
    let confined = identified.confine()?;
    Err(if reaper { reaper::run(confined, socket) } else { confined.exec() })
}

/// A FIFO that was never opened for writing reports nothing to poll(2); the first writer's byte or close does.
fn wait_for_start(fifo: &OwnedFd) -> Result<(), Errno> {
    let mut fds = [rustix::event::PollFd::new(fifo, rustix::event::PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Opens a host path for the creator, e.g. a namespace's file.
pub(crate) fn open_host(path: &std::path::Path) -> linux::Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| linux::Error::on("open", path.to_string_lossy(), errno))
}
