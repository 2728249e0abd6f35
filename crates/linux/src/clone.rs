//! New processes: `clone3(2)` with namespaces and a cgroup at once, and `fork(2)`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

use crate::namespace::Namespaces;
use crate::syscall::{check, last_errno};
use crate::{Error, PidFd, Result};

/// `linux/sched.h`; libc's constant is an `int`, too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A `clone3(2)` call without shared memory: a fork into new namespaces, and into a cgroup.
///
/// The child runs one closure and ends. It must be called from a process with one thread, because a child inherits the
/// other threads' locks (malloc's among them) but not the threads; nothing breaks memory safety then, but the child may
/// wait for ever.
#[derive(Debug, Default)]
pub struct Clone3<'a> {
    /// Namespaces to make for the child.
    pub namespaces: Namespaces,
    /// A cgroup v2 directory to start the child in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Make the child a sibling of the caller instead of its child (`CLONE_PARENT`).
    pub sibling: bool,
}

impl Clone3<'_> {
    /// Starts the child: it runs `child` and ends with its value as the exit status.
    ///
    /// # Errors
    /// The errno of `clone3`; nothing has been made then.
    pub fn spawn(&self, child: impl FnOnce() -> i32) -> Result<(Pid, PidFd)> {
        let mut pidfd: libc::c_int = -1;
        // SAFETY: clone_args is a plain struct of integers, for which all-zero is the documented default.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = libc::CLONE_PIDFD as u64 | self.namespaces.bits();
        args.pidfd = &raw mut pidfd as u64;
        if let Some(cgroup) = self.cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = cgroup.as_raw_fd() as u64;
        }
        if self.sibling {
            // The exit signal is the caller's own with CLONE_PARENT; the kernel refuses another one.
            args.flags |= libc::CLONE_PARENT as u64;
        } else {
            args.exit_signal = libc::SIGCHLD as u64;
        }
        // SAFETY: args lives across the call and its size is the size given; no CLONE_VM, so the child has its own
        // copy of this stack and goes on from here as after fork(2).
        let pid =
            check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })
                .map_err(|errno| Error::new("clone3", errno))?;
        if pid == 0 {
            run_child(child);
        }
        // SAFETY: the kernel wrote a new descriptor into pidfd because CLONE_PIDFD was set and the call succeeded.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let pid = Pid::from_raw(pid as i32).ok_or(Error::new("clone3", rustix::io::Errno::SRCH))?;
        Ok((pid, PidFd::from(pidfd)))
    }
}

/// `fork(2)` through libc, which keeps malloc usable in the child of a process with threads. The child runs `child` and
/// ends with its value.
///
/// # Errors
/// The errno of `fork`.
pub fn fork(child: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: the child only runs the closure and leaves with _exit; libc's fork handlers make its allocator usable.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(Error::new("fork", last_errno()));
    }
    if pid == 0 {
        run_child(child);
    }
    Pid::from_raw(pid).ok_or(Error::new("fork", rustix::io::Errno::SRCH))
}

/// Runs the closure and leaves without the parent's destructors, exit handlers or buffered output.
fn run_child(child: impl FnOnce() -> i32) -> ! {
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(101);
    exit_now(code)
}

/// `_exit(2)`: ends the process without running anything of it.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitIdOptions, waitid};

    #[test]
    fn clone3_makes_namespaces_and_returns_a_pidfd() {
        // From a forked child, which has one thread.
        let pid = fork(|| {
            let clone = Clone3 { namespaces: Namespaces::PID | Namespaces::UTS, ..Default::default() };
            let Ok((_, pidfd)) =
                clone.spawn(|| if rustix::process::getpid().as_raw_nonzero().get() == 1 { 7 } else { 8 })
            else {
                return 1;
            };
            match waitid(&pidfd, WaitIdOptions::EXITED) {
                Ok(Some(status)) => status.exit_status().unwrap_or(99),
                _ => 2,
            }
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(7));
    }

    #[test]
    fn clone3_into_a_file_that_is_no_cgroup_fails_cleanly() {
        let file = std::fs::File::open("/").unwrap();
        let clone = Clone3 { cgroup: Some(std::os::fd::AsFd::as_fd(&file)), ..Default::default() };
        assert_eq!(clone.spawn(|| 0).unwrap_err().errno, rustix::io::Errno::BADF);
    }
}
