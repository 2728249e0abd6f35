//! `process`: what both the first process of a container and an exec'd one are made of.

use std::path::{Path, PathBuf};

use linux::sched::Scheduler;
use linux::{CStrings, CapSet};
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    PosixRlimitType, Process,
};
use rustix::process::Resource;
use rustix::termios::Winsize;

use super::{MAX_ENTRIES, absolute, budget};
use crate::{Error, Result};

/// The most bytes that arguments and environment may have together; the kernel's own limit is a quarter of the stack
/// limit, 2 MiB by default.
const MAX_STRINGS: usize = 8 << 20;

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// Which.
    pub resource: Resource,
    /// Its name in the specification.
    pub name: &'static str,
    /// `rlim_cur`; none is infinity.
    pub soft: Option<u64>,
    /// `rlim_max`; none is infinity.
    pub hard: Option<u64>,
}

/// The capability sets a process gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapPlan {
    /// What can ever be gained.
    pub bounding: CapSet,
    /// What is permitted.
    pub permitted: CapSet,
    /// What is in effect.
    pub effective: CapSet,
    /// Empty, but for what `ambient` needs: a non-empty inheritable set let file capabilities grant what was meant to be
    /// dropped (CVE-2022-29162 and its kin).
    pub inheritable: CapSet,
    /// Kept by a program run as an ordinary user.
    pub ambient: CapSet,
}

/// A process to be started in a container.
#[derive(Debug)]
pub struct ProcessPlan {
    /// `args`.
    pub args: CStrings,
    /// `env`: exactly the environment, nothing is inherited.
    pub env: Vec<String>,
    /// `cwd`.
    pub cwd: PathBuf,
    /// `user.uid`.
    pub uid: u32,
    /// `user.gid`.
    pub gid: u32,
    /// `user.additionalGids`.
    pub groups: Vec<u32>,
    /// `user.umask`.
    pub umask: Option<u32>,
    /// `capabilities`.
    pub caps: CapPlan,
    /// `rlimits`.
    pub rlimits: Vec<Rlimit>,
    /// `oomScoreAdj`.
    pub oom_score_adj: Option<i32>,
    /// `noNewPrivileges`.
    pub no_new_privs: bool,
    /// `apparmorProfile`.
    pub apparmor: Option<String>,
    /// `selinuxLabel`.
    pub selinux: Option<String>,
    /// `terminal`.
    pub terminal: bool,
    /// `consoleSize`.
    pub console_size: Option<Winsize>,
    /// `ioPriority`: class and level.
    pub io_priority: Option<(u8, u8)>,
    /// `scheduler`.
    pub scheduler: Option<Scheduler>,
    /// `linux.personality`, of the container.
    pub personality: Option<u32>,
}

impl ProcessPlan {
    /// Checks a process object and turns it into a plan.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the field.
    pub fn new(
        process: &Process,
        personality: Option<&LinuxPersonality>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let args = process.args().as_deref().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err(Error::spec("process.args", "must have a program as its first entry"));
        }
        let env = process.env().as_deref().unwrap_or_default();
        check_strings(args, env)?;
        let user = process.user();
        let groups = user.additional_gids().clone().unwrap_or_default();
        budget("process.user.additionalGids", groups.len())?;
        Ok(Self {
            args: CStrings::from_text(args).map_err(|_| Error::spec("process.args", "has a NUL byte"))?,
            env: env.to_vec(),
            cwd: cwd(process.cwd())?,
            uid: user.uid(),
            gid: user.gid(),
            groups,
            umask: user.umask().map(|m| m & 0o777),
            caps: caps(process, warnings),
            rlimits: rlimits(process)?,
            oom_score_adj: oom_score_adj(process)?,
            no_new_privs: process.no_new_privileges().unwrap_or(false),
            apparmor: label("process.apparmorProfile", process.apparmor_profile().as_deref())?,
            selinux: label("process.selinuxLabel", process.selinux_label().as_deref())?,
            terminal: process.terminal().unwrap_or(false),
            console_size: process.console_size().map(|size| Winsize {
                ws_row: u16::try_from(size.height()).unwrap_or(u16::MAX),
                ws_col: u16::try_from(size.width()).unwrap_or(u16::MAX),
                ws_xpixel: 0,
                ws_ypixel: 0,
            }),
            io_priority: io_priority(process)?,
            scheduler: scheduler(process)?,
            personality: personality.map(|p| match p.domain() {
                LinuxPersonalityDomain::PerLinux => 0,
                LinuxPersonalityDomain::PerLinux32 => 8,
            }),
        })
    }
}

fn check_strings(args: &[String], env: &[String]) -> Result<()> {
    let total: usize = args.iter().chain(env).map(|s| s.len() + 1).sum();
    if total > MAX_STRINGS || args.len() + env.len() > 16 * MAX_ENTRIES {
        return Err(Error::spec(
            "process",
            format!("args and env have {total} bytes; at most {MAX_STRINGS} are accepted"),
        ));
    }
    for (i, entry) in env.iter().enumerate() {
        // A name without `=` would make some programs look it up in their own environment (podman's CVE-2026-57231).
        if entry.find('=').is_none_or(|at| at == 0) || entry.contains('\0') {
            return Err(Error::spec(format!("process.env[{i}]"), "must be NAME=VALUE without NUL"));
        }
    }
    Ok(())
}

fn cwd(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Ok("/".into());
    }
    absolute("process.cwd", path)
}

/// An unknown name is a capability of a newer kernel or a typing error: in both cases what cannot be given is not given.
fn caps(process: &Process, warnings: &mut Vec<String>) -> CapPlan {
    let Some(spec) = process.capabilities() else { return CapPlan::default() };
    let mut read = |names: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = CapSet::EMPTY;
        for name in names.iter().flatten() {
            let name = name.to_string();
            match CapSet::from_name(&name) {
                Some(cap) => set = set.or(cap),
                None => warnings.push(format!("process.capabilities: {name} is unknown and was left out")),
            }
        }
        set
    };
    let bounding = read(spec.bounding());
    let permitted = read(spec.permitted());
    let effective = read(spec.effective()).and(permitted);
    let inheritable = read(spec.inheritable());
    let ambient = read(spec.ambient()).and(permitted).and(inheritable);
    CapPlan { bounding, permitted, effective, inheritable: ambient, ambient }
}

fn rlimits(process: &Process) -> Result<Vec<Rlimit>> {
    let list = process.rlimits().as_deref().unwrap_or_default();
    let mut limits: Vec<Rlimit> = Vec::with_capacity(list.len());
    for (i, entry) in list.iter().enumerate() {
        let (resource, name) = resource(entry.typ());
        let field = format!("process.rlimits[{i}]");
        if limits.iter().any(|l| l.resource == resource) {
            return Err(Error::spec(field, format!("{name} is listed twice")));
        }
        if entry.soft() > entry.hard() {
            return Err(Error::spec(
                field,
                format!("{name}: soft {} is above hard {}", entry.soft(), entry.hard()),
            ));
        }
        let finite = |value: u64| (value != u64::MAX).then_some(value);
        limits.push(Rlimit { resource, name, soft: finite(entry.soft()), hard: finite(entry.hard()) });
    }
    Ok(limits)
}

fn resource(typ: PosixRlimitType) -> (Resource, &'static str) {
    match typ {
        PosixRlimitType::RlimitCpu => (Resource::Cpu, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (Resource::Fsize, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (Resource::Data, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (Resource::Stack, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (Resource::Core, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (Resource::Rss, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (Resource::Nproc, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (Resource::Nofile, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (Resource::Memlock, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (Resource::As, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (Resource::Locks, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (Resource::Sigpending, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (Resource::Msgqueue, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (Resource::Nice, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (Resource::Rtprio, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (Resource::Rttime, "RLIMIT_RTTIME"),
    }
}

fn oom_score_adj(process: &Process) -> Result<Option<i32>> {
    match process.oom_score_adj() {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(Error::spec("process.oomScoreAdj", format!("{value} is not within -1000..=1000")))
        }
        other => Ok(other),
    }
}

fn label(field: &str, text: Option<&str>) -> Result<Option<String>> {
    match text {
        None | Some("") => Ok(None),
        Some(text) if text.len() > 4096 || text.bytes().any(|b| b.is_ascii_control()) => {
            Err(Error::spec(field, "has control characters or is longer than 4096 bytes"))
        }
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn io_priority(process: &Process) -> Result<Option<(u8, u8)>> {
    let Some(spec) = process.io_priority() else { return Ok(None) };
    let class = match spec.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u8::try_from(spec.priority()) {
        Ok(level @ 0..=7) => Ok(Some((class, level))),
        _ => Err(Error::spec(
            "process.ioPriority.priority",
            format!("{} is not within 0..=7", spec.priority()),
        )),
    }
}

fn scheduler(process: &Process) -> Result<Option<Scheduler>> {
    let Some(spec) = process.scheduler() else { return Ok(None) };
    let policy = match spec.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let nice = spec.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::spec("process.scheduler.nice", format!("{nice} is not within -20..=19")));
    }
    let priority = u32::try_from(spec.priority().unwrap_or(0))
        .map_err(|_| Error::spec("process.scheduler.priority", "must not be negative"))?;
    let flags = spec.flags().iter().flatten().fold(0, |bits, flag| {
        bits | match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 1,
            LinuxSchedulerFlag::SchedFlagReclaim => 2,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 4,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 8,
            LinuxSchedulerFlag::SchedFlagKeepParams => 16,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 32,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 64,
        }
    });
    Ok(Some(Scheduler {
        policy,
        flags,
        nice,
        priority,
        runtime: spec.runtime().unwrap_or(0),
        deadline: spec.deadline().unwrap_or(0),
        period: spec.period().unwrap_or(0),
    }))
}
