//! What the running kernel's seccomp can do.

use linux::seccomp as sys;

use crate::{Arch, Error};

/// The machine and what its kernel offers; the same profile may compile differently on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelSupport {
    /// The machine's own architecture.
    pub native: Arch,
    /// Bit *n* is set when the *n*th of [`ACTIONS`] is available.
    pub(crate) actions: u16,
    /// The `SECCOMP_FILTER_FLAG_*` bits that the kernel takes.
    pub(crate) flags: u32,
}

/// `SECCOMP_RET_*` values (linux/seccomp.h) with their names in a profile, in the order of `KernelSupport::actions`.
pub(crate) const ACTIONS: [(u32, &str); 8] = [
    (0x8000_0000, "SCMP_ACT_KILL_PROCESS"),
    (0x0000_0000, "SCMP_ACT_KILL_THREAD"),
    (0x0003_0000, "SCMP_ACT_TRAP"),
    (0x0005_0000, "SCMP_ACT_ERRNO"),
    (0x7fc0_0000, "SCMP_ACT_NOTIFY"),
    (0x7ff0_0000, "SCMP_ACT_TRACE"),
    (0x7ffc_0000, "SCMP_ACT_LOG"),
    (0x7fff_0000, "SCMP_ACT_ALLOW"),
];

const FLAGS: u32 = sys::FLAG_TSYNC | sys::FLAG_LOG | sys::FLAG_SPEC_ALLOW;

impl KernelSupport {
    /// Asks the running kernel. About fifteen system calls, none of which changes anything.
    ///
    /// # Errors
    /// [`Error::Machine`] on a machine without system call tables, [`Error::Kernel`] when seccomp is not there at all.
    pub fn probe() -> Result<Self, Error> {
        let native = Arch::NATIVE.ok_or_else(|| Error::Machine(std::env::consts::ARCH.to_owned()))?;
        let mut actions = 0;
        for (bit, (value, _)) in ACTIONS.iter().enumerate() {
            if sys::action_available(*value)? {
                actions |= 1 << bit;
            }
        }
        let mut flags = 0;
        for flag in [sys::FLAG_TSYNC, sys::FLAG_LOG, sys::FLAG_SPEC_ALLOW, sys::FLAG_NEW_LISTENER] {
            if sys::flags_supported(flag) {
                flags |= flag;
            }
        }
        // The kernel takes this one only together with a listener.
        if sys::flags_supported(sys::FLAG_NEW_LISTENER | sys::FLAG_WAIT_KILLABLE_RECV) {
            flags |= sys::FLAG_WAIT_KILLABLE_RECV;
        }
        Ok(Self { native, actions, flags })
    }

    /// A kernel of `native` that has everything of Linux 5.19 and later, for planning without asking a kernel.
    pub fn full(native: Arch) -> Self {
        Self { native, actions: 0xff, flags: FLAGS | sys::FLAG_NEW_LISTENER | sys::FLAG_WAIT_KILLABLE_RECV }
    }

    /// Whether the kernel knows `action`, a `SECCOMP_RET_*` value with or without data.
    pub(crate) fn check_action(&self, value: u32) -> Result<(), Error> {
        let value = value & 0xffff_0000;
        match ACTIONS.iter().position(|(known, _)| *known == value) {
            Some(bit) if self.actions & (1 << bit) != 0 => Ok(()),
            Some(bit) => Err(Error::ActionUnsupported(ACTIONS[bit].1)),
            None => Err(Error::ActionUnsupported("unknown")),
        }
    }

    /// The machine.
    pub(crate) fn native(&self) -> Arch {
        self.native
    }

    /// Bytes that identify this support in a cache key.
    pub(crate) fn identity(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[0] = self.native as u8;
        bytes[2..4].copy_from_slice(&self.actions.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }
}
