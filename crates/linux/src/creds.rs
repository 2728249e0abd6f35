//! The filesystem ids of the calling thread (`credentials(7)`): as whom it makes files.

use rustix::io::Errno;

use crate::syscall::check;
use crate::{Error, Result, caps};

/// Runs `body` with other filesystem user and group ids (`setfsuid(2)`), the capabilities unchanged, and goes back.
///
/// The kernel clears the capabilities over files with a change from 0, and the parent-death signal with every change; the
/// former are set again here, the latter are not.
///
/// # Errors
/// `EPERM` without `CAP_SETUID` and `CAP_SETGID`; whatever `body` says. A thread that cannot go back is told so by an error
/// and must end.
pub fn with_fs_ids<T, E: From<Error>>(
    uid: u32,
    gid: u32,
    body: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let (effective, permitted, inheritable) = caps::current()?;
    let old = (fs_id(libc::SYS_setfsuid, NONE)?, fs_id(libc::SYS_setfsgid, NONE)?);
    let change = |uid, gid| {
        set_fs_id(libc::SYS_setfsgid, "setfsgid", gid)?;
        set_fs_id(libc::SYS_setfsuid, "setfsuid", uid)?;
        caps::set(effective, permitted, inheritable)
    };
    let result = match change(uid, gid) {
        Ok(()) => body(),
        Err(error) => Err(error.into()),
    };
    change(old.0, old.1)?;
    result
}

/// An id that no one has: asks for the present one.
const NONE: u32 = u32::MAX;

/// Sets one id and returns the one before; the call reports no error.
fn fs_id(number: libc::c_long, id: u32) -> Result<u32> {
    // SAFETY: setfsuid and setfsgid take one integer and touch no memory.
    let old = check(unsafe { libc::syscall(number, id) }).map_err(|errno| Error::new("setfsuid", errno))?;
    Ok(old as u32)
}

fn set_fs_id(number: libc::c_long, call: &'static str, id: u32) -> Result<()> {
    fs_id(number, id)?;
    match fs_id(number, NONE)? {
        now if now == id => Ok(()),
        _ => Err(Error::on(call, id.to_string(), Errno::PERM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_are_made_as_another_and_the_capabilities_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pid = crate::fork(|| {
            let before = caps::current().unwrap();
            let owner = |name: &str| {
                std::fs::write(dir.path().join(name), "").unwrap();
                let stat = std::fs::metadata(dir.path().join(name)).unwrap();
                (stat.uid(), stat.gid())
            };
            // The directory is root's alone: making a file in it needs a capability.
            let made = with_fs_ids(1234, 5678, || {
                assert_eq!(caps::current().unwrap(), before);
                Ok::<_, Error>(owner("a"))
            });
            assert_eq!(made.unwrap(), (1234, 5678));
            assert_eq!(owner("b"), (0, 0));
            assert_eq!(caps::current().unwrap(), before);
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
