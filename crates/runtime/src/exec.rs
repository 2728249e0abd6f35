//! Another process in a running container: entered by its pidfd, confined as its first process was.
//!
//! A helper forked from the caller enters the namespaces, so that the caller stays where it is, and clones the process as
//! its own sibling: the caller is the parent and can wait for it. Both are not dumpable before they enter, so that nobody
//! in the container can trace them or reach the host by their descriptors (CVE-2016-9962).

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::descriptor::{StdStream, redirect};
use linux::{Clone3, Namespaces, PidFd, RootDir, SeqSocket};
use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal};
use rustix::pty::OpenptFlags;

use crate::filter::Filter;
use crate::idmap;
use crate::launch::{Launched, Parent, Stdio};
use crate::plan::ProcessPlan;
use crate::process::{Context, Entered, LoadFilter, trusted_proc};
use crate::state::{Alive, State};
use crate::step::{Cause, Failure, Frame, MAX_FRAME, Reporter, Step, failure, send};
use crate::{Error, Result};

/// `f_type` of devpts (`linux/magic.h`).
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// `f_type` of pipes without a name (`linux/magic.h`).
const PIPEFS_MAGIC: u64 = 0x5049_5045;

/// What to run in a container.
///
/// [`exec`] must be called from a process with one thread (see [`Clone3`]).
pub struct ExecRequest<'a> {
    /// The process, with everything that it is given.
    pub process: Process,
    /// The container's system call filter, loaded for this process too.
    pub filter: Option<Filter<'a>>,
    /// Docker's user, resolved inside the container; overrides `process.user`.
    pub user: Option<String>,
    /// The standard streams.
    pub stdio: Stdio,
    /// Whose child it is. With [`Parent::Sibling`] the caller itself enters the namespaces: it must be about to end.
    pub parent: Parent,
    /// A private directory of compiled system call filters.
    pub seccomp_cache: Option<&'a Path>,
    /// How many descriptors after the standard streams are handed on.
    pub keep_fds: u32,
}

/// Starts a process in a running container and returns once the user's program is executed.
///
/// # Errors
/// [`Error::Wrong`] for a container that has ended, [`Error::Exec`] when the program cannot be executed, [`Error::Spec`].
pub fn exec(state: &State, request: ExecRequest<'_>) -> Result<Launched> {
    let alive = Alive { init: state.running_process()?, cgroup: state.open_cgroup()? };
    exec_in(state, &alive, request)
}

/// As [`exec`], in a container that was looked at already.
pub(crate) fn exec_in(state: &State, alive: &Alive, request: ExecRequest<'_>) -> Result<Launched> {
    let mut warnings = Vec::new();
    let plan = ProcessPlan::new(&request.process, None, &mut warnings)?;
    let Alive { init, cgroup } = alive;
    let kinds = other_namespaces(state.pid)?;
    let filter = request.filter.map(|filter| crate::filter::prepare(&filter, request.seccomp_cache));
    let filter = filter.transpose()?;
    let stdio = match request.stdio {
        Stdio::Fds { stdin, stdout, stderr } => Some([stdin, stdout, stderr]),
        Stdio::Inherit | Stdio::Terminal => None,
    };
    let foreign = kinds.contains(Namespaces::USER);
    if let (true, Some(streams)) = (foreign, &stdio) {
        give_pipes(state.pid, streams)?;
    }
    let child = Child { plan, filter, user: request.user, keep_fds: request.keep_fds, stdio, foreign };
    let (ours, theirs) = SeqSocket::pair()?;
    let spawned = match request.parent {
        Parent::Sibling => {
            cgroup.join(rustix::process::getpid())?;
            child.lift_limits().map_err(|cause| Error::from(failure(Step::LiftLimits, cause)))?;
            enter(init, kinds)?;
            child.spawn(theirs)?
        }
        Parent::Caller => match spawn_through_helper(init, kinds, cgroup, child, theirs)? {
            Some(spawned) => spawned,
            None => {
                // The helper ended before there was a process: its last message says why.
                return Err(failed(&ours)?);
            }
        },
    };
    follow(&ours, spawned, warnings)
}

/// As at the start of a container: only the host's root can give pipes to somebody inside. A FIFO that has a name is not
/// ours, but what the user redirected to.
fn give_pipes(pid: i32, streams: &[OwnedFd; 3]) -> Result<()> {
    let streams = streams.iter().filter(|fd| {
        rustix::fs::fstatfs(fd).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(PIPEFS_MAGIC))
    });
    let pid = Pid::from_raw(pid).ok_or(linux::Error::new("pidfd_open", Errno::SRCH))?;
    let maps = idmap::maps_of(pid).map_err(|cause| Error::from(failure(Step::PipeOwner(0), cause)))?;
    Ok(maps.root().map_or(Ok(()), |root| idmap::give_pipes(streams, root))?)
}

fn failed(socket: &SeqSocket) -> Result<Error> {
    let mut buffer = vec![0; MAX_FRAME];
    let gone = || Error::InitGone("the helper that enters the container was killed".into());
    let received = socket.recv(&mut buffer)?.ok_or_else(gone)?;
    match serde_json::from_slice(&buffer[..received.len]) {
        Ok(Frame::Failed(failure)) => Ok(failure.into()),
        _ => Ok(gone()),
    }
}

/// The namespaces in which the container's first process is and the caller is not: entering one's own user namespace is
/// refused by the kernel, and entering another of one's own does nothing.
fn other_namespaces(pid: i32) -> Result<Namespaces> {
    let mut kinds = Namespaces::EMPTY;
    for kind in Namespaces::ALL {
        let Some(name) = kind.file_name() else { continue };
        let of = |who: &str| rustix::fs::stat(format!("/proc/{who}/ns/{name}")).map(|s| (s.st_dev, s.st_ino));
        match (of(&pid.to_string()), of("self")) {
            (Ok(theirs), Ok(ours)) if theirs != ours => kinds |= kind,
            (Ok(_), Ok(_)) => {}
            // A kernel without this kind.
            (Err(Errno::NOENT), Err(Errno::NOENT)) => {}
            (Err(errno), _) | (_, Err(errno)) => {
                return Err(linux::Error::on("stat", format!("/proc/{pid}/ns/{name}"), errno).into());
            }
        }
    }
    Ok(kinds)
}

/// All namespaces in one call: the kernel takes all or none.
fn enter(init: &PidFd, kinds: Namespaces) -> linux::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| linux::Error::new("prctl(PR_SET_DUMPABLE)", errno))?;
    if kinds.is_empty() { Ok(()) } else { linux::setns(init, kinds) }
}

/// The helper is cloned into the container's v2 cgroup and moves itself into those of v1, without the lock that the
/// caller would need to move it (see [`cgroup::enter`]); the process is born into the helper's.
fn spawn_through_helper(
    init: &PidFd,
    kinds: Namespaces,
    cgroup: &cgroup::Cgroup,
    child: Child,
    report: SeqSocket,
) -> Result<Option<(Pid, PidFd)>> {
    let entrance = cgroup.entrance()?;
    let (ours, theirs) = SeqSocket::pair()?;
    let parts = Cell::new(Some((ours, theirs, child, report)));
    let clone = Clone3 { cgroup: cgroup.v2_dir(), ..Default::default() };
    let (_, helper) = clone.spawn(|| {
        let Some((ours, theirs, child, report)) = parts.take() else { return 1 };
        drop(ours);
        help(init, kinds, &entrance, &theirs, child, report)
    })?;
    let Some((ours, theirs, _, report)) = parts.take() else { return Ok(None) };
    drop((theirs, report));
    let mut number = [0; 4];
    let received = ours.recv(&mut number);
    helper.wait()?;
    let Some(mut received) = received? else { return Ok(None) };
    let pid = Pid::from_raw(i32::from_ne_bytes(number));
    Ok(pid.zip(received.fds.pop()).map(|(pid, fd)| (pid, PidFd::from(fd))))
}

fn help(
    init: &PidFd,
    kinds: Namespaces,
    entrance: &[OwnedFd],
    link: &SeqSocket,
    child: Child,
    report: SeqSocket,
) -> i32 {
    let die = |step: Step<'_>, cause: Cause| {
        // A caller that is gone needs no report.
        let _ = send(&report, &Frame::Failed(failure(step, cause)), &[]);
        1
    };
    let join = Step::JoinNamespace(kinds, Path::new("the container"));
    if let Err(cause) = child.lift_limits() {
        return die(Step::LiftLimits, cause);
    }
    if let Err(error) = cgroup::enter(entrance) {
        return die(Step::JoinCgroup(Path::new("")), Cause::Reason(error.to_string()));
    }
    if let Err(error) = enter(init, kinds) {
        return die(join, error.into());
    }
    let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&report, 3) else { return 1 };
    match child.spawn(SeqSocket::from(copy)) {
        Err(error) => die(join, error.into()),
        Ok((pid, pidfd)) => {
            let sent = link.send(&pid.as_raw_nonzero().get().to_ne_bytes(), &[pidfd.as_fd()]);
            i32::from(sent.is_err())
        }
    }
}

/// What the process needs before it is the user's program.
struct Child {
    plan: ProcessPlan,
    filter: Option<LoadFilter>,
    user: Option<String>,
    keep_fds: u32,
    stdio: Option<[OwnedFd; 3]>,
    /// The container has a user namespace that the caller is not in.
    foreign: bool,
}

impl Child {
    /// Before the container is entered, for the calling process, whose child inherits it.
    fn lift_limits(&self) -> Result<(), Cause> {
        if !self.foreign {
            return Ok(());
        }
        idmap::lift_limits(rustix::process::getpid(), &self.plan.rlimits, self.plan.oom_score_adj)
    }

    /// Clones the process as a sibling of the calling process, which has entered the container.
    fn spawn(self, report: SeqSocket) -> linux::Result<(Pid, PidFd)> {
        let parts = Cell::new(Some((self, report)));
        Clone3 { sibling: true, ..Default::default() }.spawn(|| {
            let Some((child, socket)) = parts.take() else { return 1 };
            let mut reporter = Reporter::to_creator(&socket, false);
            let failure = child.run(&socket, &mut reporter);
            // A caller that is gone needs no report.
            let _ = send(&socket, &Frame::Failed(failure), &[]);
            1
        })
    }

    /// Becomes the user's program; returns only when that failed.
    fn run(self, socket: &SeqSocket, report: &mut Reporter<'_>) -> Failure {
        match self.confine(socket, report) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn confine(
        self,
        socket: &SeqSocket,
        report: &mut Reporter<'_>,
    ) -> Result<std::convert::Infallible, Failure> {
        let Self { plan, filter, user, keep_fds, stdio, foreign } = self;
        let first = Step::WorkingDirectory(Path::new("/"));
        let on = |call| move |errno| failure(first, linux::Error::new(call, errno).into());
        if foreign {
            report.step(Step::BecomeRoot, crate::init::become_root)?;
        }
        rustix::process::setsid().map_err(on("setsid"))?;
        rustix::process::chdir("/").map_err(on("chdir"))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(on("prctl"))?;
        if plan.terminal {
            report.step(Step::Terminal, || terminal(&plan, socket))?;
        }
        for (fd, stream) in
            stdio.iter().flatten().zip([StdStream::Stdin, StdStream::Stdout, StdStream::Stderr])
        {
            redirect(fd.as_fd(), stream).map_err(|error| failure(Step::Terminal, error.into()))?;
        }
        drop(stdio);
        let needs_proc = plan.oom_score_adj.is_some() || plan.apparmor.is_some() || plan.selinux.is_some();
        let proc = if needs_proc {
            Some(trusted_proc().map_err(|error| failure(first, error.into()))?)
        } else {
            None
        };
        rustix::process::set_parent_process_death_signal(None).map_err(on("prctl"))?;
        let context = Context {
            proc: proc.as_ref().map(AsFd::as_fd),
            user: user.as_deref(),
            create_cwd: false,
            keep_fds,
            filter,
        };
        let confined = Entered::new(plan, context, report).confine()?;
        linux::signals::set_mask(linux::signals::SignalSet::EMPTY)
            .map_err(|error| failure(first, error.into()))?;
        Err(confined.exec())
    }
}

/// Makes a pseudo-terminal on what is mounted at the container's `/dev/pts`, which must be a devpts.
fn terminal(plan: &ProcessPlan, socket: &SeqSocket) -> Result<(), Cause> {
    let root = RootDir::open(Path::new("/"))?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = root.open_in_root(Path::new("/dev/pts/ptmx"), flags, Mode::empty())?;
    let magic = rustix::fs::fstatfs(&master).map_err(|errno| linux::Error::new("fstatfs", errno))?.f_type;
    if u64::try_from(magic) != Ok(DEVPTS_SUPER_MAGIC) {
        return Err(Cause::Reason("/dev/pts/ptmx in the container is not on a devpts".into()));
    }
    rustix::pty::unlockpt(&master).map_err(|errno| linux::Error::new("ioctl(TIOCSPTLCK)", errno))?;
    if let Some(size) = plan.console_size {
        rustix::termios::tcsetwinsize(&master, size)
            .map_err(|errno| linux::Error::new("ioctl(TIOCSWINSZ)", errno))?;
    }
    let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, open)
        .map_err(|errno| linux::Error::new("ioctl(TIOCGPTPEER)", errno))?;
    send(socket, &Frame::Terminal, &[master.as_fd()])?;
    for stream in [StdStream::Stdin, StdStream::Stdout, StdStream::Stderr] {
        redirect(slave.as_fd(), stream)?;
    }
    rustix::process::ioctl_tiocsctty(&slave).map_err(|errno| linux::Error::new("ioctl(TIOCSCTTY)", errno))?;
    Ok(())
}

/// Hears the process out until it is the user's program (its socket closes on execve) or has failed.
fn follow(socket: &SeqSocket, spawned: (Pid, PidFd), mut warnings: Vec<String>) -> Result<Launched> {
    let (pid, pidfd) = spawned;
    let mut terminal = None;
    let mut buffer = vec![0; MAX_FRAME];
    while let Some(mut received) = socket.recv(&mut buffer)? {
        let frame = serde_json::from_slice(&buffer[..received.len])
            .map_err(|error| Error::InitGone(format!("it sent nonsense: {error}")))?;
        match frame {
            Frame::Warning(text) => warnings.push(text),
            Frame::Terminal => terminal = received.fds.pop(),
            Frame::Failed(failure) => {
                // The child of another (Parent::Sibling) is not ours to reap.
                let _ = pidfd.wait();
                return Err(failure.into());
            }
            Frame::Step(_) | Frame::NeedHooks | Frame::Ready | Frame::Go => {}
        }
    }
    Ok(Launched { pid, pidfd, terminal, cgroup: None, warnings })
}
