//! Starting a container: everything the creator does, from the configuration to a running first process.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use cgroup::{Cgroup, CgroupPath, Controllers, Host, Limits};
use linux::{Clone3, Namespaces, PidFd, SeqSocket};
use oci_spec::runtime::Spec;
use rustix::io::Errno;
use rustix::process::Pid;
use seccomp::ProfileSet;

use crate::hooks;
use crate::idmap::{lift_limits, write_maps};
use crate::init::{self, Join, Prepared, open_host};
use crate::overlay::Overlay;
use crate::plan::{IdMaps, Plan, Rlimit};
use crate::prepare::prepare;
use crate::step::{Cause, Frame, MAX_FRAME, Reporter, Step, StepReport, failure, send};
use crate::{Error, Result};

/// Everything needed to start one container once.
///
/// [`launch`] must be called from a process with one thread (see [`Clone3`]).
pub struct Launch<'a> {
    /// The container's id, for hooks and messages.
    pub id: &'a str,
    /// Its configuration.
    pub spec: Spec,
    /// The bundle's directory, to which relative paths of the configuration are relative.
    pub bundle: &'a Path,
    /// What its root filesystem is.
    pub root: Root,
    /// Docker's `USER`: `name|uid[:group|gid]`, resolved inside the container; overrides `process.user`.
    pub user: Option<String>,
    /// Make the working directory when it is missing.
    pub create_cwd: bool,
    /// Stay as pid 1, forward signals and reap (`--init`).
    pub reaper: bool,
    /// The standard streams.
    pub stdio: Stdio,
    /// When the user's program starts.
    pub start: Start,
    /// Whose child it is.
    pub parent: Parent,
    /// The cgroup where the configuration names none; without this and `linux.cgroupsPath` the caller's is kept.
    pub cgroup_default: Option<String>,
    /// The host's cgroup hierarchies, where they are known already.
    pub host: Option<Host>,
    /// A network namespace that nobody is in, to be used in the place of a new one: making one takes longer than everything
    /// else that `clone3` does, and a caller may have time for it before. Unused, it is closed.
    pub network: Option<OwnedFd>,
    /// Which cgroup hierarchies it is made in.
    pub controllers: Controllers,
    /// The system call filter where the configuration has none.
    pub default_filter: Option<ProfileSet>,
    /// A private directory of compiled system call filters.
    pub seccomp_cache: Option<&'a Path>,
    /// How many descriptors after the standard streams are handed on (`--preserve-fds`).
    pub keep_fds: u32,
    /// Move the root over `/` instead of pivot_root (`--no-pivot`).
    pub no_pivot: bool,
    /// Keep the caller's session keyring (`--no-new-keyring`).
    pub no_new_keyring: bool,
    /// Where reports of steps go, if they are wanted.
    pub explain: Option<&'a mut dyn FnMut(StepReport)>,
}

/// A container's root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// `root.path` of the configuration.
    Bundle,
    /// Image layers under a layer of its own.
    Overlay(Overlay),
}

/// A container's standard streams.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's.
    #[default]
    Inherit,
    /// These.
    Fds {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A terminal of the container's own, as `process.terminal` says; its master is in [`Launched::terminal`].
    Terminal,
}

/// When the user's program starts.
#[derive(Debug)]
pub enum Start {
    /// At once.
    Now,
    /// When somebody opens `exec.fifo` in this directory for writing, and writes a byte.
    Fifo(OwnedFd),
}

/// Whose child the container's first process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// The caller's.
    Caller,
    /// The caller's parent's (`CLONE_PARENT`).
    Sibling,
}

/// A started container.
#[derive(Debug)]
pub struct Launched {
    /// Its first process, as the caller's pid namespace numbers it.
    pub pid: Pid,
    /// The same, by descriptor.
    pub pidfd: PidFd,
    /// The terminal's master.
    pub terminal: Option<OwnedFd>,
    /// Its cgroup, where it has one of its own.
    pub cgroup: Option<CgroupPath>,
    /// What was asked for and could not be had.
    pub warnings: Vec<String>,
}

/// Starts a container: plan, open what is the host's, clone3, wait for init's word. Whatever fails, nothing is left.
///
/// # Errors
/// [`Error::Spec`] before anything is touched, [`Error::Step`] naming the step, [`Error::Exec`] when the program cannot
/// be executed, [`Error::Hook`].
pub fn launch(mut request: Launch<'_>) -> Result<Launched> {
    let mut report = Reporter::local(request.explain.take());
    let mut plan = Plan::new(&request.spec)?;
    for text in std::mem::take(&mut plan.warnings) {
        report.warn(text);
    }
    let place = Place::find(&mut request, &mut plan)?;
    let prepared = prepare(&mut request, &plan, place.is_some(), &mut report)?;
    let cgroup = place.as_ref().map(|place| place.begin(&mut report)).transpose()?;
    let mut creation = Creation { cgroup, child: None, terminal: None };
    let hooks = plan.hooks.clone();
    let hook_state = prepared.hook_state.clone();
    let privileges = plan.namespaces.user().then(|| Privileges::of(&plan));
    creation.clone(&request, plan, prepared, &mut report)?;
    creation.go(privileges.as_ref(), place.as_ref(), &mut report)?;
    let runtime_hooks = |pid: Pid| {
        let Some(hooks) = &hooks else { return Ok(()) };
        let state = hooks::State { pid: pid.as_raw_nonzero().get(), ..hook_state.clone() };
        hooks::run_runtime_hooks(hooks, &state)
    };
    creation.follow(&mut report, runtime_hooks)?;
    let (child, terminal, cgroup) = creation.finish()?;
    let list = hooks.as_ref().and_then(|h| h.poststart().as_deref()).unwrap_or_default();
    if matches!(request.start, Start::Now) && !list.is_empty() {
        let state = hooks::State { pid: child.pid.as_raw_nonzero().get(), ..hook_state };
        // The specification: a poststart hook that fails is logged, and the container goes on.
        for error in hooks::run_all("poststart", list, &state, "running") {
            report.warn(error.to_string());
        }
    }
    let Child { pid, pidfd, .. } = child;
    Ok(Launched { pid, pidfd, terminal, cgroup, warnings: report.into_warnings() })
}

/// Where the container's cgroup is to be, and what is to be in it.
///
/// It is made in two parts. Init is cloned into the v2 cgroup, so that one is there before; the directories of v1, ten
/// of them on a common host, are made and limited while init mounts on another processor, and init moves itself in.
struct Place {
    host: Host,
    path: CgroupPath,
    controllers: Controllers,
    limits: Limits,
}

impl Place {
    fn find(request: &mut Launch<'_>, plan: &mut Plan) -> Result<Option<Place>> {
        let asked = plan.cgroup_path.as_deref().and_then(Path::to_str);
        let Some(default) = asked.or(request.cgroup_default.as_deref()) else { return Ok(None) };
        let path = CgroupPath::from_spec(asked, default)?;
        let host = request.host.take().map_or_else(Host::probe, Ok)?;
        let limits = std::mem::take(&mut plan.limits);
        Ok(Some(Place { host, path, controllers: request.controllers.clone(), limits }))
    }

    fn begin(&self, report: &mut Reporter<'_>) -> Result<Cgroup> {
        report.timed(Step::Cgroup(self.path.as_str()), || Ok(Cgroup::create_unified(&self.host, &self.path)?))
    }

    /// Makes the rest; returns init's way in.
    fn complete(&self, cgroup: &mut Cgroup, report: &mut Reporter<'_>) -> Result<Vec<OwnedFd>> {
        let by_hand = OnceCell::new();
        let explains = report.explains();
        report.timed(Step::Limits(self.path.as_str(), &by_hand), || {
            cgroup.add_legacy(&self.host, &self.controllers)?;
            cgroup.set(&self.limits)?;
            if explains {
                by_hand.get_or_init(|| cgroup.by_hand(&self.limits).unwrap_or_default());
            }
            Ok(cgroup.entrance()?)
        })
    }
}

/// What only the creator may do for a process in a user namespace.
struct Privileges {
    /// Its maps, where the namespace is new.
    maps: Option<IdMaps>,
    rlimits: Vec<Rlimit>,
    oom_score_adj: Option<i32>,
}

impl Privileges {
    fn of(plan: &Plan) -> Self {
        Self {
            maps: plan.namespaces.new.contains(Namespaces::USER).then(|| plan.namespaces.maps.clone()),
            rlimits: plan.process.rlimits.clone(),
            oom_score_adj: plan.process.oom_score_adj,
        }
    }
}

struct Child {
    pid: Pid,
    pidfd: PidFd,
    socket: SeqSocket,
}

/// A container half made: dropped before [`Creation::finish`], its first process is killed, and everything that lives in
/// its namespaces goes with it.
struct Creation {
    cgroup: Option<Cgroup>,
    child: Option<Child>,
    terminal: Option<OwnedFd>,
}

impl Drop for Creation {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // Nothing more can be done about a process that cannot be killed or is not our child to reap.
            let _ = child.pidfd.kill();
            let _ = child.pidfd.wait();
        }
        // One that others live in stays: it is not empty.
        if let Some(cgroup) =
            self.cgroup.take().filter(|cgroup| cgroup.pids().is_ok_and(|pids| pids.is_empty()))
        {
            let _ = cgroup.remove();
        }
    }
}

impl Creation {
    /// Starts init, in the v2 cgroup at once where there is one.
    fn clone(
        &mut self,
        request: &Launch<'_>,
        plan: Plan,
        mut prepared: Prepared,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        let (ours, theirs) = SeqSocket::pair()?;
        let mut namespaces = plan.namespaces.new;
        // The root of a cgroup namespace is the cgroup of its maker: init makes it once it is in its cgroup. A time
        // namespace with offsets is made by init too: they are settable only before anybody is in it.
        namespaces = namespaces.without(Namespaces::CGROUP);
        if prepared.network.is_some() {
            namespaces = namespaces.without(Namespaces::NET);
        }
        if !plan.namespaces.time_offsets.is_empty() {
            namespaces = namespaces.without(Namespaces::TIME);
        }
        let cgroup = self.cgroup.as_ref().and_then(Cgroup::v2_dir);
        let clone = Clone3 { namespaces, cgroup, sibling: request.parent == Parent::Sibling };
        let early = take_early(&plan, &mut prepared);
        let joins_user = early.iter().any(|(kind, ..)| *kind == Namespaces::USER);
        // Each process must be left with one end only, so that the end of one is seen by the other.
        let ends = Cell::new(Some((ours, theirs)));
        let explain = report.explains();
        let body = || match ends.take() {
            Some((ours, theirs)) => {
                drop(ours);
                init::run(plan, prepared, &theirs)
            }
            None => 1,
        };
        let (pid, pidfd) = if joins_user {
            report.step(Step::Clone(namespaces), || through_stage(&clone, &early, explain, body))?
        } else {
            let own = visit(&early, report)?;
            let spawned = report.step(Step::Clone(namespaces), || clone.spawn(body))?;
            // Hooks and everything after are the host's.
            for (kind, fd) in &own {
                linux::setns(fd, *kind)?;
            }
            spawned
        };
        let (socket, theirs) = ends.take().ok_or_else(|| Error::InitGone("no socket".into()))?;
        drop(theirs);
        self.child = Some(Child { pid, pidfd, socket });
        Ok(())
    }

    fn child(&self) -> Result<&Child> {
        self.child.as_ref().ok_or_else(|| Error::InitGone("it was handed over".into()))
    }

    /// Does what only the creator can do for init, then lets it go on.
    fn go(
        &mut self,
        privileges: Option<&Privileges>,
        place: Option<&Place>,
        report: &mut Reporter<'_>,
    ) -> Result<()> {
        if let Some(Privileges { maps, rlimits, oom_score_adj }) = privileges {
            let pid = self.child()?.pid;
            if let Some(maps) = maps {
                report.step(Step::IdMaps(maps), || write_maps(pid, maps))?;
            }
            if !rlimits.is_empty() || oom_score_adj.is_some() {
                report.step(Step::LiftLimits, || lift_limits(pid, rlimits, *oom_score_adj))?;
            }
        }
        let entrance = match place.zip(self.cgroup.as_mut()) {
            Some((place, cgroup)) => place.complete(cgroup, report)?,
            None if privileges.is_none() => return Ok(()),
            None => Vec::new(),
        };
        let fds: Vec<_> = entrance.iter().map(AsFd::as_fd).collect();
        match send(&self.child()?.socket, &Frame::Go, &fds) {
            // An init that has failed meanwhile says why in its last message, which is still to be read.
            Err(error) if error.errno == Errno::PIPE => Ok(()),
            other => Ok(other?),
        }
    }

    /// Hears init out until it is ready, has become the user's program, or has failed.
    fn follow(&mut self, report: &mut Reporter<'_>, runtime_hooks: impl Fn(Pid) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            let child = self.child()?;
            // The end of the socket is close-on-exec at work: the user's program runs.
            let Some(mut received) = child.socket.recv(&mut buffer)? else { return self.check_alive() };
            let frame = serde_json::from_slice(&buffer[..received.len])
                .map_err(|error| Error::InitGone(format!("it sent nonsense: {error}")))?;
            match frame {
                Frame::Step(step) => report.forward(step),
                Frame::Warning(text) => report.warn(text),
                Frame::Terminal => self.terminal = received.fds.pop(),
                Frame::NeedHooks => {
                    report
                        .step(Step::Hooks("createRuntime"), || Ok::<_, Cause>(runtime_hooks(child.pid)))??;
                    send(&child.socket, &Frame::Go, &[])?;
                }
                Frame::Ready => return Ok(()),
                Frame::Failed(failure) => return Err(failure.into()),
                Frame::Go => return Err(Error::InitGone("it sent nonsense".into())),
            }
        }
    }

    /// An init that was killed before execve closes the socket too. A program that has ended already is no error: only a
    /// signal from outside tells the two apart, and then the exit status says the same to the caller.
    fn check_alive(&self) -> Result<()> {
        let child = self.child()?;
        match child.pidfd.info() {
            Err(error) if error.errno == Errno::SRCH => Err(Error::InitGone("it was killed".into())),
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<(Child, Option<OwnedFd>, Option<CgroupPath>)> {
        let child = self.child.take().ok_or_else(|| Error::InitGone("it was handed over".into()))?;
        let cgroup = self.cgroup.take().map(|cgroup| cgroup.path().clone());
        Ok((child, self.terminal.take(), cgroup))
    }
}

/// Takes the namespaces that init is to be born into from those that it joins itself.
///
/// A pid namespace is entered by children only. In a user namespace init has no rights over namespaces that belong to another
/// (`user_namespaces(7)`); the creator, outside, has. A user namespace itself comes first of all, because those that are made
/// with init must belong to it.
fn take_early(plan: &Plan, prepared: &mut Prepared) -> Vec<Join> {
    let user = plan.namespaces.user();
    let (mut early, late): (Vec<Join>, _) = std::mem::take(&mut prepared.joins)
        .into_iter()
        .partition(|(kind, ..)| *kind == Namespaces::PID || (user && *kind != Namespaces::MOUNT));
    prepared.joins = late;
    // Once in the user namespace, the rights over what is the host's are gone.
    early.sort_by_key(|(kind, ..)| *kind == Namespaces::USER);
    early
}

/// Enters namespaces, and returns the creator's own to go back to.
fn visit(early: &[Join], report: &mut Reporter<'_>) -> Result<Vec<(Namespaces, OwnedFd)>> {
    let mut own = Vec::new();
    for (kind, path, fd) in early {
        let file = format!("/proc/self/ns/{}", kind.file_name().unwrap_or_default());
        own.push((*kind, open_host(Path::new(&file))?));
        report.step(Step::JoinNamespace(*kind, path), || linux::setns(fd, *kind))?;
    }
    Ok(own)
}

/// Starts init from a process that enters a user namespace and the others for it, since there is no way back out of one.
/// Both have the same parent, who reaps the process between as any orphan where that is not the caller.
fn through_stage(
    clone: &Clone3<'_>,
    early: &[Join],
    explain: bool,
    body: impl FnOnce() -> i32,
) -> Result<(Pid, PidFd), Cause> {
    let (ours, theirs) = SeqSocket::pair()?;
    let parts = Cell::new(Some((ours, theirs, body)));
    let stage = Clone3 { sibling: clone.sibling, ..Default::default() };
    let (_, stage) = stage.spawn(|| {
        let Some((ours, link, body)) = parts.take() else { return 1 };
        drop(ours);
        let mut report = Reporter::to_creator(&link, explain);
        let entered = early.iter().try_for_each(|(kind, path, fd)| {
            report.step(Step::JoinNamespace(*kind, path), || linux::setns(fd, *kind))
        });
        let cloned = entered.and_then(|()| {
            let clone = Clone3 { namespaces: clone.namespaces, cgroup: clone.cgroup, sibling: true };
            clone.spawn(body).map_err(|error| failure(Step::Clone(clone.namespaces), error.into()))
        });
        let sent = match cloned {
            Ok((pid, pidfd)) => link.send(&pid.as_raw_nonzero().get().to_ne_bytes(), &[pidfd.as_fd()]),
            Err(failure) => send(&link, &Frame::Failed(failure), &[]),
        };
        i32::from(sent.is_err())
    })?;
    let gone = || Cause::Reason("the process that enters the user namespace was killed".into());
    let (ours, link, _) = parts.take().ok_or_else(gone)?;
    drop(link);
    let mut buffer = vec![0; MAX_FRAME];
    let outcome = loop {
        let Some(mut received) = ours.recv(&mut buffer)? else { break Err(gone()) };
        if let Some(pidfd) = received.fds.pop() {
            let number = buffer.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)).unwrap_or_default();
            break Pid::from_raw(number).map(|pid| (pid, PidFd::from(pidfd))).ok_or_else(gone);
        }
        match serde_json::from_slice(&buffer[..received.len]) {
            Ok(Frame::Failed(said)) => break Err(said.into()),
            // Its reports are init's steps too; the creator has its own.
            Ok(_) => {}
            Err(_) => break Err(gone()),
        }
    };
    if !clone.sibling {
        stage.wait()?;
    }
    outcome
}
