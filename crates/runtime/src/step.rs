//! The steps of a start: what each does, the kernel call behind it and the shell command that does the same by hand.
//!
//! One list serves both the work (an error names its step) and `--explain` (a report of what happened).

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::Path;
use std::time::Instant;

use linux::{Namespaces, SeqSocket};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::overlay::Overlay;
use crate::plan::{CapPlan, Device, IdMap, IdMaps, Mount, MountKind, Rlimit, TimeOffset};

/// One step, with what it is applied to.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Read the bundle's configuration and decide everything.
    Plan,
    /// Make the container's cgroup in the v2 hierarchy.
    Cgroup(&'a str),
    /// Make it in the v1 hierarchies, and set its limits.
    Limits(&'a str, &'a OnceCell<Vec<String>>),
    /// Make the overlay of image layers and the container's own layer.
    Overlay(&'a Overlay),
    /// The same, with the owners of all layers mapped.
    MappedOverlay(&'a Overlay),
    /// Compile, or take from the cache, the system call filter.
    CompileSeccomp,
    /// Open a bind mount's source on the host.
    BindSource(&'a Path),
    /// Show the owners of a mount's files through a mapping.
    MapOwners(&'a Path),
    /// Make the device nodes for a user namespace, which may not.
    DeviceNodes,
    /// Give pipes to the user namespace's root.
    PipeOwner(u32),
    /// Raise what only the host's root may raise.
    LiftLimits,
    /// Start the container's first process in new namespaces.
    Clone(Namespaces),
    /// Write the user namespace's maps.
    IdMaps(&'a IdMaps),
    /// Run the hooks of one kind.
    Hooks(&'static str),
    /// Enter a namespace by path.
    JoinNamespace(Namespaces, &'a Path),
    /// Enter the network namespace that was made for the container before.
    OwnNetwork,
    /// Become root inside the user namespace.
    BecomeRoot,
    /// Move into the container's cgroup.
    JoinCgroup(&'a Path),
    /// Make that cgroup the visible root of cgroups.
    CgroupNamespace,
    /// Set the clocks' offsets.
    TimeOffsets(&'a [TimeOffset]),
    /// Set the loopback interface up.
    Loopback,
    /// Join a session keyring of its own.
    Keyring,
    /// Cut the mount namespace off from the host's.
    Propagation,
    /// Attach the container's root.
    Root(&'a Path),
    /// Mount one filesystem.
    Mount(&'a Mount),
    /// Make a device node.
    Device(&'a Device),
    /// Make the links that programs expect in `/dev`.
    DeviceLinks,
    /// Make the terminal.
    Terminal,
    /// Hide a path.
    Mask(&'a Path),
    /// Make a path read-only.
    ReadOnly(&'a Path),
    /// Make the root read-only.
    ReadOnlyRoot,
    /// Set a kernel parameter of the container's namespaces.
    Sysctl(&'a str, &'a str),
    /// Set the host name.
    Hostname(&'a str),
    /// Set the domain name.
    Domainname(&'a str),
    /// Change the root directory and detach the old one.
    PivotRoot,
    /// Find the user in the container's own files.
    FindUser(&'a str),
    /// Label the program to be executed.
    Label(&'a str),
    /// Set how likely the out-of-memory killer takes it.
    OomScore(i32),
    /// Set a resource limit.
    Rlimit(&'a Rlimit),
    /// Set scheduling, I/O priority, execution domain.
    Scheduling,
    /// Give the standard streams to the user.
    StdioOwner(u32),
    /// Become the user.
    User(u32, u32, &'a [u32]),
    /// Enter the working directory.
    WorkingDirectory(&'a Path),
    /// Look the program up.
    FindProgram(&'a str),
    /// Reduce the capabilities.
    Capabilities(&'a CapPlan),
    /// Rule out gaining privileges.
    NoNewPrivs,
    /// Leave no descriptor of ours open.
    CloseDescriptors(u32),
    /// Load the system call filter.
    Seccomp,
    /// Wait for `start`.
    WaitForStart,
    /// Become the user's program.
    Exec(&'a str),
}

impl Step<'_> {
    /// What it does, for people: begins with a verb, has no full stop.
    pub fn what(&self) -> String {
        match self {
            Self::Plan => "check the configuration and plan the container".into(),
            Self::Cgroup(path) => format!("make the cgroup {path}"),
            Self::Limits(path, _) => {
                format!("set the limits of the cgroup {path}, made in the v1 hierarchies too")
            }
            Self::Overlay(overlay) => {
                format!("stack {} image layers under a layer of its own", overlay.lowers.len())
            }
            Self::MappedOverlay(overlay) => format!(
                "stack {} image layers under a layer of its own, with their owners mapped",
                overlay.lowers.len()
            ),
            Self::CompileSeccomp => "compile the system call filter".into(),
            Self::BindSource(path) => format!("open {} for a bind mount", path.display()),
            Self::MapOwners(path) => format!("map the owners of the files in {}", path.display()),
            Self::DeviceNodes => "make the device nodes for the user namespace".into(),
            Self::PipeOwner(uid) => format!("give the standard streams to the container's root, {uid}"),
            Self::LiftLimits => "raise the limits that a user namespace may not".into(),
            Self::Clone(kinds) => format!("start a process in new namespaces: {}", names(*kinds).join(", ")),
            Self::IdMaps(_) => "map the user namespace's ids".into(),
            Self::Hooks(kind) => format!("run the {kind} hooks"),
            Self::JoinNamespace(kind, path) => {
                format!("join the {} namespace {}", kind.file_name().unwrap_or("?"), path.display())
            }
            Self::OwnNetwork => "enter the network namespace that was made for it meanwhile".into(),
            Self::BecomeRoot => "become root inside the user namespace".into(),
            Self::JoinCgroup(_) => "move into the container's cgroup".into(),
            Self::CgroupNamespace => "make its cgroup the visible root of cgroups".into(),
            Self::TimeOffsets(_) => "set the clocks' offsets".into(),
            Self::Loopback => "set the loopback interface up".into(),
            Self::Keyring => "join a session keyring of its own".into(),
            Self::Propagation => "cut its mounts off from the host's".into(),
            Self::Root(path) => format!("attach the container's root at {}", path.display()),
            Self::Mount(mount) => format!("mount {} on {}", mount.type_name(), mount.destination.display()),
            Self::Device(device) => format!("make the device {}", device.path.display()),
            Self::DeviceLinks => "make the links in /dev".into(),
            Self::Terminal => "make the terminal".into(),
            Self::Mask(path) => format!("hide {}", path.display()),
            Self::ReadOnly(path) => format!("make {} read-only", path.display()),
            Self::ReadOnlyRoot => "make the root read-only".into(),
            Self::Sysctl(key, value) => format!("set the kernel parameter {key} to {value:?}"),
            Self::Hostname(name) => format!("set the host name to {name}"),
            Self::Domainname(name) => format!("set the domain name to {name}"),
            Self::PivotRoot => "change the root directory and detach the old one".into(),
            Self::FindUser(user) => format!("find the user {user:?} in the container"),
            Self::Label(label) => format!("label the program {label:?}"),
            Self::OomScore(value) => format!("set the OOM score adjustment to {value}"),
            Self::Rlimit(limit) => format!("limit {}", limit.name),
            Self::Scheduling => "set scheduling".into(),
            Self::StdioOwner(uid) => format!("give the standard streams to user {uid}"),
            Self::User(uid, gid, _) => format!("become user {uid}, group {gid}"),
            Self::WorkingDirectory(path) => format!("enter the working directory {}", path.display()),
            Self::FindProgram(name) => format!("find the program {name}"),
            Self::Capabilities(caps) => format!("keep {} capabilities", caps.permitted.bits().count_ones()),
            Self::NoNewPrivs => "rule out gaining privileges".into(),
            Self::CloseDescriptors(_) => "close every descriptor but the standard streams at exec".into(),
            Self::Seccomp => "load the system call filter".into(),
            Self::WaitForStart => "wait for start".into(),
            Self::Exec(path) => format!("execute {path}"),
        }
    }

    /// The kernel calls behind it.
    pub fn call(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Plan => "none",
            Self::Cgroup(_) => "mkdir",
            Self::Limits(..) => "mkdir, write",
            Self::Overlay(_) => "fsopen(\"overlay\"), fsconfig, fsmount",
            Self::MappedOverlay(_) => {
                "clone3(CLONE_NEWUSER), open_tree(OPEN_TREE_CLONE), mount_setattr(MOUNT_ATTR_IDMAP), setfsuid, \
                 fsopen(\"overlay\"), fsconfig, fsmount"
            }
            Self::CompileSeccomp => "open, mmap",
            Self::BindSource(_) => "open_tree(OPEN_TREE_CLONE)",
            Self::MapOwners(_) => "clone3(CLONE_NEWUSER), mount_setattr(MOUNT_ATTR_IDMAP)",
            Self::DeviceNodes => "fsopen(\"tmpfs\"), fsmount, mknodat, fchownat",
            Self::PipeOwner(_) => "fchown",
            Self::LiftLimits => "prlimit64, write(/proc/PID/oom_score_adj)",
            Self::Clone(kinds) => {
                let flags: Vec<_> = names(*kinds).iter().map(|n| format!("CLONE_NEW{}", flag(n))).collect();
                return Cow::Owned(format!("clone3({}|CLONE_PIDFD)", flags.join("|")));
            }
            Self::IdMaps(_) => "write(/proc/PID/uid_map), write(/proc/PID/gid_map)",
            Self::Hooks(_) => "fork, execve",
            Self::JoinNamespace(..) => "setns",
            Self::OwnNetwork => "unshare(CLONE_NEWNET), setns",
            Self::BecomeRoot => "setresgid(0, 0, 0), setresuid(0, 0, 0)",
            Self::JoinCgroup(_) => "write(tasks, 0)",
            Self::CgroupNamespace => "unshare(CLONE_NEWCGROUP)",
            Self::TimeOffsets(_) => "unshare(CLONE_NEWTIME), write(/proc/self/timens_offsets), setns",
            Self::Loopback => "ioctl(SIOCSIFFLAGS, IFF_UP)",
            Self::Keyring => "keyctl(KEYCTL_JOIN_SESSION_KEYRING)",
            Self::Propagation => "mount(MS_REC|MS_SLAVE)",
            Self::Root(_) => "move_mount",
            Self::Mount(mount) => match mount.kind {
                MountKind::Bind { .. } => "mount_setattr, move_mount",
                _ => "fsopen, fsconfig, fsmount, move_mount",
            },
            Self::Device(_) => "mknodat, fchownat",
            Self::DeviceLinks => "symlinkat",
            Self::Terminal => "openat(ptmx), ioctl(TIOCGPTPEER), setsid, ioctl(TIOCSCTTY)",
            Self::Mask(_) => "open_tree(OPEN_TREE_CLONE), move_mount",
            Self::ReadOnly(_) => "open_tree(OPEN_TREE_CLONE), mount_setattr(MOUNT_ATTR_RDONLY), move_mount",
            Self::ReadOnlyRoot => "mount_setattr(MOUNT_ATTR_RDONLY)",
            Self::Sysctl(..) => "openat2, write",
            Self::Hostname(_) => "sethostname",
            Self::Domainname(_) => "setdomainname",
            Self::PivotRoot => "pivot_root(\".\", \".\"), umount2(\".\", MNT_DETACH)",
            Self::FindUser(_) => "openat2(etc/passwd), openat2(etc/group)",
            Self::Label(_) => "write(/proc/self/attr/exec)",
            Self::OomScore(_) => "write(/proc/self/oom_score_adj)",
            Self::Rlimit(_) => "prlimit64",
            Self::Scheduling => "sched_setattr, ioprio_set, personality",
            Self::StdioOwner(_) => "fchown",
            Self::User(..) => "setgroups, setresgid, setresuid",
            Self::WorkingDirectory(_) => "openat2(RESOLVE_NO_MAGICLINKS), fchdir",
            Self::FindProgram(_) => "faccessat",
            Self::Capabilities(_) => "prctl(PR_CAPBSET_DROP), capset, prctl(PR_CAP_AMBIENT)",
            Self::NoNewPrivs => "prctl(PR_SET_NO_NEW_PRIVS)",
            Self::CloseDescriptors(_) => "close_range(CLOSE_RANGE_CLOEXEC)",
            Self::Seccomp => "seccomp(SECCOMP_SET_MODE_FILTER)",
            Self::WaitForStart => "open(exec.fifo)",
            Self::Exec(_) => "execve",
        })
    }

    /// A shell command that does the same by hand; empty where no tool does.
    pub fn shell(&self) -> String {
        match self {
            Self::Cgroup(path) => format!("mkdir /sys/fs/cgroup/unified{path}"),
            Self::Limits(path, by_hand) => {
                let mut commands = vec![format!("mkdir -p /sys/fs/cgroup/*{path}")];
                commands.extend(by_hand.get().into_iter().flatten().cloned());
                commands.join("; ")
            }
            Self::Overlay(overlay) | Self::MappedOverlay(overlay) => overlay_command(overlay),
            Self::Clone(kinds) => {
                let flags: Vec<_> = names(*kinds).iter().map(|n| format!("--{}", long_option(n))).collect();
                format!("unshare --fork {}", flags.join(" "))
            }
            Self::MapOwners(path) => {
                format!("mount --bind -o X-mount.idmap=/proc/PID/ns/user {0} {0}", path.display())
            }
            Self::IdMaps(maps) => {
                format!(
                    "echo '{}' > /proc/PID/uid_map; echo '{}' > /proc/PID/gid_map",
                    lines(&maps.uid),
                    lines(&maps.gid)
                )
            }
            Self::JoinNamespace(kind, path) => {
                format!("nsenter --{}={}", long_option(kind.file_name().unwrap_or("?")), path.display())
            }
            Self::OwnNetwork => "unshare --net".into(),
            Self::JoinCgroup(path) => {
                format!("echo $$ | tee /sys/fs/cgroup/*{}/cgroup.procs", path.display())
            }
            Self::CgroupNamespace => "unshare --cgroup".into(),
            Self::TimeOffsets(offsets) => {
                let option = |offset: &TimeOffset| format!(" --{} {}", offset.clock, offset.secs);
                format!("unshare --time{}", offsets.iter().map(option).collect::<String>())
            }
            Self::Loopback => "ip link set lo up".into(),
            Self::Keyring => "keyctl session _ses.sampan".into(),
            Self::Propagation => "mount --make-rslave /".into(),
            Self::Root(path) => format!("cd {}", path.display()),
            Self::Mount(mount) => mount_command(mount),
            Self::Device(device) => {
                format!(
                    "mknod -m {:o} .{} c {} {}",
                    device.mode,
                    device.path.display(),
                    device.major,
                    device.minor
                )
            }
            Self::DeviceLinks => "ln -s /proc/self/fd dev/fd".into(),
            Self::Mask(path) => format!("mount --bind /dev/null .{}", path.display()),
            Self::ReadOnly(path) => format!("mount -o bind,ro .{0} .{0}", path.display()),
            Self::ReadOnlyRoot => "mount -o remount,bind,ro .".into(),
            Self::Sysctl(key, value) => format!("sysctl -w {}={value:?}", key.replace('/', ".")),
            Self::Hostname(name) => format!("hostname {name}"),
            Self::Domainname(name) => format!("domainname {name}"),
            Self::PivotRoot => "pivot_root . . && umount -l .".into(),
            Self::OomScore(value) => format!("choom -n {value} -p $$"),
            Self::Rlimit(limit) => {
                let value = |value: Option<u64>| value.map_or_else(|| "unlimited".into(), |v| v.to_string());
                let name = limit.name.trim_start_matches("RLIMIT_").to_lowercase();
                format!("prlimit --pid $$ --{name}={}:{}", value(limit.soft), value(limit.hard))
            }
            Self::User(uid, gid, groups) => {
                let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
                let groups = match groups.is_empty() {
                    true => "--clear-groups".to_owned(),
                    false => format!("--groups {}", groups.join(",")),
                };
                format!("setpriv --reuid {uid} --regid {gid} {groups}")
            }
            Self::WorkingDirectory(path) => format!("cd {}", path.display()),
            Self::Capabilities(caps) => {
                let names: String = caps.bounding.names().iter().map(|name| plus(name)).collect();
                format!("setpriv --bounding-set -all{names} --inh-caps -all")
            }
            Self::NoNewPrivs => "setpriv --no-new-privs".into(),
            Self::Exec(path) => format!("exec {path}"),
            _ => String::new(),
        }
    }
}

/// `CAP_CHOWN` as setpriv(1) adds it to a list.
fn plus(name: &str) -> String {
    format!(",+{}", name.trim_start_matches("CAP_").to_lowercase())
}

/// An id map as `/proc/PID/uid_map` takes it; one line here, since a shell's `echo` takes it in quotes.
fn lines(map: &[IdMap]) -> String {
    let line = |entry: &IdMap| format!("{} {} {}", entry.inside, entry.outside, entry.count);
    map.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn overlay_command(overlay: &Overlay) -> String {
    let lowers: Vec<_> = overlay.lowers.iter().map(|path| path.display().to_string()).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    if !overlay.read_only {
        options.push_str(&format!(
            ",upperdir={},workdir={}",
            overlay.upper.display(),
            overlay.work.display()
        ));
        if overlay.volatile {
            options.push_str(",volatile");
        }
    }
    format!("mount -t overlay overlay -o {options} {}", overlay.mount_at.display())
}

fn names(kinds: Namespaces) -> Vec<&'static str> {
    Namespaces::ALL.into_iter().filter(|k| kinds.contains(*k)).filter_map(Namespaces::file_name).collect()
}

fn flag(name: &str) -> String {
    if name == "mnt" { "NS".into() } else { name.to_uppercase() }
}

fn long_option(name: &str) -> &str {
    if name == "mnt" { "mount" } else { name }
}

fn mount_command(mount: &Mount) -> String {
    let at = mount.destination.display();
    match &mount.kind {
        MountKind::Bind { source, recursive } => {
            format!("mount --{} {} .{at}", if *recursive { "rbind" } else { "bind" }, source.display())
        }
        MountKind::Cgroup => format!("mount -t cgroup2 cgroup2 .{at}"),
        MountKind::Filesystem { fs_type, source, data } => {
            let options: Vec<_> = data
                .iter()
                .map(|(k, v)| v.as_ref().map_or_else(|| k.clone(), |v| format!("{k}={v}")))
                .collect();
            let options =
                if options.is_empty() { String::new() } else { format!(" -o {}", options.join(",")) };
            format!("mount -t {fs_type}{options} {} .{at}", source.as_deref().unwrap_or(fs_type))
        }
    }
}

/// One step as it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// What it did.
    pub step: String,
    /// The kernel calls.
    pub call: String,
    /// The same by hand; empty where no tool does it.
    pub shell: String,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// `creator` or `init`.
    pub by: String,
}

/// A step that failed, as it travels from init to the creator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What the step does.
    pub what: String,
    /// The kernel call.
    pub call: String,
    /// What it was applied to, or the reason.
    pub detail: String,
    /// The kernel's answer, as a number.
    pub errno: Option<i32>,
    /// The program, when it is the execution of the user's program that failed.
    pub program: Option<String>,
}

impl From<Failure> for crate::Error {
    fn from(failure: Failure) -> Self {
        let errno = failure.errno.map(Errno::from_raw_os_error);
        match (failure.program, errno) {
            (Some(path), Some(errno)) => Self::Exec { path, errno },
            _ => Self::Step { what: failure.what, call: failure.call, detail: failure.detail, errno },
        }
    }
}

/// Why a step failed, before its name is attached.
#[derive(Debug)]
pub enum Cause {
    /// A kernel call.
    Kernel(linux::Error),
    /// A check of ours.
    Reason(String),
}

impl From<linux::Error> for Cause {
    fn from(error: linux::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self::Kernel(linux::Error::new("", errno))
    }
}

/// What another process of the start said, as a part of a step here.
impl From<Failure> for Cause {
    fn from(said: Failure) -> Self {
        let errno = said.errno.map(|n| Errno::from_raw_os_error(n).to_string());
        let parts = [said.what, said.call, said.detail, errno.unwrap_or_default()];
        Self::Reason(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
    }
}

impl From<String> for Cause {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

/// What init and the creator say to each other, one JSON document per message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// init: a step is done.
    Step(StepReport),
    /// init: something asked for could not be had, and the start goes on.
    Warning(String),
    /// init: the namespaces are there, and hooks in the runtime's namespaces are due.
    NeedHooks,
    /// init: the pseudo-terminal's master comes with this message.
    Terminal,
    /// init: all is prepared; the program's execution is next.
    Ready,
    /// init: a step failed; it ends now.
    Failed(Failure),
    /// creator: go on.
    Go,
}

/// The most bytes of one message either way.
pub(crate) const MAX_FRAME: usize = 16 << 10;

/// Sends a message.
pub(crate) fn send(
    socket: &SeqSocket,
    frame: &Frame,
    fds: &[std::os::fd::BorrowedFd<'_>],
) -> linux::Result<()> {
    let text = serde_json::to_vec(frame).map_err(|_| linux::Error::new("sendmsg", Errno::INVAL))?;
    if text.len() > MAX_FRAME {
        return Err(linux::Error::new("sendmsg", Errno::MSGSIZE));
    }
    socket.send(&text, fds)
}

/// Names, times and reports steps.
pub struct Reporter<'a> {
    /// Where reports go; none at all when nobody asked.
    sink: Sink<'a>,
    explain: bool,
}

enum Sink<'a> {
    Socket(&'a SeqSocket),
    Local { warnings: Vec<String>, explain: Option<&'a mut dyn FnMut(StepReport)> },
}

impl<'a> Reporter<'a> {
    /// Reports over a socket, from a process in the container.
    pub fn to_creator(socket: &'a SeqSocket, explain: bool) -> Self {
        Self { sink: Sink::Socket(socket), explain }
    }

    /// Reports to the caller of this crate.
    pub fn local(explain: Option<&'a mut dyn FnMut(StepReport)>) -> Self {
        Self { explain: explain.is_some(), sink: Sink::Local { warnings: Vec::new(), explain } }
    }

    /// The warnings that were collected for the caller of this crate.
    pub fn into_warnings(self) -> Vec<String> {
        match self.sink {
            Sink::Local { warnings, .. } => warnings,
            Sink::Socket(_) => Vec::new(),
        }
    }

    /// Does one step.
    ///
    /// # Errors
    /// The step's [`Failure`].
    pub fn step<T, E: Into<Cause>>(
        &mut self,
        step: Step<'_>,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Failure> {
        let started = self.explain.then(Instant::now);
        let value = act().map_err(|error| failure(step, error.into()))?;
        if let Some(started) = started {
            let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.report(step, micros);
        }
        Ok(value)
    }

    /// Does one step of the creator's whose error has a type of its own.
    ///
    /// # Errors
    /// That of `act`.
    pub(crate) fn timed<T, E>(&mut self, step: Step<'_>, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = self.explain.then(Instant::now);
        let value = act()?;
        if let Some(started) = started {
            self.report(step, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        Ok(value)
    }

    fn report(&mut self, step: Step<'_>, micros: u64) {
        let report = |by: &str| StepReport {
            step: step.what(),
            call: step.call().into_owned(),
            shell: step.shell(),
            micros,
            by: by.into(),
        };
        match &mut self.sink {
            // A creator that is gone is found out by the next message that matters.
            Sink::Socket(socket) => drop(send(socket, &Frame::Step(report("init")), &[])),
            Sink::Local { explain: Some(sink), .. } => sink(report("creator")),
            Sink::Local { .. } => {}
        }
    }

    /// Passes on a report that came from init.
    pub(crate) fn forward(&mut self, report: StepReport) {
        if let Sink::Local { explain: Some(sink), .. } = &mut self.sink {
            sink(report);
        }
    }

    /// Says that something asked for could not be had.
    pub fn warn(&mut self, text: String) {
        match &mut self.sink {
            Sink::Socket(socket) => drop(send(socket, &Frame::Warning(text), &[])),
            Sink::Local { warnings, .. } => warnings.push(text),
        }
    }

    /// Whether reports are wanted.
    pub fn explains(&self) -> bool {
        self.explain
    }
}

/// Names the step of a failure.
pub fn failure(step: Step<'_>, cause: Cause) -> Failure {
    let what = format!("cannot {}", step.what());
    match cause {
        Cause::Kernel(error) => Failure {
            what,
            call: if error.call.is_empty() { step.call().into_owned() } else { error.call.to_owned() },
            detail: error.subject.unwrap_or_default(),
            errno: Some(error.errno.raw_os_error()),
            program: None,
        },
        Cause::Reason(detail) => {
            Failure { what, call: step.call().into_owned(), detail, errno: None, program: None }
        }
    }
}
