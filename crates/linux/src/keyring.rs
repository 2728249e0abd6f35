//! Session keyrings (`keyctl(2)`).

use std::ffi::CStr;

use crate::syscall::check;
use crate::{Error, Result};

/// Joins a new session keyring of this name, so that a container never sees its starter's keys.
///
/// # Errors
/// `ENOSYS` on a kernel without keys, `EDQUOT` at the owner's quota.
pub fn join_new_session(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: name is a NUL-terminated string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map_err(|errno| Error::new("keyctl(JOIN_SESSION_KEYRING)", errno))?;
    Ok(())
}
