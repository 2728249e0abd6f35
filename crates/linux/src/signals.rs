//! Signal dispositions and masks, as a started program expects to find them.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::syscall::{check, last_errno};
use crate::{Error, Result};

/// The largest signal number (`_NSIG`).
pub const MAX: i32 = 64;

/// A set of signals, as the kernel keeps it: bit n-1 is signal n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal.
    pub const FULL: Self = Self(u64::MAX);

    /// This set and `signal`; a number outside 1..=64 changes nothing.
    pub fn with(self, signal: i32) -> Self {
        if (1..=MAX).contains(&signal) { Self(self.0 | 1 << (signal - 1)) } else { self }
    }

    /// Whether `signal` is in the set.
    pub fn contains(self, signal: i32) -> bool {
        (1..=MAX).contains(&signal) && self.0 & (1 << (signal - 1)) != 0
    }
}

/// Sets the calling thread's signal mask and returns the old one.
///
/// # Errors
/// None in practice; the errno of `rt_sigprocmask`.
pub fn set_mask(mask: SignalSet) -> Result<SignalSet> {
    let mut old = 0u64;
    // SAFETY: both point to 8 bytes, which is the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask.0,
            &raw mut old,
            size_of::<u64>(),
        )
    })
    .map_err(|errno| Error::new("rt_sigprocmask", errno))?;
    Ok(SignalSet(old))
}

/// Sets `SIGPIPE` back to its default. Rust's runtime ignores it, and an ignored signal stays ignored across execve, so
/// every program we start would else see writes to a closed pipe fail instead of ending.
pub fn default_sigpipe() {
    // SAFETY: SIG_DFL for a valid signal number installs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Whether the calling process ignores `signal`, as a program started by nohup(1) or in the background of a script does
/// some. A blocked signal is queued even if it is ignored, so who reads signals from a descriptor has to ask.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the old one is written to memory of its size; all zeros is a valid value.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Sets every signal to its default and empties the mask: for a process that was started by somebody else and is about
/// to execve a container's program. Two calls suffice where only Rust's runtime has been at work; this one is complete.
///
/// # Errors
/// As [`set_mask`].
pub fn reset_all() -> Result<()> {
    for signal in 1..=MAX {
        // SIGKILL and SIGSTOP cannot be set, and libc keeps 32 and 33; the refusals are what is wanted.
        // SAFETY: SIG_DFL installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(SignalSet::EMPTY).map(drop)
}

/// A descriptor from which blocked signals are read (`signalfd4(2)`), non-blocking and close-on-exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Opens it for `signals`, which the caller has blocked or blocks now.
    ///
    /// # Errors
    /// `EMFILE` and the like.
    pub fn new(signals: SignalSet) -> Result<Self> {
        // SAFETY: points to 8 bytes, which is the size given; -1 asks for a new descriptor.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_signalfd4,
                -1,
                &raw const signals.0,
                size_of::<u64>(),
                libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
            )
        };
        if fd < 0 {
            return Err(Error::new("signalfd4", last_errno()));
        }
        // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The number of the next pending signal; `None` when there is none.
    ///
    /// # Errors
    /// The errno of `read`.
    pub fn next(&self) -> Result<Option<i32>> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // ssi_signo is the first member.
            Ok(n) if n == info.len() => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(Error::new("read(signalfd)", errno)),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_arrive_by_descriptor() {
        let pid = crate::fork(|| {
            let set = SignalSet::EMPTY.with(libc::SIGUSR1).with(libc::SIGTERM);
            set_mask(set).unwrap();
            let fd = SignalFd::new(set).unwrap();
            assert_eq!(fd.next().unwrap(), None);
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
            assert_eq!(fd.next().unwrap(), Some(libc::SIGUSR1));
            reset_all().unwrap();
            assert_eq!(set_mask(SignalSet::EMPTY).unwrap(), SignalSet::EMPTY);
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn ignored_signals_are_known() {
        // Rust's runtime ignores it; nobody ignores the other, and there is no signal 0.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGUSR2) && !is_ignored(0));
    }

    #[test]
    fn sets() {
        assert!(SignalSet::EMPTY.with(64).contains(64));
        assert!(!SignalSet::EMPTY.with(0).with(65).contains(1));
    }
}
