//! The descriptor table: what a process keeps and what it never hands on.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::io::Errno;

use crate::syscall::check;
use crate::{Error, Result};

/// `close_range(2)`: closes every descriptor from `first` on.
///
/// Only for a process that is about to end or to execve, or a fresh child that owns none of them: an `OwnedFd` that
/// outlives this closes a number that may mean something else by then.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_from(first: RawFd) -> Result<()> {
    close_range(first as u32, u32::MAX, 0)
}

/// Marks every descriptor from `first` on close-on-exec (Linux 5.11).
///
/// # Errors
/// `ENOSYS` or `EINVAL` on older kernels.
pub fn cloexec_from(first: RawFd) -> Result<()> {
    close_range(first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32)
}

/// Closes every descriptor that is not in `keep`: what a forked helper does first, so that it holds nothing of its
/// parent alive. Sorts `keep`.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_all_but(keep: &mut [RawFd]) -> Result<()> {
    keep.sort_unstable();
    let mut next: u32 = 0;
    for &fd in keep.iter() {
        let Ok(fd) = u32::try_from(fd) else { continue };
        if fd > next {
            close_range(next, fd - 1, 0)?;
        }
        next = next.max(fd + 1);
    }
    close_range(next, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: i32) -> Result<()> {
    // SAFETY: three integers. Closing descriptors cannot break memory safety; the callers' docs say who may.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
        .map_err(|errno| Error::on("close_range", format!("{first}.."), errno))?;
    Ok(())
}

/// `dup3(2)` of `from` onto the number `to`, one of the standard streams; `to` is not close-on-exec afterwards.
///
/// # Errors
/// `EBADF`, `EBUSY`.
pub fn redirect(from: BorrowedFd<'_>, to: StdStream) -> Result<()> {
    let target = to as RawFd;
    if from.as_raw_fd() == target {
        // dup3 refuses equal numbers; what is wanted then is only that the stream survives execve.
        return rustix::io::fcntl_setfd(from, rustix::io::FdFlags::empty())
            .map_err(|errno| Error::on("fcntl", format!("fd {target}"), errno));
    }
    // SAFETY: replaces a standard stream, which no OwnedFd of ours owns.
    check(unsafe { libc::syscall(libc::SYS_dup3, from.as_raw_fd(), target, 0) })
        .map_err(|errno| Error::on("dup3", format!("fd {target}"), errno))?;
    Ok(())
}

/// One of the three standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdStream {
    /// Descriptor 0.
    Stdin = 0,
    /// Descriptor 1.
    Stdout = 1,
    /// Descriptor 2.
    Stderr = 2,
}

/// Takes ownership of a descriptor that was inherited under a number, e.g. from `LISTEN_FDS` or a `--session-fd` flag.
///
/// Close-on-exec is set on it. Each number may be taken once in the life of a process.
///
/// # Errors
/// `EBADF` when it is not open or is a standard stream.
pub fn take_inherited(number: RawFd) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let bad = |errno| Error::on("fcntl", format!("inherited fd {number}"), errno);
    if number < 3 {
        return Err(bad(Errno::BADF));
    }
    // SAFETY: the number was checked to be at least 3; fcntl below fails when it is not open, and then the borrow ends.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).map_err(bad)?;
    // SAFETY: it is open, and the caller states that it was inherited and not taken before.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn open_numbers() -> Vec<RawFd> {
        (0..64).filter(|&fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()).collect()
    }

    fn in_child(body: impl FnOnce() -> bool) {
        let pid = crate::fork(|| if body() { 0 } else { 1 }).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn close_all_but_keeps_exactly_the_list() {
        in_child(|| {
            let files: Vec<_> = (0..8).map(|_| std::fs::File::open("/").unwrap()).collect();
            let keep = files[3].as_raw_fd();
            let mut list = vec![keep, 2, 0, 1];
            close_all_but(&mut list).unwrap();
            let open = open_numbers();
            std::mem::forget(files);
            open == [0, 1, 2, keep]
        });
    }

    #[test]
    fn redirect_clears_close_on_exec() {
        in_child(|| {
            let file = std::fs::File::open("/").unwrap();
            redirect(file.as_fd(), StdStream::Stdin).unwrap();
            let stdin = std::io::stdin();
            redirect(stdin.as_fd(), StdStream::Stdin).unwrap();
            rustix::io::fcntl_getfd(&stdin).unwrap().is_empty()
        });
    }

    #[test]
    fn inherited_numbers_must_be_open_and_no_streams() {
        assert_eq!(take_inherited(1).unwrap_err().errno, Errno::BADF);
        assert_eq!(take_inherited(100_000).unwrap_err().errno, Errno::BADF);
    }
}
