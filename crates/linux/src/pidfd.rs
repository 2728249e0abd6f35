//! Processes by descriptor: never a reused pid.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::syscall::check;
use crate::{Error, Result};

/// A process file descriptor (`pidfd_open(2)`), readable when the process has ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this pid now.
    ///
    /// # Errors
    /// `ESRCH` when there is none.
    pub fn open(pid: Pid) -> Result<Self> {
        rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map(Self)
            .map_err(|errno| Error::on("pidfd_open", pid.to_string(), errno))
    }

    /// Sends a signal by number, which may be a real-time signal.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended, `EPERM`, `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        // SAFETY: integers and a null siginfo; no memory of ours is touched.
        check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal, 0usize, 0) })
            .map_err(|errno| Error::on("pidfd_send_signal", format!("signal {signal}"), errno))?;
        Ok(())
    }

    /// Sends `SIGKILL`; an ended process is no error.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn kill(&self) -> Result<()> {
        match self.signal(Signal::KILL.as_raw()) {
            Err(Error { errno: Errno::SRCH, .. }) => Ok(()),
            other => other,
        }
    }

    /// Waits for a child of the caller to end and reaps it.
    ///
    /// # Errors
    /// `ECHILD` when it is no child of the caller.
    pub fn wait(&self) -> Result<WaitIdStatus> {
        self.wait_with(WaitIdOptions::EXITED)?.ok_or(Error::new("waitid", Errno::CHILD))
    }

    /// Reaps a child that has ended; `None` while it runs.
    ///
    /// # Errors
    /// `ECHILD` when it is no child of the caller.
    pub fn try_wait(&self) -> Result<Option<WaitIdStatus>> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn wait_with(&self, options: WaitIdOptions) -> Result<Option<WaitIdStatus>> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.0.as_fd()), options) {
                Err(Errno::INTR) => {}
                other => return other.map_err(|errno| Error::new("waitid", errno)),
            }
        }
    }

    /// What the kernel knows of the process (`PIDFD_GET_INFO`, Linux 6.13).
    ///
    /// # Errors
    /// `ENOTTY` or `EINVAL` on older kernels, `ESRCH` when it was reaped before Linux 6.15.
    pub fn info(&self) -> Result<PidInfo> {
        let mut raw = RawInfo { mask: INFO_PID | INFO_CREDS | INFO_EXIT, ..RawInfo::default() };
        // SAFETY: the ioctl number carries the struct's size, and the kernel writes no more than that into `raw`.
        check(unsafe { libc::syscall(libc::SYS_ioctl, self.0.as_raw_fd(), PIDFD_GET_INFO, &raw mut raw) })
            .map_err(|errno| Error::new("ioctl(PIDFD_GET_INFO)", errno))?;
        Ok(PidInfo {
            pid: (raw.mask & INFO_PID != 0).then_some(raw.pid as i32).and_then(Pid::from_raw),
            parent: (raw.mask & INFO_PID != 0).then_some(raw.ppid as i32).and_then(Pid::from_raw),
            exit: (raw.mask & INFO_EXIT != 0).then_some(WaitStatusCode(raw.exit_code)),
        })
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<'a> From<&'a PidFd> for WaitId<'a> {
    fn from(pidfd: &'a PidFd) -> Self {
        WaitId::PidFd(pidfd.as_fd())
    }
}

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<PidFd> for OwnedFd {
    fn from(fd: PidFd) -> Self {
        fd.0
    }
}

/// What [`PidFd::info`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidInfo {
    /// Its pid in the caller's pid namespace; none once it was reaped.
    pub pid: Option<Pid>,
    /// Its parent's pid, where the caller can see it.
    pub parent: Option<Pid>,
    /// How it ended: known to everybody who holds the pidfd, once it was reaped, from Linux 6.15.
    pub exit: Option<WaitStatusCode>,
}

/// A wait status as `wait(2)` encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatusCode(i32);

impl WaitStatusCode {
    /// The value given to `exit(2)`, if it ended so.
    pub fn exit_status(self) -> Option<i32> {
        libc::WIFEXITED(self.0).then(|| libc::WEXITSTATUS(self.0))
    }

    /// The signal that ended it, if one did.
    pub fn terminating_signal(self) -> Option<i32> {
        libc::WIFSIGNALED(self.0).then(|| libc::WTERMSIG(self.0))
    }
}

/// `struct pidfd_info` of `linux/pidfd.h`, version 0 (64 bytes).
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const INFO_PID: u64 = 1;
const INFO_CREDS: u64 = 2;
const INFO_EXIT: u64 = 8;
/// `_IOWR(0xff, 11, struct pidfd_info)` for the 64-byte version.
const PIDFD_GET_INFO: libc::c_ulong =
    (3 << 30) | ((size_of::<RawInfo>() as libc::c_ulong) << 16) | (0xff << 8) | 11;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork;

    #[test]
    fn exit_code_is_known_after_the_reaping() {
        let pid = fork(|| 42).unwrap();
        let pidfd = PidFd::open(pid).unwrap();
        assert_eq!(pidfd.wait().unwrap().exit_status(), Some(42));
        match pidfd.info() {
            Ok(info) => assert_eq!(info.exit.and_then(WaitStatusCode::exit_status), Some(42)),
            // Before Linux 6.15 the kernel forgets.
            Err(error) => {
                assert!(matches!(error.errno, Errno::NOTTY | Errno::INVAL | Errno::SRCH), "{error}")
            }
        }
        pidfd.kill().unwrap();
    }

    #[test]
    fn a_living_process_has_a_pid_and_no_exit() {
        let pidfd = PidFd::open(rustix::process::getpid()).unwrap();
        if let Ok(info) = pidfd.info() {
            assert_eq!(info.pid, Some(rustix::process::getpid()));
            assert_eq!(info.exit, None);
        }
        assert_eq!(pidfd.signal(9999).unwrap_err().errno, Errno::INVAL);
    }
}
