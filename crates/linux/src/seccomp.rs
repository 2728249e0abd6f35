//! seccomp(2): loading a classic BPF filter and asking what this kernel supports.
//!
//! What a filter means is the business of the `seccomp` crate; this file only passes it to the kernel.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::{Error, Result};

/// `SECCOMP_FILTER_FLAG_TSYNC`: apply the filter to every thread of the process.
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`: log every action but ALLOW.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: do not turn on the speculative store bypass mitigation.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a notification descriptor.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: with TSYNC, fail with ESRCH instead of returning a thread id.
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a received notification is interrupted by fatal signals only (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SET_MODE_FILTER: libc::c_ulong = 1;
const GET_ACTION_AVAIL: libc::c_ulong = 2;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a condition is true.
    pub jt: u8,
    /// Instructions to skip when a condition is false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Fprog {
    len: libc::c_ushort,
    filter: *const Insn,
}

fn seccomp(op: libc::c_ulong, flags: u32, arg: *const libc::c_void) -> std::result::Result<i64, Errno> {
    // SAFETY: every caller in this file passes an `arg` that is null or valid for what `op` reads, for the whole call;
    // the kernel does not write through it and keeps no reference to it.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, op, libc::c_ulong::from(flags), arg) };
    if ret < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        return Err(Errno::from_raw_os_error(errno));
    }
    Ok(ret)
}

/// Loads a filter into the calling thread (every thread with [`FLAG_TSYNC`]) and returns the notification descriptor
/// when `flags` has [`FLAG_NEW_LISTENER`]. It cannot be undone.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN in the user namespace and without no_new_privs; EINVAL for a program the kernel's checker
/// refuses or an unknown flag; EBUSY for a second listener; ENOMEM past 32768 instructions over all filters of the task.
pub fn set_filter(insns: &[Insn], flags: u32) -> Result<Option<OwnedFd>> {
    let len = libc::c_ushort::try_from(insns.len()).map_err(|_| Error::new("seccomp", Errno::INVAL))?;
    let program = Fprog { len, filter: insns.as_ptr() };
    let both = FLAG_TSYNC | FLAG_NEW_LISTENER;
    // Without TSYNC_ESRCH a return value above zero could be a thread id or a descriptor, and the kernel refuses the pair.
    let flags = if flags & both == both { flags | FLAG_TSYNC_ESRCH } else { flags };
    let ret = seccomp(SET_MODE_FILTER, flags, (&raw const program).cast())
        .map_err(|errno| Error::new("seccomp", errno))?;
    if flags & FLAG_NEW_LISTENER != 0 {
        let fd = RawFd::try_from(ret).map_err(|_| Error::new("seccomp", Errno::BADF))?;
        // SAFETY: with FLAG_NEW_LISTENER (and TSYNC_ESRCH beside TSYNC) a success is a new descriptor that nobody else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    if ret > 0 {
        // TSYNC without a listener: the id of a thread that could not be brought to the same filter.
        return Err(Error::on("seccomp", format!("thread {ret}"), Errno::SRCH));
    }
    Ok(None)
}

/// Whether the kernel knows the filter return value `action` (`SECCOMP_RET_*`, without data).
///
/// # Errors
/// Whatever seccomp(2) answers except EOPNOTSUPP, which is `false`.
pub fn action_available(action: u32) -> Result<bool> {
    match seccomp(GET_ACTION_AVAIL, 0, (&raw const action).cast()) {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::new("seccomp", errno)),
    }
}

/// Whether the kernel knows every bit of `flags`; nothing is loaded.
pub fn flags_supported(flags: u32) -> bool {
    // Flags are checked before the program is read: EFAULT for a null program says that they passed.
    matches!(seccomp(SET_MODE_FILTER, flags, std::ptr::null()), Err(Errno::FAULT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_allows_and_rejects_nonsense() {
        assert!(action_available(0x7fff_0000).unwrap());
        assert!(!action_available(0x1234_0000).unwrap());
        assert!(flags_supported(FLAG_LOG));
        assert!(!flags_supported(1 << 30));
    }

    #[test]
    fn a_bad_program_is_refused() {
        // An `ld` without a final return: the kernel's checker says EINVAL, and nothing is loaded.
        let insns = [Insn { code: 0x20, jt: 0, jf: 0, k: 0 }];
        assert!(set_filter(&insns, 0).is_err());
    }
}
