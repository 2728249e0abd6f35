//! Mounts by descriptor: the API of Linux 5.2 (`fsopen`, `fsmount`, `open_tree`, `move_mount`) and 5.12
//! (`mount_setattr`). No call here takes a container's path: a mount is built detached and put onto a descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use rustix::path::Arg;

use crate::syscall::check;
use crate::{Error, Result};

/// A mount that is not (or not yet) attached anywhere, or the top of an attached one.
#[derive(Debug)]
pub struct MountFd(OwnedFd);

/// How mount and unmount events pass between peers (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// Into this mount only.
    Slave,
    /// Not at all.
    Private,
    /// Not at all, and it cannot be bind-mounted.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Shared => libc::MS_SHARED,
            Self::Slave => libc::MS_SLAVE,
            Self::Private => libc::MS_PRIVATE,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// What `mount_setattr(2)` changes.
#[derive(Clone, Copy, Debug)]
pub struct MountAttr<'a> {
    /// Attributes to set.
    pub set: MountAttrFlags,
    /// Attributes to clear. Setting an access-time mode needs `MOUNT_ATTR__ATIME` here.
    pub clear: MountAttrFlags,
    /// The new propagation, if it changes.
    pub propagation: Option<Propagation>,
    /// Map owners through this user namespace (`MOUNT_ATTR_IDMAP`); only for detached mounts.
    pub idmap: Option<BorrowedFd<'a>>,
}

impl Default for MountAttr<'_> {
    fn default() -> Self {
        Self { set: MountAttrFlags::empty(), clear: MountAttrFlags::empty(), propagation: None, idmap: None }
    }
}

impl MountAttr<'_> {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.clear.is_empty() && self.propagation.is_none() && self.idmap.is_none()
    }
}

impl MountFd {
    /// A detached copy of the mount at `path` under `dir` (`open_tree(OPEN_TREE_CLONE)`), with everything mounted below
    /// it when `recursive`. An empty path means `dir` itself.
    ///
    /// # Errors
    /// `ENOENT`, `EINVAL` for an unbindable mount, `EPERM` without `CAP_SYS_ADMIN` over the mount namespace.
    pub fn clone_of(dir: impl AsFd, path: impl Arg, recursive: bool) -> Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_NO_AUTOMOUNT;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let shown = path.to_string_lossy().into_owned();
        match rustix::mount::open_tree(dir, path, flags) {
            Ok(fd) => Ok(Self(fd)),
            Err(errno) => Err(Error::on("open_tree", shown, errno)),
        }
    }

    /// Attaches a detached mount onto what `target` is open on (`move_mount` by descriptors only), and checks that it
    /// is there: that the target's mount id, looked up anew by `landed`, is this mount's.
    ///
    /// # Errors
    /// `ENOTDIR`/`EINVAL` when one is a directory and the other is not.
    pub fn attach(&self, target: impl AsFd) -> Result<()> {
        rustix::mount::move_mount(
            &self.0,
            "",
            target,
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )
        .map_err(|errno| Error::new("move_mount", errno))
    }

    /// `mount_setattr(2)` on this mount, and on everything below it when `recursive`.
    ///
    /// # Errors
    /// `EPERM` for a locked attribute in a user namespace; `ENOSYS` before Linux 5.12.
    pub fn set_attr(&self, attr: &MountAttr<'_>, recursive: bool) -> Result<()> {
        set_attr_of(&self.0, attr, recursive)
    }
}

impl AsFd for MountFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<MountFd> for OwnedFd {
    fn from(mount: MountFd) -> Self {
        mount.0
    }
}

impl From<OwnedFd> for MountFd {
    /// Takes over a descriptor of a mount's top, e.g. one that came over a socket.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// `mount_setattr(2)` on the mount that `fd` is open on; `fd` must be at the mount's top.
///
/// # Errors
/// `EINVAL` when `fd` is not the top of a mount, otherwise as [`MountFd::set_attr`].
pub fn set_attr_of(fd: impl AsFd, attr: &MountAttr<'_>, recursive: bool) -> Result<()> {
    #[repr(C)]
    struct Raw {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let mut raw = Raw {
        set: u64::from(attr.set.bits()),
        clear: u64::from(attr.clear.bits()),
        propagation: attr.propagation.map_or(0, Propagation::bits),
        userns_fd: 0,
    };
    if let Some(userns) = attr.idmap {
        raw.set |= u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        raw.userns_fd = userns.as_raw_fd() as u64;
    }
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `raw` is a struct mount_attr of the size given, both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const raw,
            size_of::<Raw>(),
        )
    })
    .map_err(|errno| Error::new("mount_setattr", errno))?;
    Ok(())
}

/// A filesystem being configured (`fsopen(2)`).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Opens a context for a filesystem type.
    ///
    /// # Errors
    /// `ENODEV` for a type this kernel does not have.
    pub fn open(fs_type: &str) -> Result<Self> {
        rustix::mount::fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC)
            .map(Self)
            .map_err(|errno| Error::on("fsopen", fs_type, errno))
    }

    /// Sets a key that has a value.
    ///
    /// # Errors
    /// `EINVAL` for an unknown key or a bad value; the kernel's own words are in the error's subject.
    pub fn set(&self, key: &str, value: impl Arg) -> Result<()> {
        rustix::mount::fsconfig_set_string(&self.0, key, value).map_err(|errno| self.explained(key, errno))
    }

    /// Sets a key to a descriptor (e.g. overlayfs' `lowerdir+` on Linux 6.13).
    ///
    /// # Errors
    /// As [`FsContext::set`].
    pub fn set_fd(&self, key: &str, value: impl AsFd) -> Result<()> {
        rustix::mount::fsconfig_set_fd(&self.0, key, value).map_err(|errno| self.explained(key, errno))
    }

    /// Sets a key without a value.
    ///
    /// # Errors
    /// As [`FsContext::set`].
    pub fn set_flag(&self, key: &str) -> Result<()> {
        rustix::mount::fsconfig_set_flag(&self.0, key).map_err(|errno| self.explained(key, errno))
    }

    /// Makes the filesystem and a detached mount of it with these attributes.
    ///
    /// # Errors
    /// What the filesystem says; its own words are in the error's subject.
    pub fn mount(&self, attributes: MountAttrFlags) -> Result<MountFd> {
        rustix::mount::fsconfig_create(&self.0).map_err(|errno| self.explained("create", errno))?;
        rustix::mount::fsmount(&self.0, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map(MountFd)
            .map_err(|errno| self.explained("fsmount", errno))
    }

    /// Adds what the kernel wrote into the context's log: `e overlay: ...` lines, read one per call.
    fn explained(&self, subject: &str, errno: Errno) -> Error {
        let mut text = String::from(subject);
        let mut line = [0u8; 512];
        while let Ok(n @ 1..) = rustix::io::read(&self.0, &mut line) {
            let said = String::from_utf8_lossy(&line[..n]);
            let said = said.trim_end();
            text.push_str(": ");
            text.push_str(said.strip_prefix("e ").unwrap_or(said));
            if text.len() > 2048 {
                break;
            }
        }
        Error::on("fsconfig", text, errno)
    }
}

/// The id of the mount that `fd` is open on (`STATX_MNT_ID`, Linux 5.8).
///
/// # Errors
/// The errno of `statx`.
pub fn mount_id(fd: impl AsFd) -> Result<u64> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map_err(|errno| Error::new("statx", errno))?;
    Ok(stat.stx_mnt_id)
}

/// Changes the propagation of the mount at the caller's root directory and of everything below it: a new mount namespace
/// begins as a peer of the one it was copied from.
///
/// # Errors
/// `EINVAL` when the root directory is not the top of a mount.
pub fn set_root_propagation(propagation: Propagation) -> Result<()> {
    let flags = match propagation {
        Propagation::Shared => rustix::mount::MountPropagationFlags::SHARED,
        Propagation::Slave => rustix::mount::MountPropagationFlags::DOWNSTREAM,
        Propagation::Private => rustix::mount::MountPropagationFlags::PRIVATE,
        Propagation::Unbindable => rustix::mount::MountPropagationFlags::UNBINDABLE,
    } | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", flags).map_err(|errno| Error::on("mount", "/", errno))
}

/// Detaches the mount on top of the caller's working directory (`umount2(".", MNT_DETACH)`): the old root after
/// `pivot_root(".", ".")`.
///
/// # Errors
/// `EINVAL` when nothing is mounted there.
pub fn detach_working_directory() -> Result<()> {
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)
        .map_err(|errno| Error::on("umount2", ".", errno))
}

/// The mount at `path` of the caller's own view, which must be a trusted host path, detached lazily.
///
/// # Errors
/// `EINVAL` when nothing is mounted there, `ENOENT`.
pub fn unmount_detach(path: &CStr) -> Result<()> {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW)
        .map_err(|errno| Error::on("umount2", path.to_string_lossy(), errno))
}

/// A detached copy of a host path's mount, by path from the caller's working directory.
///
/// # Errors
/// As [`MountFd::clone_of`].
pub fn clone_path(path: impl Arg, recursive: bool) -> Result<MountFd> {
    MountFd::clone_of(CWD, path, recursive)
}

/// A detached copy of the mount at a directory of another mount namespace, where `path` is looked up from its root
/// without leaving it. open_tree(2) copies mounts of the caller's namespace only, so a thread goes there for it.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`; `EPERM` without the right to enter the namespace.
pub fn clone_foreign(namespace: impl AsFd, path: &std::path::Path, recursive: bool) -> Result<MountFd> {
    let namespace = namespace.as_fd();
    let visit = || {
        // A thread can enter a mount namespace when it shares root and working directory with no other.
        // SAFETY: the file system attributes are of this thread alone then; no descriptor or memory is unshared.
        check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })
            .map_err(|errno| Error::new("unshare", errno))?;
        crate::setns(namespace, crate::Namespaces::MOUNT)?;
        let root = crate::RootDir::open(std::path::Path::new("/"))?;
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
        let dir = root.open_in_root(path, flags, rustix::fs::Mode::empty())?;
        MountFd::clone_of(&dir, "", recursive)
    };
    std::thread::scope(|scope| match scope.spawn(visit).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    fn in_new_mount_namespace(body: impl FnOnce()) {
        let pid = crate::fork(|| {
            crate::unshare(crate::Namespaces::MOUNT).unwrap();
            set_root_propagation(Propagation::Private).unwrap();
            body();
            0
        })
        .unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn a_detached_tmpfs_is_used_attached_and_made_read_only_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        in_new_mount_namespace(|| {
            let context = FsContext::open("tmpfs").unwrap();
            context.set("size", "1m").unwrap();
            let mount = context.mount(MountAttrFlags::MOUNT_ATTR_NODEV).unwrap();
            rustix::fs::mkdirat(&mount, "made", Mode::from_raw_mode(0o755)).unwrap();
            let target = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            mount.attach(&target).unwrap();
            assert!(dir.path().join("made").is_dir());
            let again = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            assert_eq!(mount_id(&again).unwrap(), mount_id(&mount).unwrap());
            mount
                .set_attr(&MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Default::default() }, false)
                .unwrap();
            assert_eq!(
                std::fs::write(dir.path().join("x"), "").unwrap_err().raw_os_error(),
                Some(libc::EROFS)
            );
        });
    }

    #[test]
    fn the_kernels_own_words_are_in_the_error() {
        in_new_mount_namespace(|| {
            let context = FsContext::open("tmpfs").unwrap();
            let error = context.set("nonsense", "1").unwrap_err();
            assert_eq!(error.errno, Errno::INVAL);
            assert!(error.to_string().contains("nonsense"), "{error}");
            assert_eq!(FsContext::open("nofs").unwrap_err().errno, Errno::NODEV);
        });
    }

    #[test]
    fn clone_is_independent_of_its_source() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        in_new_mount_namespace(|| {
            let copy = clone_path(dir.path(), true).unwrap();
            copy.set_attr(
                &MountAttr {
                    set: MountAttrFlags::MOUNT_ATTR_RDONLY,
                    propagation: Some(Propagation::Slave),
                    ..Default::default()
                },
                true,
            )
            .unwrap();
            assert_eq!(rustix::fs::mkdirat(&copy, "b", Mode::from_raw_mode(0o755)).unwrap_err(), Errno::ROFS);
            std::fs::create_dir(dir.path().join("b")).unwrap();
        });
    }
}
