//! The kernel's namespaces: which there are, entering them, and their identity.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::syscall::check;
use crate::{Error, Result};

/// A set of namespace kinds, with the bits of `clone(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespaces(u64);

impl Namespaces {
    /// No namespace.
    pub const EMPTY: Self = Self(0);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// Network devices, addresses, routes, ports.
    pub const NET: Self = Self(libc::CLONE_NEWNET as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// Users, groups and capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// The root of the visible cgroup tree.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// Offsets of the monotonic and boot-time clocks.
    pub const TIME: Self = Self(0x80);
    /// Every kind, in the order in which they are joined: the user namespace first, for its capabilities.
    pub const ALL: [Self; 8] =
        [Self::USER, Self::IPC, Self::UTS, Self::NET, Self::CGROUP, Self::TIME, Self::PID, Self::MOUNT];

    /// The `CLONE_NEW*` bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether every kind of `other` is in this set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set without the kinds of `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The name of a single kind under `/proc/PID/ns`, which is also the name `unshare(1)` knows.
    ///
    /// `None` for a set of none or several kinds.
    pub fn file_name(self) -> Option<&'static str> {
        Some(match self {
            Self::MOUNT => "mnt",
            Self::PID => "pid",
            Self::NET => "net",
            Self::IPC => "ipc",
            Self::UTS => "uts",
            Self::USER => "user",
            Self::CGROUP => "cgroup",
            Self::TIME => "time",
            _ => return None,
        })
    }
}

impl std::ops::BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Namespaces {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// `setns(2)`: moves the calling process into the namespaces of `fd`, which is an nsfs file (then `kinds` is one kind
/// or empty for any) or a pidfd (then `kinds` is the set to enter; Linux 5.8).
///
/// A pid or time namespace takes effect for children only.
///
/// # Errors
/// `EINVAL` when `fd` is of another kind, `EPERM` without `CAP_SYS_ADMIN` over it, `ESRCH` for an ended process.
pub fn setns(fd: impl AsFd, kinds: Namespaces) -> Result<()> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    // SAFETY: setns takes two integers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds.0 as libc::c_int) })
        .map_err(|errno| Error::new("setns", errno))?;
    Ok(())
}

/// `unshare(2)` of namespaces for the calling process. A new pid or time namespace is for its next children.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOSPC` at the limit of namespaces, `EINVAL` for a user namespace in a process
/// with threads.
pub fn unshare(kinds: Namespaces) -> Result<()> {
    // SAFETY: only CLONE_NEW* bits can be in a `Namespaces`, so neither the descriptor table nor memory is unshared.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds.0 as libc::c_int) })
        .map_err(|errno| Error::new("unshare", errno))?;
    Ok(())
}

/// Makes a namespace of one kind that nobody is in, and returns its file. The calling process is in it for a moment, so it
/// must have one thread, and nothing open that the moment would matter to.
///
/// # Errors
/// As [`unshare`] and [`setns`]; `ENOENT` without `/proc`. An error of the way back leaves the caller in the new one.
pub fn make_empty(kind: Namespaces) -> Result<OwnedFd> {
    let path = format!("/proc/thread-self/ns/{}", kind.file_name().unwrap_or_default());
    let open = || {
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::on("open", path.as_str(), errno))
    };
    let own = open()?;
    unshare(kind)?;
    let made = open();
    setns(own, kind)?;
    made
}

/// The kind of namespace that an nsfs file stands for (`NS_GET_NSTYPE`).
///
/// # Errors
/// `ENOTTY` when `fd` is no nsfs file.
pub fn kind_of(fd: impl AsFd) -> Result<Namespaces> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    // SAFETY: NS_GET_NSTYPE takes no argument and returns the CLONE_NEW* constant.
    let kind = check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_NSTYPE) })
        .map_err(|errno| Error::new("ioctl(NS_GET_NSTYPE)", errno))?;
    let kind = Namespaces(kind as u64);
    if kind.file_name().is_none() {
        return Err(Error::new("ioctl(NS_GET_NSTYPE)", Errno::INVAL));
    }
    Ok(kind)
}

/// The user namespace that owns the namespace of an nsfs file (`NS_GET_USERNS`, Linux 4.9).
///
/// # Errors
/// `EPERM` when that is neither the caller's nor below it, `ENOTTY` when `fd` is no nsfs file.
pub fn owner_of(fd: impl AsFd) -> Result<OwnedFd> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    // SAFETY: NS_GET_USERNS takes no argument.
    let owner = check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_USERNS) })
        .map_err(|errno| Error::new("ioctl(NS_GET_USERNS)", errno))?;
    // SAFETY: the call succeeded, so it returned a new descriptor (close-on-exec) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(owner as i32) })
}

/// `_IO(0xb7, 1)`, `linux/nsfs.h`.
const NS_GET_USERNS: libc::c_ulong = 0xb701;
/// `_IO(0xb7, 3)`, `linux/nsfs.h`.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_proc_file_and_reports_itself() {
        for kind in Namespaces::ALL {
            let name = kind.file_name().unwrap();
            let file = std::fs::File::open(format!("/proc/self/ns/{name}")).unwrap();
            assert_eq!(kind_of(&file).unwrap(), kind, "{name}");
        }
        assert_eq!((Namespaces::PID | Namespaces::NET).file_name(), None);
        let file = std::fs::File::open("/").unwrap();
        assert_eq!(kind_of(&file).unwrap_err().errno, Errno::NOTTY);
    }

    #[test]
    fn the_owner_of_a_namespace_is_a_user_namespace() {
        let file = std::fs::File::open("/proc/self/ns/net").unwrap();
        assert_eq!(kind_of(owner_of(&file).unwrap()).unwrap(), Namespaces::USER);
        let file = std::fs::File::open("/").unwrap();
        assert_eq!(owner_of(&file).unwrap_err().errno, Errno::NOTTY);
    }

    #[test]
    fn an_empty_one_is_made_and_left() {
        // In a process of its own, with one thread.
        let pid = crate::fork(|| {
            let own = std::fs::read_link("/proc/self/ns/net").unwrap();
            let made = make_empty(Namespaces::NET).unwrap();
            let name = std::fs::read_link(format!("/proc/self/fd/{}", made.as_raw_fd())).unwrap();
            assert_eq!(kind_of(&made).unwrap(), Namespaces::NET);
            assert_ne!(name, own);
            assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), own);
            setns(&made, Namespaces::NET).unwrap();
            assert_eq!(std::fs::read_link("/proc/self/ns/net").unwrap(), name);
            0
        });
        let ended = rustix::process::waitpid(Some(pid.unwrap()), rustix::process::WaitOptions::empty());
        assert_eq!(ended.unwrap().unwrap().1.exit_status(), Some(0));
    }

    #[test]
    fn setns_refuses_another_kind() {
        let file = std::fs::File::open("/proc/self/ns/net").unwrap();
        assert_eq!(setns(&file, Namespaces::UTS).unwrap_err().errno, Errno::INVAL);
    }
}
