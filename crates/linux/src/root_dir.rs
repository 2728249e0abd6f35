//! A directory as the root of an untrusted tree: a container's root filesystem, a layer, a volume, an archive's target.
//!
//! Every path given to a [`RootDir`] is resolved by openat2(2) with `RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS`, so that
//! `..`, absolute symlinks and procfs' magic links cannot leave it, whoever races with the walk; what is then done
//! is done through the descriptor that the walk returned, never through a path string again.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::{Error, Result};

/// Symlinks followed in one walk before it is called a loop; the kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// Directories deep that [`RootDir::mkdir_p`] goes; each level holds one descriptor.
const MAX_DEPTH: usize = 512;
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// An open directory under which untrusted paths are resolved.
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RootDir {
    /// Opens the directory at `path`, which is a path of ours and trusted, symlinks followed.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| Error::on("open", path.to_string_lossy(), e))?;
        Ok(Self { fd })
    }

    /// Takes an open directory (or a detached mount's descriptor) as a root.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Gives the descriptor back.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Opens `path` inside the root; symlinks are followed inside the root unless `flags` has `NOFOLLOW`.
    /// `O_CLOEXEC` is always set. `EAGAIN`, with which the kernel reports a concurrent rename, is retried.
    pub fn open_in_root(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for _ in 0..128 {
            match rustix::fs::openat2(&self.fd, path, flags, mode, IN_ROOT) {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other.map_err(|e| on("openat2", path, e)),
            }
        }
        Err(on("openat2", path, Errno::AGAIN))
    }

    /// Opens the directory `path` inside the root for reading its entries.
    pub fn open_dir(&self, path: &Path) -> Result<OwnedFd> {
        self.open_in_root(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens `path` as `O_PATH` without following a final symlink: a handle to the thing itself, of any type.
    pub fn open_path(&self, path: &Path) -> Result<OwnedFd> {
        self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// The directory that holds `path`'s last component, and that component.
    ///
    /// # Errors
    /// `EINVAL` where the last component is missing, `.`, `..` or the root itself.
    pub fn parent(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        let (parent, name) = split(path)?;
        Ok((self.open_in_root(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?, name.to_owned()))
    }

    /// lstat of `path`: the final symlink is not followed.
    pub fn stat(&self, path: &Path) -> Result<Stat> {
        stat_fd(&self.open_path(path)?)
    }

    /// Reads the symlink `path`.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let fd = self.open_path(path)?;
        let text = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(|e| on("readlinkat", path, e))?;
        Ok(PathBuf::from(OsString::from(OsStr::from_bytes(text.as_bytes()))))
    }

    /// Makes the directory `path` and its missing parents (each with `mode` less the umask), and opens it.
    /// Symlinks on the way are followed inside the root, dangling ones too: their target is made.
    ///
    /// # Errors
    /// `ENOTDIR` where something else is in the way, `ELOOP` after 40 symlinks, `ENAMETOOLONG` beyond 512 levels.
    pub fn mkdir_p(&self, path: &Path, mode: Mode) -> Result<OwnedFd> {
        let mut todo: Vec<OsString> = components(path);
        let mut walk: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                walk.pop();
                continue;
            }
            if walk.len() >= MAX_DEPTH {
                return Err(on("mkdirat", path, Errno::NAMETOOLONG));
            }
            let here = walk.last().unwrap_or(&self.fd);
            let next = enter(here, &name, mode).map_err(|e| on("mkdirat", path, e))?;
            let stat = stat_fd(&next)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => walk.push(next),
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(on("mkdirat", path, Errno::LOOP));
                    }
                    let text = rustix::fs::readlinkat(&next, "", Vec::new())
                        .map_err(|e| on("readlinkat", path, e))?;
                    let target = Path::new(OsStr::from_bytes(text.as_bytes()));
                    if target.is_absolute() {
                        walk.clear();
                    }
                    todo.extend(components(target));
                }
                _ => return Err(on("mkdirat", path, Errno::NOTDIR)),
            }
        }
        let last = walk.last().unwrap_or(&self.fd);
        rustix::fs::openat(last, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| on("openat", path, e))
    }

    /// Makes the directory `path`; its parent must exist.
    pub fn mkdir(&self, path: &Path, mode: Mode) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(&parent, &name, mode).map_err(|e| on("mkdirat", path, e))
    }

    /// Creates the regular file `path` for writing; it must not exist, as a symlink neither.
    pub fn create_file(&self, path: &Path, mode: Mode) -> Result<OwnedFd> {
        let (parent, name) = self.parent(path)?;
        create_file_at(&parent, &name, mode)
    }

    /// Makes the symlink `path` whose text is `target`, unchecked: it is resolved in the root whenever it is followed.
    pub fn symlink(&self, target: &Path, path: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(target, &parent, &name).map_err(|e| on("symlinkat", path, e))
    }

    /// Links `original` (a final symlink is not followed) as `path`.
    pub fn hard_link(&self, original: &Path, path: &Path) -> Result<()> {
        let (from, from_name) = self.parent(original)?;
        let (to, to_name) = self.parent(path)?;
        rustix::fs::linkat(&from, &from_name, &to, &to_name, AtFlags::empty())
            .map_err(|e| on("linkat", path, e))
    }

    /// Makes a device, FIFO or socket node.
    pub fn mknod(&self, path: &Path, kind: FileType, mode: Mode, device: Dev) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mknodat(&parent, &name, kind, mode, device).map_err(|e| on("mknodat", path, e))
    }

    /// Removes the file, link or node `path`.
    pub fn unlink(&self, path: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).map_err(|e| on("unlinkat", path, e))
    }

    /// Removes `path` and all below it; what is missing is fine.
    pub fn remove_all(&self, path: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        crate::tree::remove_tree(&parent, &name)
    }
}

/// Creates the regular file `name`, exclusively, in the directory `dir`.
pub fn create_file_at(dir: impl AsFd, name: &OsStr, mode: Mode) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, mode).map_err(|e| Error::on("openat", name.to_string_lossy(), e))
}

/// fstat of any descriptor, `O_PATH` included.
pub fn stat_fd(fd: impl AsFd) -> Result<Stat> {
    rustix::fs::fstat(fd).map_err(|e| Error::new("fstat", e))
}

/// Sets the owner of what `fd` (`O_PATH` or open) stands for; a symlink's own owner for a symlink.
pub fn chown_fd(fd: impl AsFd, owner: Option<Uid>, group: Option<Gid>) -> Result<()> {
    rustix::fs::chownat(fd, "", owner, group, AtFlags::EMPTY_PATH).map_err(|e| Error::new("fchownat", e))
}

/// Sets the mode of what `fd` (`O_PATH` or open) stands for.
///
/// fchmod(2) refuses `O_PATH` descriptors and fchmodat2(2) exists since Linux 6.6 only, so it goes through
/// `/proc/self/fd`, which must be the host's procfs. `EOPNOTSUPP` for a symlink, which has no mode.
pub fn chmod_fd(fd: impl AsFd, mode: Mode) -> Result<()> {
    let fd = fd.as_fd();
    match rustix::fs::fchmod(fd, mode) {
        Err(Errno::BADF) => rustix::fs::chmod(magic(fd), mode).map_err(|e| Error::new("fchmodat", e)),
        other => other.map_err(|e| Error::new("fchmod", e)),
    }
}

/// Sets access and modification times of what `fd` (`O_PATH` or open) stands for (Linux 5.8 for `O_PATH`).
pub fn utimes_fd(fd: impl AsFd, times: &Timestamps) -> Result<()> {
    rustix::fs::utimensat(fd, "", times, AtFlags::EMPTY_PATH).map_err(|e| Error::new("utimensat", e))
}

/// Sets an extended attribute of what `fd` (`O_PATH` or open) stands for; through `/proc/self/fd` for `O_PATH`.
pub fn set_xattr_fd(fd: impl AsFd, name: &OsStr, value: &[u8]) -> Result<()> {
    let fd = fd.as_fd();
    match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
        Err(Errno::BADF) => rustix::fs::setxattr(magic(fd), name, value, XattrFlags::empty()),
        other => other,
    }
    .map_err(|e| Error::on("setxattr", name.to_string_lossy(), e))
}

fn magic(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// One step of `mkdir_p`: opens `name` in `dir` as it is, after making it a directory where it was missing.
fn enter(dir: &OwnedFd, name: &OsStr, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(dir, name, mode) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        Err(e) => Err(e),
    }
}

/// The components of `path` in reverse, without `/` and `.`.
fn components(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or_else(|| on("openat2", path, Errno::INVAL))?;
    Ok((path.parent().unwrap_or(Path::new(".")), name))
}

fn on(call: &'static str, path: &Path, errno: Errno) -> Error {
    Error::on(call, path.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree() -> (PathBuf, RootDir) {
        let base = std::env::temp_dir().join(format!(
            "sampan-test-rootdir-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("root")).unwrap();
        fs::write(base.join("decoy"), b"host").unwrap();
        let root = RootDir::open(&base.join("root")).unwrap();
        (base, root)
    }

    #[test]
    fn symlinks_and_dotdot_stay_inside() {
        let (base, root) = tree();
        root.symlink(Path::new("/decoy"), Path::new("abs")).unwrap();
        root.symlink(Path::new("../decoy"), Path::new("rel")).unwrap();
        for path in ["abs", "rel", "../decoy", "/../../decoy"] {
            let error = root.open_in_root(Path::new(path), OFlags::RDONLY, Mode::empty()).unwrap_err();
            assert_eq!(error.errno, Errno::NOENT, "{path}");
        }
        root.symlink(Path::new("/out/side"), Path::new("dangling")).unwrap();
        root.mkdir_p(Path::new("dangling/deep"), Mode::from(0o755)).unwrap();
        assert!(base.join("root/out/side/deep").is_dir());
        assert!(!Path::new("/out").exists());
        root.symlink(Path::new("loop"), Path::new("loop")).unwrap();
        assert_eq!(root.mkdir_p(Path::new("loop/x"), Mode::from(0o755)).unwrap_err().errno, Errno::LOOP);
        assert_eq!(root.create_file(Path::new("abs"), Mode::from(0o600)).unwrap_err().errno, Errno::EXIST);
        assert_eq!(root.create_file(Path::new("a/.."), Mode::from(0o600)).unwrap_err().errno, Errno::INVAL);
        assert_eq!(fs::read(base.join("decoy")).unwrap(), b"host");
        root.remove_all(Path::new("dangling")).unwrap();
        assert!(base.join("root/out/side").is_dir());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn attributes_go_through_path_descriptors() {
        let (base, root) = tree();
        root.mknod(Path::new("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let fd = root.open_path(Path::new("pipe")).unwrap();
        chmod_fd(&fd, Mode::from(0o4755)).unwrap();
        assert_eq!(root.stat(Path::new("pipe")).unwrap().st_mode & 0o7777, 0o4755);
        fs::remove_dir_all(&base).unwrap();
    }
}
