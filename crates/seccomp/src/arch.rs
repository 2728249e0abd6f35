//! Architectures and their system call tables.

use std::collections::HashMap;
use std::sync::OnceLock;

/// An architecture that a profile may name (`SCMP_ARCH_*`).
///
/// Only those with a [table](Arch::compiled) are compiled; the others never reach a filter that runs on this machine,
/// because a kernel runs only its own machine's ABIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the SCMP_ARCH_ constant of the same name")]
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64n32,
    Mipsel,
    Mipsel64,
    Mipsel64n32,
    Ppc,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390,
    S390x,
    Parisc,
    Parisc64,
    Loongarch64,
}

/// Every architecture with its OCI name and the name docker's `includes.arches` uses for it.
const NAMES: &[(Arch, &str, &str)] = &[
    (Arch::X86, "SCMP_ARCH_X86", "x86"),
    (Arch::X86_64, "SCMP_ARCH_X86_64", "amd64"),
    (Arch::X32, "SCMP_ARCH_X32", "x32"),
    (Arch::Arm, "SCMP_ARCH_ARM", "arm"),
    (Arch::Aarch64, "SCMP_ARCH_AARCH64", "arm64"),
    (Arch::Mips, "SCMP_ARCH_MIPS", "mips"),
    (Arch::Mips64, "SCMP_ARCH_MIPS64", "mips64"),
    (Arch::Mips64n32, "SCMP_ARCH_MIPS64N32", "mips64n32"),
    (Arch::Mipsel, "SCMP_ARCH_MIPSEL", "mipsel"),
    (Arch::Mipsel64, "SCMP_ARCH_MIPSEL64", "mipsel64"),
    (Arch::Mipsel64n32, "SCMP_ARCH_MIPSEL64N32", "mipsel64n32"),
    (Arch::Ppc, "SCMP_ARCH_PPC", "ppc"),
    (Arch::Ppc64, "SCMP_ARCH_PPC64", "ppc64"),
    (Arch::Ppc64le, "SCMP_ARCH_PPC64LE", "ppc64le"),
    (Arch::Riscv64, "SCMP_ARCH_RISCV64", "riscv64"),
    (Arch::S390, "SCMP_ARCH_S390", "s390"),
    (Arch::S390x, "SCMP_ARCH_S390X", "s390x"),
    (Arch::Parisc, "SCMP_ARCH_PARISC", "parisc"),
    (Arch::Parisc64, "SCMP_ARCH_PARISC64", "parisc64"),
    (Arch::Loongarch64, "SCMP_ARCH_LOONGARCH64", "loongarch64"),
];

/// Set in the number of every system call of the x32 ABI (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// What x86 programs reach through socketcall(2): name and first argument (linux/net.h).
const SOCKETCALL: &[(&str, u32)] = &[
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

/// What x86 programs reach through ipc(2): name and first argument (linux/ipc.h).
const IPC: &[(&str, u32)] = &[
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// x32 numbers that differ from x86_64's: the calls with a structure of pointers or longs (syscall_64.tbl, ABI "x32").
const X32_OWN: &[(&str, u32)] = &[
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// x86_64 calls that the x32 ABI does not have at all (syscall_64.tbl, ABI "64").
const X32_ABSENT: &[&str] = &[
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
];

/// The calls private to 32-bit ARM (asm/unistd.h, `__ARM_NR_BASE`).
const ARM_PRIVATE: &[(&str, u32)] = &[
    ("breakpoint", 0xf_0001),
    ("cacheflush", 0xf_0002),
    ("usr26", 0xf_0003),
    ("usr32", 0xf_0004),
    ("set_tls", 0xf_0005),
    ("get_tls", 0xf_0006),
];

type Table = HashMap<&'static str, u32>;

/// Fills a table from one of the `syscalls` crate's enums. Its iterator stops before the last entry, so that is added.
macro_rules! table {
    ($sysno:ty) => {{
        let mut table = Table::new();
        for sysno in <$sysno>::iter().chain([<$sysno>::last()]) {
            let name = sysno.name();
            table.insert(name.strip_prefix("r#").unwrap_or(name), sysno.id().cast_unsigned());
        }
        table
    }};
}

fn x32() -> Table {
    let mut table = table!(syscalls::x86_64::Sysno);
    table.retain(|name, _| !X32_ABSENT.contains(name));
    table.extend(X32_OWN.iter().copied());
    for number in table.values_mut() {
        *number |= X32_BIT;
    }
    table
}

fn aarch64() -> Table {
    let mut table = table!(syscalls::aarch64::Sysno);
    // The header that the crate reads calls it by its libc name.
    if let Some(number) = table.get("fstatat").copied() {
        table.insert("newfstatat", number);
    }
    table
}

fn arm() -> Table {
    let mut table = table!(syscalls::arm::Sysno);
    table.extend(ARM_PRIVATE.iter().copied());
    // One call with two names.
    if let Some(number) = table.get("arm_sync_file_range").copied() {
        table.insert("sync_file_range2", number);
    }
    table
}

impl Arch {
    /// The architecture of this build.
    pub const NATIVE: Option<Arch> = if cfg!(target_arch = "x86_64") {
        Some(Arch::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Arch::Aarch64)
    } else {
        None
    };

    /// Its name in the OCI runtime specification, e.g. `SCMP_ARCH_X86_64`.
    pub fn oci_name(self) -> &'static str {
        self.names().0
    }

    /// Its name in docker's `includes.arches`, e.g. `amd64`.
    pub fn docker_name(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        NAMES.iter().find(|(arch, ..)| *arch == self).map_or(("", ""), |(_, oci, docker)| (oci, docker))
    }

    /// The architecture with this OCI name.
    pub fn from_oci(name: &str) -> Option<Arch> {
        NAMES.iter().find(|(_, oci, _)| *oci == name).map(|(arch, ..)| *arch)
    }

    /// Every OCI name, for `features`.
    pub fn all_oci_names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(_, oci, _)| *oci)
    }

    /// Whether programs of this architecture can be compiled.
    pub fn compiled(self) -> bool {
        self.table().is_some()
    }

    /// Whether a kernel of `native` runs programs of this architecture.
    pub fn runs_on(self, native: Arch) -> bool {
        match native {
            Arch::X86_64 => matches!(self, Arch::X86_64 | Arch::X86 | Arch::X32),
            Arch::Aarch64 => matches!(self, Arch::Aarch64 | Arch::Arm),
            other => self == other,
        }
    }

    /// The number of the system call `name`, with [`X32_BIT`] for x32.
    pub fn number(self, name: &str) -> Option<u32> {
        self.table()?.get(name).copied()
    }

    /// The multiplexer of `name` on this architecture: the multiplexer's number and its first argument.
    pub(crate) fn multiplexed(self, name: &str) -> Option<(u32, u32)> {
        if self != Arch::X86 {
            return None;
        }
        let find = |list: &[(&str, u32)]| list.iter().find(|(n, _)| *n == name).map(|(_, call)| *call);
        match (find(SOCKETCALL), find(IPC)) {
            (Some(call), _) => Some((self.number("socketcall")?, call)),
            (None, Some(call)) => Some((self.number("ipc")?, call)),
            (None, None) => None,
        }
    }

    /// `AUDIT_ARCH_*` as `seccomp_data.arch` has it (linux/audit.h). x32 shares x86_64's.
    pub(crate) fn audit(self) -> Option<u32> {
        Some(match self {
            Arch::X86_64 | Arch::X32 => 0xc000_003e,
            Arch::X86 => 0x4000_0003,
            Arch::Aarch64 => 0xc000_00b7,
            Arch::Arm => 0x4000_0028,
            _ => return None,
        })
    }

    /// Whether its system call arguments are 32 bits wide; as in libseccomp that includes x32.
    pub(crate) fn narrow(self) -> bool {
        matches!(self, Arch::X86 | Arch::X32 | Arch::Arm)
    }

    fn table(self) -> Option<&'static Table> {
        static X86: OnceLock<Table> = OnceLock::new();
        static X86_64: OnceLock<Table> = OnceLock::new();
        static X32: OnceLock<Table> = OnceLock::new();
        static ARM: OnceLock<Table> = OnceLock::new();
        static AARCH64: OnceLock<Table> = OnceLock::new();
        Some(match self {
            Arch::X86 => X86.get_or_init(|| table!(syscalls::x86::Sysno)),
            Arch::X86_64 => X86_64.get_or_init(|| table!(syscalls::x86_64::Sysno)),
            Arch::X32 => X32.get_or_init(x32),
            Arch::Arm => ARM.get_or_init(arm),
            Arch::Aarch64 => AARCH64.get_or_init(aarch64),
            _ => return None,
        })
    }
}

/// Whether any architecture with a table knows `name`.
pub(crate) fn known(name: &str) -> bool {
    [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm]
        .iter()
        .any(|arch| arch.number(name).is_some())
        || SOCKETCALL.iter().chain(IPC).any(|(n, _)| *n == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_table() {
        assert_eq!(Arch::X86_64.number("openat2"), Some(437));
        assert_eq!(Arch::X86_64.number("file_setattr"), Some(469), "the last entry of the crate's table");
        assert_eq!(Arch::X86.number("break"), Some(17));
        assert_eq!(Arch::X86.number("socketcall"), Some(102));
        assert_eq!(Arch::X32.number("execve"), Some(X32_BIT | 520));
        assert_eq!(Arch::X32.number("read"), Some(X32_BIT));
        assert_eq!(Arch::X32.number("uselib"), None);
        assert_eq!(Arch::Aarch64.number("newfstatat"), Some(79));
        assert_eq!(Arch::Arm.number("set_tls"), Some(0xf_0005));
        assert_eq!(Arch::Mips.number("read"), None);
        assert_eq!(Arch::X86.multiplexed("recv"), Some((102, 10)));
        assert_eq!(Arch::X86.multiplexed("shmget"), Some((117, 23)));
        assert_eq!(Arch::X86_64.multiplexed("socket"), None);
    }
}
