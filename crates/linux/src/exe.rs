//! Keeping a container from writing to the runtime's own executable (CVE-2019-5736).

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::{CStrings, Error, MountAttr, MountFd, Result, execve_fd};

/// Starts this program anew from a detached read-only mount of its own file, unless that is done already.
///
/// A container can make the runtime's file run inside it (`#!/proc/self/exe`) and open it through `/proc/PID/exe`: with
/// this the open finds a read-only mount that nobody else can reach or change. It costs no copy, and the text stays in the
/// page cache once. It is the first thing a program does: everything of it so far is lost. From then on
/// `/proc/self/exe` has no path; a program that needs one reads it before, or is told.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; nothing has happened then.
pub fn run_from_read_only_mount() -> Result<()> {
    let open = OFlags::PATH | OFlags::CLOEXEC;
    let exe = rustix::fs::open("/proc/self/exe", open, Mode::empty())
        .map_err(|errno| Error::on("open", "/proc/self/exe", errno))?;
    let stat = rustix::fs::fstatvfs(&exe).map_err(|errno| Error::on("fstatfs", "/proc/self/exe", errno))?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let copy = MountFd::clone_of(&exe, "", false)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    copy.set_attr(&MountAttr { set: attributes, ..Default::default() }, false)?;
    let bytes = |text: std::ffi::OsString| std::os::unix::ffi::OsStringExt::into_vec(text);
    let args = CStrings::from_text(std::env::args_os().map(bytes));
    let env = CStrings::from_text(std::env::vars_os().map(|(mut key, value)| {
        key.push("=");
        key.push(value);
        bytes(key)
    }));
    // Neither can hold a NUL: they came from C strings.
    let (Ok(args), Ok(env)) = (args, env) else { return Err(Error::new("execveat", Errno::INVAL)) };
    Err(Error::on("execveat", "/proc/self/exe", execve_fd(&copy, &args, &env)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by the test below, in a process of its own.
    #[test]
    #[ignore = "replaces its process"]
    fn inner() {
        run_from_read_only_mount().unwrap();
        // Opening for writing fails with ETXTBSY while it runs, on any mount; a change of mode asks only the mount.
        let changed = rustix::fs::chmod("/proc/self/exe", Mode::from_raw_mode(0o755));
        assert_eq!(changed.unwrap_err(), Errno::ROFS);
        assert_eq!(std::env::var("SAMPAN_TEST").unwrap(), "kept");
    }

    #[test]
    fn the_executable_cannot_be_opened_for_writing() {
        let own = std::env::current_exe().unwrap();
        let args = ["--exact", "exe::tests::inner", "--ignored"];
        let out = std::process::Command::new(own).args(args).env("SAMPAN_TEST", "kept").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "{text}");
    }
}
