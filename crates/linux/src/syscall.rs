//! Turning raw system call results into errors.

use rustix::io::Errno;

/// The result of a raw `syscall(2)`: the value, or the errno that libc left behind.
pub(crate) fn check(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value < 0 { Err(last_errno()) } else { Ok(value) }
}

/// The calling thread's errno.
pub(crate) fn last_errno() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(code)
}
