//! Replacing the program of a process: `execve(2)` and `execveat(2)`.

use std::ffi::{CStr, CString, NulError};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::syscall::last_errno;

/// A list of C strings in the form execve wants: built before a fork, used after it without allocating.
#[derive(Debug)]
pub struct CStrings {
    /// Points into `strings`, and ends with a null pointer.
    pointers: Vec<*const libc::c_char>,
    strings: Vec<CString>,
}

impl CStrings {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, strings }
    }

    /// Builds a list from text.
    ///
    /// # Errors
    /// A string has a NUL byte inside.
    pub fn from_text<S: AsRef<[u8]>>(items: impl IntoIterator<Item = S>) -> Result<Self, NulError> {
        Ok(Self::new(items.into_iter().map(|s| CString::new(s.as_ref())).collect::<Result<_, _>>()?))
    }

    /// The strings.
    pub fn as_slice(&self) -> &[CString] {
        &self.strings
    }

    /// Adds one at the end.
    pub fn push(&mut self, string: CString) {
        self.pointers.insert(self.pointers.len() - 1, string.as_ptr());
        self.strings.push(string);
    }
}

/// `execve(2)`: returns only the errno of a failure.
pub fn execve(path: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    // SAFETY: path is NUL-terminated; both pointer arrays end with null and point to strings that live in their owner.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    last_errno()
}

/// `execveat(2)` of an open file (`AT_EMPTY_PATH`): returns only the errno of a failure. A script needs a descriptor
/// that survives execve, because its interpreter opens it by `/dev/fd/N`.
pub fn execve_fd(file: impl AsFd, argv: &CStrings, envp: &CStrings) -> Errno {
    let file: BorrowedFd<'_> = file.as_fd();
    // SAFETY: as for execve, with an empty path and AT_EMPTY_PATH.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_passes_arguments_and_only_the_given_environment() {
        let mut argv = CStrings::from_text([
            "sh",
            "-c",
            "test \"$1\" = x && test \"$A\" = b && test -z \"$HOME\"",
            "sh",
        ])
        .unwrap();
        argv.push(c"x".into());
        let envp = CStrings::from_text(["A=b"]).unwrap();
        let pid = crate::fork(|| {
            execve(c"/bin/sh", &argv, &envp);
            99
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
        assert_eq!(execve(c"/nonexistent", &argv, &envp), Errno::NOENT);
        assert_eq!(execve(c"/etc/passwd", &argv, &envp), Errno::ACCESS);
        assert!(CStrings::from_text(["a\0b"]).is_err());
    }

    #[test]
    fn exec_by_descriptor() {
        let file = std::fs::File::open("/bin/true").unwrap();
        let argv = CStrings::from_text(["true"]).unwrap();
        let pid = crate::fork(|| {
            execve_fd(&file, &argv, &CStrings::new(Vec::new()));
            99
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }
}
