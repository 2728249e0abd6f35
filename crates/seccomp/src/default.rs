//! The profiles a container gets by default, as tables.
//!
//! Both sets allow the same calls but for the differences listed here; they differ in what a refused call sees.
//!
//! | | `Docker` | `Sampan` |
//! |---|---|---|
//! | refused and known | EPERM | EPERM |
//! | refused and newer than these tables | EPERM up to the newest known, then ENOSYS | ENOSYS, so that libc falls back |
//! | x32 ABI | the same rules | not an allowed architecture: the thread is killed |
//! | vmsplice, name_to_handle_at | allowed | EPERM (the second needs CAP_DAC_READ_SEARCH) |
//! | socket families AF_ALG, AF_VSOCK | EPERM, compared as 64 bits | EPERM, compared as the 32 bits that the kernel reads |
//!
//! The last row matters: the kernel takes the family as an `int`, so `socket(0x1_0000_0026, ...)` opens an AF_ALG socket
//! past a 64-bit `family > 40` rule.

use std::collections::BTreeSet;

use crate::Arch;
use crate::profile::{Action, Condition, Op, Profile, Rule};

/// Version of what [`default_profile`] returns for the same arguments; part of a cached program's name.
pub(crate) const DEFAULTS_VERSION: u32 = 1;

/// Which default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileSet {
    /// This project's.
    Sampan,
    /// docker's, exactly.
    Docker,
}

/// Allowed to every container.
const ALLOWED: &str = "
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
    fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area
    getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid
    getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount
    listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack
    membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2
    mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc
    pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
    pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile
    sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32
    setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
    setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32
    setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
    socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync
    sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
    timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
    uretprobe utime utimensat utimensat_time64 utimes vfork wait4 waitid waitpid write writev
";

/// Allowed by docker to every container, refused by `Sampan`: zero-copy page donation and file handles, which have been parts of
/// escapes and which ordinary programs do without.
const ALLOWED_BY_DOCKER: &str = "name_to_handle_at vmsplice";

/// Allowed to every container from kernel 4.8, when ptrace stopped being a way around a filter; older ones are not served.
const ALLOWED_TRACING: &str = "process_vm_readv process_vm_writev ptrace";

/// Allowed on these machines.
const ALLOWED_ON: &[(Arch, &str)] = &[
    (Arch::X86_64, "arch_prctl modify_ldt"),
    (Arch::Aarch64, "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
];

/// Allowed with a capability in the bounding set.
const ALLOWED_WITH: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// Refused to every container with EPERM by `Sampan` rather than with its default ENOSYS: the kernel has them, so a program that
/// falls back on ENOSYS would fall back to the wrong thing.
const REFUSED: &str = "
    _sysctl add_key bdflush create_module get_kernel_syms io_uring_enter io_uring_register io_uring_setup
    kexec_file_load kexec_load keyctl migrate_pages move_pages nfsservctl nice oldfstat oldlstat oldolduname oldstat
    olduname pciconfig_iobase pciconfig_read pciconfig_write pivot_root query_module readdir request_key sgetmask
    sigaction signal sigpending sigsuspend ssetmask swapoff swapon sysfs uselib userfaultfd ustat vm86 vm86old
";

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h).
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// personality(2): PER_LINUX, PER_LINUX32, UNAME26, both, and the query.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Socket families (linux/socket.h).
const AF_ALG: u64 = 38;
const AF_NFC: u64 = 39;
const AF_VSOCK: u64 = 40;
const AF_MAX: u64 = 46;
/// The families but AF_ALG and AF_VSOCK, as prefixes of 32 bits: (mask, value).
const FAMILIES: [(u64, u64); 7] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, AF_NFC),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffe, 44),
];

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);
const EAFNOSUPPORT: Action = Action::Errno(97);

/// A rule for names in a table.
fn rule(names: &str, action: Action) -> Rule {
    let names = names.split_ascii_whitespace().map(str::to_owned).collect();
    Rule { names, action, conditions: Vec::new() }
}

/// A rule for one call under a condition on its first argument.
fn rule_if(name: &str, action: Action, op: Op, value: u64, value_two: u64) -> Rule {
    let conditions = vec![Condition { index: 0, op, value, value_two }];
    Rule { names: vec![name.to_owned()], action, conditions }
}

/// What every value of an argument satisfies. libseccomp tries it after the equalities of the same call, so it is their
/// `otherwise`; a rule without conditions would replace them.
fn otherwise(name: &str, action: Action) -> Rule {
    rule_if(name, action, Op::Ge, 0, 0)
}

/// The profile of a container whose bounding set is `caps` (names as `CAP_SYS_ADMIN`) on a machine of `arch`.
pub fn default_profile(caps: &BTreeSet<String>, set: ProfileSet, arch: Arch) -> Profile {
    let mut rules = vec![rule(ALLOWED, Action::Allow), rule(ALLOWED_TRACING, Action::Allow)];
    let granted = |cap: &str| caps.contains(cap);
    rules
        .extend(ALLOWED_ON.iter().filter(|(on, _)| *on == arch).map(|(_, names)| rule(names, Action::Allow)));
    let with = ALLOWED_WITH.iter().filter(|(cap, _)| granted(cap));
    rules.extend(with.map(|(_, names)| rule(names, Action::Allow)));
    let admin = granted("CAP_SYS_ADMIN");
    if !admin {
        rules.push(rule_if("clone", Action::Allow, Op::MaskedEq, CLONE_NAMESPACES, 0));
        // Its flags are in memory, out of a filter's sight; libc falls back to clone on ENOSYS.
        rules.push(rule("clone3", ENOSYS));
    }
    rules.extend(PERSONALITIES.map(|value| rule_if("personality", Action::Allow, Op::Eq, value, 0)));
    match set {
        ProfileSet::Docker => docker(&mut rules),
        ProfileSet::Sampan => sampan(&mut rules, &granted),
    }
    let architectures = match arch {
        Arch::X86_64 if set == ProfileSet::Docker => vec![Arch::X86_64, Arch::X86, Arch::X32],
        Arch::X86_64 => vec![Arch::X86_64, Arch::X86],
        Arch::Aarch64 => vec![Arch::Aarch64, Arch::Arm],
        other => vec![other],
    };
    Profile {
        default_action: if set == ProfileSet::Docker { EPERM } else { ENOSYS },
        architectures,
        flags: None,
        listener_path: None,
        listener_metadata: None,
        rules,
    }
}

/// What docker has and `Sampan` has not.
fn docker(rules: &mut Vec<Rule>) {
    rules.push(rule(ALLOWED_BY_DOCKER, Action::Allow));
    rules.push(rule_if("socket", Action::Allow, Op::Lt, AF_ALG, 0));
    rules.push(rule_if("socket", Action::Allow, Op::Eq, AF_NFC, 0));
    rules.push(rule_if("socket", Action::Allow, Op::Gt, AF_VSOCK, 0));
}

/// What `Sampan` has and docker has not: reasons for refusing.
fn sampan(rules: &mut Vec<Rule>, granted: &dyn Fn(&str) -> bool) {
    if granted("CAP_DAC_READ_SEARCH") {
        rules.push(rule("name_to_handle_at", Action::Allow));
    }
    for (mask, value) in FAMILIES {
        rules.push(rule_if("socket", Action::Allow, Op::MaskedEq, mask, value));
    }
    for family in [AF_ALG, AF_VSOCK] {
        rules.push(rule_if("socket", EPERM, Op::MaskedEq, 0xffff_ffff, family));
    }
    rules.push(rule_if("socket", EAFNOSUPPORT, Op::Ge, AF_MAX, 0));
    rules.push(otherwise("personality", EPERM));
    if !granted("CAP_SYS_ADMIN") {
        rules.push(otherwise("clone", EPERM));
    }
    // Everything of the tables above that no rule has named yet is known and refused.
    let missing = ALLOWED_WITH.iter().filter(|(cap, _)| !granted(cap)).map(|(_, names)| *names);
    let named: BTreeSet<&str> = rules.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
    let refused: BTreeSet<&str> = missing
        .chain([REFUSED, ALLOWED_BY_DOCKER])
        .flat_map(str::split_ascii_whitespace)
        .filter(|name| !named.contains(name))
        .collect();
    let names = refused.into_iter().map(str::to_owned).collect();
    rules.push(Rule { names, action: EPERM, conditions: Vec::new() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(profile: &Profile, action: Action) -> usize {
        let plain = |rule: &&Rule| rule.action == action && rule.conditions.is_empty();
        profile.rules.iter().filter(plain).map(|rule| rule.names.len()).sum()
    }

    /// A program that is cached under its request's name must not outlive a change of what the request means.
    #[test]
    fn a_change_of_the_profiles_is_a_change_of_their_version() {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let all: BTreeSet<String> = ALLOWED_WITH.iter().map(|(cap, _)| (*cap).to_owned()).collect();
        for set in [ProfileSet::Docker, ProfileSet::Sampan] {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                for caps in [&BTreeSet::new(), &all] {
                    hash.update(default_profile(caps, set, arch).canonical());
                }
            }
        }
        let first = hash.finalize()[..4].try_into().map(u32::from_be_bytes).unwrap();
        assert_eq!(
            (DEFAULTS_VERSION, first),
            (1, 0x34b5_96d0),
            "raise DEFAULTS_VERSION and write down {first:#x}"
        );
    }

    #[test]
    fn docker_allows_what_docker_allows() {
        let base =
            ALLOWED.split_ascii_whitespace().count() + ALLOWED_BY_DOCKER.split_ascii_whitespace().count();
        assert_eq!(base, 361);
        let plain = default_profile(&BTreeSet::new(), ProfileSet::Docker, Arch::X86_64);
        assert_eq!(count(&plain, Action::Allow), 361 + 3 + 2);
        assert_eq!(plain.default_action, EPERM);
    }

    #[test]
    fn every_name_is_a_system_call() {
        for set in [ProfileSet::Docker, ProfileSet::Sampan] {
            let profile = default_profile(&BTreeSet::new(), set, Arch::Aarch64);
            // The one call of the common list that only an uncompiled machine has.
            assert_eq!(profile.unknown_syscalls(), ["riscv_hwprobe"]);
        }
    }

    #[test]
    fn the_families_are_all_but_two() {
        for family in 0..AF_MAX {
            let allowed = FAMILIES.iter().any(|(mask, value)| family & mask == *value);
            assert_eq!(allowed, family != AF_ALG && family != AF_VSOCK, "{family}");
        }
    }

    #[test]
    fn a_capability_turns_a_refusal_into_a_permission() {
        let caps = BTreeSet::from(["CAP_BPF".to_owned()]);
        let profile = default_profile(&caps, ProfileSet::Sampan, Arch::X86_64);
        let action = |name: &str| {
            let mut found = profile.rules.iter().filter(|rule| rule.names.iter().any(|n| n == name));
            (found.next().map(|rule| rule.action), found.count())
        };
        assert_eq!(action("bpf"), (Some(Action::Allow), 0));
        assert_eq!(action("mount"), (Some(EPERM), 0));
        assert_eq!(action("vmsplice"), (Some(EPERM), 0));
        assert_eq!(action("open_tree_attr"), (None, 0));
    }
}
