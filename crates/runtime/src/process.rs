//! The last part of every start, shared by a container's first process and by exec: from a process that is inside the
//! container with the runtime's rights to the user's program.
//!
//! The order is a chain of types, each made only by the one before, so that skipping or reordering does not compile:
//! label, limits, identity, then either capabilities, no_new_privs, descriptors, filter; or, without no_new_privs, the
//! filter before the capabilities, because loading one needs `CAP_SYS_ADMIN` then.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linux::{CStrings, CapSet, RootDir, caps};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Rlimit as KernelRlimit;
use rustix::thread::{Gid, Uid};

use crate::plan::{ProcessPlan, Rlimit};
use crate::step::{Cause, Failure, Reporter, Step, failure};

/// Loads the system call filter into the calling thread; made by the creator, used once here.
pub type LoadFilter = Box<dyn FnOnce() -> Result<(), Cause>>;

/// What finalisation needs besides the plan.
pub struct Context<'a> {
    /// A trusted procfs (see [`trusted_proc`]); needed for labels and the OOM score.
    pub proc: Option<BorrowedFd<'a>>,
    /// Docker's user, resolved inside the container; overrides the plan's.
    pub user: Option<&'a str>,
    /// Make the working directory when it is missing.
    pub create_cwd: bool,
    /// How many descriptors after the standard streams survive (`--preserve-fds`).
    pub keep_fds: u32,
    /// The system call filter.
    pub filter: Option<LoadFilter>,
}

/// A procfs of the caller's pid namespace that no container can have touched: a detached mount of its own.
///
/// # Errors
/// `EPERM` in a user namespace where procfs is not fully visible.
pub fn trusted_proc() -> linux::Result<OwnedFd> {
    use rustix::mount::MountAttrFlags as Attr;
    let attributes = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV | Attr::MOUNT_ATTR_NOEXEC;
    Ok(linux::FsContext::open("proc")?.mount(attributes)?.into())
}

/// Writes one value into a file of a trusted procfs: no mount below it is crossed, no magic link followed.
///
/// # Errors
/// The kernel's answer to the open or the write.
pub fn write_proc(proc: impl AsFd, path: &str, value: &[u8]) -> linux::Result<()> {
    let on = |call, errno| linux::Error::on(call, format!("/proc/{path}"), errno);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(|errno| on("openat2", errno))?;
    match rustix::io::write(&file, value) {
        Ok(n) if n == value.len() => Ok(()),
        Ok(_) => Err(on("write", Errno::IO)),
        Err(errno) => Err(on("write", errno)),
    }
}

/// A process inside the container, with nothing given up yet.
pub struct Entered<'a, 'r, 's> {
    plan: ProcessPlan,
    context: Context<'a>,
    report: &'r mut Reporter<'s>,
}

/// The program's label is set.
pub struct Labelled<'a, 'r, 's>(Entered<'a, 'r, 's>);
/// Resource limits and scheduling are set.
pub struct Limited<'a, 'r, 's>(Entered<'a, 'r, 's>);
/// The user is set, the working directory entered, the program found.
pub struct Identified<'a, 'r, 's> {
    inner: Entered<'a, 'r, 's>,
    program: CString,
    env: CStrings,
}
/// Nothing is left to give up.
pub struct Confined<'a, 'r, 's>(Identified<'a, 'r, 's>);

impl<'a, 'r, 's> Entered<'a, 'r, 's> {
    /// Begins the chain. The caller is in all of the container's namespaces and its root, and is not dumpable.
    pub fn new(plan: ProcessPlan, context: Context<'a>, report: &'r mut Reporter<'s>) -> Self {
        Self { plan, context, report }
    }

    /// Does the whole chain up to the last step before execve.
    ///
    /// # Errors
    /// The step that failed.
    pub fn confine(self) -> Result<Confined<'a, 'r, 's>, Failure> {
        self.label()?.limit()?.identify()?.confine()
    }

    /// Sets the AppArmor profile or SELinux label of the program to come, where the kernel has such a module.
    ///
    /// # Errors
    /// The step that failed: a label that cannot be set is never ignored.
    pub fn label(self) -> Result<Labelled<'a, 'r, 's>, Failure> {
        if let Some(profile) = &self.plan.apparmor {
            let value = format!("exec {profile}");
            self.report.step(Step::Label(profile), || {
                self.context.write("self/attr/apparmor/exec", value.as_bytes())
            })?;
        }
        if let Some(label) = &self.plan.selinux {
            self.report
                .step(Step::Label(label), || self.context.write("self/attr/exec", label.as_bytes()))?;
        }
        Ok(Labelled(self))
    }
}

impl Context<'_> {
    fn write(&self, path: &str, value: &[u8]) -> linux::Result<()> {
        let proc = self.proc.ok_or(linux::Error::on("openat2", format!("/proc/{path}"), Errno::NOENT))?;
        write_proc(proc, path, value)
    }
}

impl<'a, 'r, 's> Labelled<'a, 'r, 's> {
    /// Sets the OOM score, resource limits, scheduling and personality. What needs `CAP_SYS_RESOURCE` is clamped, with a
    /// warning, where the runtime itself does not have it.
    ///
    /// # Errors
    /// The step that failed.
    pub fn limit(self) -> Result<Limited<'a, 'r, 's>, Failure> {
        let Self(inner) = self;
        if let Some(value) = inner.plan.oom_score_adj {
            let clamped = inner.report.step(Step::OomScore(value), || {
                match inner.context.write("self/oom_score_adj", value.to_string().as_bytes()) {
                    // Lowering needs CAP_SYS_RESOURCE.
                    Err(error) if matches!(error.errno, Errno::ACCESS | Errno::PERM) => Ok(true),
                    other => other.map(|()| false),
                }
            })?;
            if clamped {
                inner
                    .report
                    .warn(format!("oomScoreAdj {value} needs CAP_SYS_RESOURCE; the current value is kept"));
            }
        }
        for limit in &inner.plan.rlimits {
            if let Some(text) = inner.report.step(Step::Rlimit(limit), || set_rlimit(limit))? {
                inner.report.warn(text);
            }
        }
        let plan = &inner.plan;
        if plan.scheduler.is_some() || plan.io_priority.is_some() || plan.personality.is_some() {
            inner.report.step(Step::Scheduling, || {
                plan.scheduler.as_ref().map_or(Ok(()), linux::sched::set_scheduler)?;
                plan.io_priority
                    .map_or(Ok(()), |(class, level)| linux::sched::set_io_priority(class, level))?;
                plan.personality.map_or(Ok(()), linux::sched::set_personality)
            })?;
        }
        Ok(Limited(inner))
    }
}

/// Sets a limit; returns a warning when it had to be clamped.
fn set_rlimit(limit: &Rlimit) -> Result<Option<String>, Cause> {
    let wanted = KernelRlimit { current: limit.soft, maximum: limit.hard };
    match rustix::process::setrlimit(limit.resource, wanted) {
        Ok(()) => return Ok(None),
        Err(Errno::PERM) => {}
        Err(errno) => return Err(linux::Error::on("prlimit64", limit.name, errno).into()),
    }
    let now = rustix::process::getrlimit(limit.resource);
    let lower = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let maximum = lower(limit.hard, now.maximum);
    let clamped = KernelRlimit { current: lower(limit.soft, maximum), maximum };
    rustix::process::setrlimit(limit.resource, clamped)
        .map_err(|errno| linux::Error::on("prlimit64", limit.name, errno))?;
    let shown = maximum.map_or_else(|| "unlimited".into(), |m| m.to_string());
    Ok(Some(format!("raising {} needs CAP_SYS_RESOURCE; clamped to {shown}", limit.name)))
}

impl<'a, 'r, 's> Limited<'a, 'r, 's> {
    /// Becomes the user, enters the working directory and finds the program, in this order of rights: what only the
    /// runtime may do first.
    ///
    /// # Errors
    /// The step that failed.
    pub fn identify(self) -> Result<Identified<'a, 'r, 's>, Failure> {
        let Self(Entered { mut plan, context, report }) = self;
        // Only what is below it can be reached: "/" is the container's root by now.
        let root = report.step(Step::WorkingDirectory(Path::new("/")), || RootDir::open(Path::new("/")))?;
        let mut home = None;
        if let Some(text) = context.user {
            let found = report.step(Step::FindUser(text), || crate::user::resolve(&root, text))?;
            (plan.uid, plan.gid, plan.groups) = (found.uid, found.gid, found.groups);
            // Who has no entry is at home in the root directory, as with docker.
            home = found.home.or_else(|| Some("/".into()));
        }
        let env = environment(&plan.env, home)
            .map_err(|reason| failure(Step::FindUser(context.user.unwrap_or_default()), reason.into()))?;
        give_stdio(report, plan.uid, plan.gid)?;
        rustix::process::umask(Mode::from_raw_mode(plan.umask.unwrap_or(0o022)));
        let entered = enter_cwd(report, &root, &plan.cwd, context.create_cwd, true)?;
        drop_bounding(report, &plan)?;
        become_user(report, &plan)?;
        if !entered {
            enter_cwd(report, &root, &plan.cwd, false, false)?;
        }
        drop(root);
        let program = find_program(report, &plan)?;
        Ok(Identified { inner: Entered { plan, context, report }, program, env })
    }
}

/// The environment as given; `HOME` is added from the user's entry when it is missing, as docker does.
fn environment(env: &[String], home: Option<String>) -> Result<CStrings, String> {
    let has_home = env.iter().any(|e| e.starts_with("HOME="));
    let extra = home.filter(|_| !has_home).map(|home| format!("HOME={home}"));
    CStrings::from_text(env.iter().map(String::as_str).chain(extra.as_deref()))
        .map_err(|_| "the environment has a NUL byte".to_owned())
}

/// Gives the standard streams to the user, so that `/dev/stdout` and the like can be opened again. Never `/dev/null`,
/// and a stream that cannot be given (another filesystem's rules) stays as it is.
fn give_stdio(report: &mut Reporter<'_>, uid: u32, gid: u32) -> Result<(), Failure> {
    use linux::descriptor::StdStream;
    if uid == 0 {
        return Ok(());
    }
    report.step(Step::StdioOwner(uid), || {
        for stream in [StdStream::Stdin, StdStream::Stdout, StdStream::Stderr] {
            let give = |fd: BorrowedFd<'_>| {
                let Ok(stat) = rustix::fs::fstat(fd) else { return Ok(()) };
                let null = rustix::fs::makedev(1, 3);
                if stat.st_uid == uid || stat.st_rdev == null {
                    return Ok(());
                }
                match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                    Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OPNOTSUPP) | Ok(()) => Ok(()),
                    Err(errno) => Err(linux::Error::on("fchown", format!("fd {}", stream as i32), errno)),
                }
            };
            match stream {
                StdStream::Stdin => give(std::io::stdin().as_fd())?,
                StdStream::Stdout => give(std::io::stdout().as_fd())?,
                StdStream::Stderr => give(std::io::stderr().as_fd())?,
            }
        }
        Ok::<(), linux::Error>(())
    })
}

/// Enters the working directory through the root, without magic links (CVE-2024-21626), and checks that the kernel
/// agrees that it is inside. Returns false where it may be entered by the user only (`EACCES`, and `tolerate`).
fn enter_cwd(
    report: &mut Reporter<'_>,
    root: &RootDir,
    cwd: &Path,
    create: bool,
    tolerate: bool,
) -> Result<bool, Failure> {
    report.step(Step::WorkingDirectory(cwd), || {
        let dir = match root.open_in_root(cwd, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(error) if error.errno == Errno::NOENT && create => {
                root.mkdir_p(cwd, Mode::from_raw_mode(0o755))?
            }
            Err(error) if error.errno == Errno::ACCESS && tolerate => return Ok(false),
            other => other?,
        };
        match rustix::process::fchdir(&dir) {
            Err(Errno::ACCESS) if tolerate => return Ok(false),
            other => other.map_err(|errno| linux::Error::on("fchdir", cwd.to_string_lossy(), errno))?,
        }
        let shown =
            rustix::process::getcwd(Vec::new()).map_err(|errno| linux::Error::new("getcwd", errno))?;
        if shown.as_bytes().first() != Some(&b'/') {
            return Err(Cause::Reason("the working directory is outside the container's root".into()));
        }
        Ok(true)
    })
}

/// Needs `CAP_SETPCAP`, so it comes before the change of user.
fn drop_bounding(report: &mut Reporter<'_>, plan: &ProcessPlan) -> Result<(), Failure> {
    report.step(Step::Capabilities(&plan.caps), || caps::limit_bounding(plan.caps.bounding))
}

fn become_user(report: &mut Reporter<'_>, plan: &ProcessPlan) -> Result<(), Failure> {
    report.step(Step::User(plan.uid, plan.gid, &plan.groups), || {
        let groups: Vec<Gid> = plan.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        match rustix::thread::set_thread_groups(&groups) {
            // A user namespace with `setgroups deny` has no groups to drop to.
            Err(Errno::PERM) if groups.is_empty() => {}
            other => other.map_err(|errno| linux::Error::new("setgroups", errno))?,
        }
        if plan.uid != 0 {
            rustix::thread::set_keep_capabilities(true)
                .map_err(|errno| linux::Error::new("prctl(PR_SET_KEEPCAPS)", errno))?;
        }
        let gid = Gid::from_raw(plan.gid);
        rustix::thread::set_thread_res_gid(gid, gid, gid)
            .map_err(|errno| linux::Error::on("setresgid", plan.gid.to_string(), errno))?;
        let uid = Uid::from_raw(plan.uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid)
            .map_err(|errno| linux::Error::on("setresuid", plan.uid.to_string(), errno))
    })
}

/// Looks the program up as `execvp` does, with the container's own `PATH`, inside the container.
fn find_program(report: &mut Reporter<'_>, plan: &ProcessPlan) -> Result<CString, Failure> {
    let name = plan.args.as_slice().first().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let step = Step::FindProgram(&name);
    let not_found = |errno: Errno| Failure {
        what: format!("cannot {}", step.what()),
        call: "execve".into(),
        detail: name.clone(),
        errno: Some(errno.raw_os_error()),
        program: Some(name.clone()),
    };
    if name.contains('/') {
        return CString::new(name.as_str()).map_err(|_| not_found(Errno::INVAL));
    }
    let path = plan.env.iter().find_map(|e| e.strip_prefix("PATH="));
    let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut best = Errno::NOENT;
    let found = report.step(step, || {
        for dir in path.split(':') {
            let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(&name);
            match rustix::fs::accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::EACCESS) {
                Ok(()) if !is_directory(&candidate) => return Ok(Some(candidate)),
                Err(Errno::ACCESS) => best = Errno::ACCESS,
                _ => {}
            }
        }
        Ok::<_, Cause>(None)
    })?;
    let found = found.ok_or_else(|| not_found(best))?;
    CString::new(found.as_os_str().as_bytes()).map_err(|_| not_found(Errno::INVAL))
}

fn is_directory(path: &Path) -> bool {
    rustix::fs::stat(path)
        .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode) == rustix::fs::FileType::Directory)
}

impl<'a, 'r, 's> Identified<'a, 'r, 's> {
    /// Gives up capabilities, rules out new privileges, closes what is ours and loads the filter.
    ///
    /// # Errors
    /// The step that failed.
    pub fn confine(mut self) -> Result<Confined<'a, 'r, 's>, Failure> {
        let Entered { plan, context, report } = &mut self.inner;
        let keep = context.keep_fds;
        report.step(Step::CloseDescriptors(keep), || {
            linux::descriptor::cloexec_from(3_i32.saturating_add(i32::try_from(keep).unwrap_or(i32::MAX - 3)))
        })?;
        let filter = context.filter.take();
        if plan.no_new_privs {
            drop_capabilities(report, plan)?;
            report.step(Step::NoNewPrivs, || {
                rustix::thread::set_no_new_privs(true)
                    .map_err(|errno| linux::Error::new("prctl(PR_SET_NO_NEW_PRIVS)", errno))
            })?;
            load(report, filter)?;
        } else {
            if filter.is_some() {
                // A change of user cleared the effective set; loading a filter needs CAP_SYS_ADMIN in it.
                report.step(Step::Seccomp, || {
                    let (_, permitted, _) = caps::current()?;
                    caps::set(permitted, permitted, CapSet::EMPTY)
                })?;
            }
            load(report, filter)?;
            drop_capabilities(report, plan)?;
        }
        Ok(Confined(self))
    }
}

fn load(report: &mut Reporter<'_>, filter: Option<LoadFilter>) -> Result<(), Failure> {
    match filter {
        Some(filter) => report.step(Step::Seccomp, filter),
        None => Ok(()),
    }
}

/// What the runtime itself does not have cannot be given: the sets are cut to what is permitted now.
fn drop_capabilities(report: &mut Reporter<'_>, plan: &ProcessPlan) -> Result<(), Failure> {
    let wanted = plan.caps;
    let missing = report.step(Step::Capabilities(&wanted), || {
        let (_, have, _) = caps::current()?;
        let inheritable = wanted.inheritable.and(have);
        caps::set(wanted.effective.and(have), wanted.permitted.and(have), inheritable)?;
        caps::set_ambient(wanted.ambient.and(have))?;
        Ok::<_, linux::Error>(wanted.permitted.without(have))
    })?;
    if !missing.is_empty() {
        report.warn(format!("not permitted to this runtime, so not given: {}", missing.names().join(" ")));
    }
    Ok(())
}

impl Confined<'_, '_, '_> {
    /// The reporter, for the message that says that all is prepared.
    pub fn explains(&self) -> bool {
        self.0.inner.report.explains()
    }

    /// Becomes the user's program; returns only when that failed.
    pub fn exec(self) -> Failure {
        linux::signals::default_sigpipe();
        let args = &self.0.inner.plan.args;
        let errno = linux::execve(&self.0.program, args, &self.0.env);
        let name = args.as_slice().first().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Failure {
            what: format!("cannot {}", Step::Exec(&name).what()),
            call: "execve".into(),
            detail: self.0.program.to_string_lossy().into_owned(),
            errno: Some(errno.raw_os_error()),
            program: Some(name),
        }
    }
}
