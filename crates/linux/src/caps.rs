//! Capabilities (`capabilities(7)`): sets by name, and setting every set of the calling process.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::syscall::check;
use crate::{Error, Result};

/// Names in the order of the kernel's numbers (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of capabilities: bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// `CAP_SYS_RESOURCE`.
    pub const SYS_RESOURCE: Self = Self(1 << 24);
    /// `CAP_MKNOD`.
    pub const MKNOD: Self = Self(1 << 27);
    /// `CAP_SETPCAP`.
    pub const SETPCAP: Self = Self(1 << 8);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The capability of this name (`CAP_CHOWN` or `CHOWN`, in any case).
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let wanted = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|n| &n[4..] == wanted).map(|n| Self(1 << n))
    }

    /// The set of these bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, as `/proc/PID/status` shows them.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in either.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this and not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of what is in it; a number without a name is `CAP_<n>`.
    pub fn names(self) -> Vec<String> {
        (0..64)
            .filter(|n| self.0 & (1 << n) != 0)
            .map(|n| NAMES.get(n as usize).map_or_else(|| format!("CAP_{n}"), |s| (*s).to_owned()))
            .collect()
    }
}

/// The calling thread's effective, permitted and inheritable sets.
///
/// # Errors
/// None in practice.
pub fn current() -> Result<(CapSet, CapSet, CapSet)> {
    let sets = rustix::thread::capabilities(None).map_err(|errno| Error::new("capget", errno))?;
    Ok((CapSet(sets.effective.bits()), CapSet(sets.permitted.bits()), CapSet(sets.inheritable.bits())))
}

/// Sets the calling thread's effective, permitted and inheritable sets.
///
/// # Errors
/// `EPERM` when a permitted one was not permitted before.
pub fn set(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> Result<()> {
    let bits = CapabilitySet::from_bits_retain;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: bits(effective.0),
            permitted: bits(permitted.0),
            inheritable: bits(inheritable.0),
        },
    )
    .map_err(|errno| Error::new("capset", errno))
}

/// Drops everything but `keep` from the bounding set: also capabilities newer than this table, up to the kernel's last.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding(keep: CapSet) -> Result<()> {
    for number in 0..64u64 {
        if keep.0 & (1 << number) != 0 {
            continue;
        }
        // SAFETY: integers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()) {
            Ok(_) => {}
            // The first number that this kernel does not have.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Error::new("prctl(PR_CAPBSET_DROP)", errno)),
        }
    }
    Ok(())
}

/// Empties the ambient set and raises `wanted` in it, which must be permitted and inheritable.
///
/// # Errors
/// `EPERM` when one is not permitted and inheritable.
pub fn set_ambient(wanted: CapSet) -> Result<()> {
    rustix::thread::clear_ambient_capability_set()
        .map_err(|errno| Error::new("prctl(PR_CAP_AMBIENT_CLEAR_ALL)", errno))?;
    for number in (0..64u64).filter(|n| wanted.0 & (1 << n) != 0) {
        // SAFETY: integers only.
        let raised =
            unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, number, 0, 0) };
        check(raised.into()).map_err(|errno| {
            Error::on("prctl(PR_CAP_AMBIENT_RAISE)", CapSet(1 << number).names().join(""), errno)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(CapSet::from_name("cap_sys_admin").unwrap().bits(), 1 << 21);
        assert_eq!(CapSet::from_name("CHECKPOINT_RESTORE").unwrap().bits(), 1 << 40);
        assert_eq!(CapSet::from_name("CAP_NONE"), None);
        assert_eq!(CapSet::from_name("CAP_"), None);
        assert_eq!(CapSet::from_name("sys_resource"), Some(CapSet::SYS_RESOURCE));
        assert_eq!(CapSet::from_bits(1 << 21 | 1 << 60).names(), ["CAP_SYS_ADMIN", "CAP_60"]);
    }

    #[test]
    fn every_set_can_be_limited() {
        let pid = crate::fork(|| {
            let keep = CapSet::from_name("CHOWN").unwrap().or(CapSet::from_name("KILL").unwrap());
            limit_bounding(keep).unwrap();
            set(keep, keep, CapSet::EMPTY).unwrap();
            set_ambient(CapSet::EMPTY).unwrap();
            assert_eq!(set_ambient(keep).unwrap_err().errno, Errno::PERM);
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = |key: &str| {
                let line = status.lines().find(|l| l.starts_with(key)).unwrap();
                u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
            };
            assert_eq!([line("CapBnd"), line("CapPrm"), line("CapEff")], [keep.bits(); 3]);
            assert_eq!([line("CapInh"), line("CapAmb")], [0; 2]);
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
