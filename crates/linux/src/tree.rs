//! Small files and whole trees under a directory descriptor of ours: bounded reads, atomic writes, removal.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Opens the directory `name` in `dir` for reading, final symlinks refused.
pub fn open_dir(dir: impl AsFd, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = name.as_ref();
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| on("openat", name, e))
}

/// Makes the directory `name` in `dir` where it is missing (mode 0700), and opens it.
pub fn ensure_dir(dir: impl AsFd, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let name = name.as_ref();
    match open_dir(&dir, name) {
        Err(e) if e.errno == Errno::NOENT => {}
        other => return other,
    }
    match rustix::fs::mkdirat(&dir, name, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => open_dir(dir, name),
        Err(e) => Err(on("mkdirat", name, e)),
    }
}

/// Reads the file `name` in `dir`, of at most `limit` bytes.
///
/// # Errors
/// `EFBIG` where the file is longer than `limit`; the kernel's errno otherwise.
pub fn read_small(dir: impl AsFd, name: impl AsRef<OsStr>, limit: usize) -> Result<Vec<u8>> {
    let name = name.as_ref();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| on("openat", name, e))?;
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 8192];
    loop {
        match rustix::io::read(&fd, &mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(n) if bytes.len() + n > limit => return Err(on("read", name, Errno::FBIG)),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(on("read", name, e)),
        }
    }
}

/// Writes all of `bytes`.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&fd, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new("write", e)),
        }
    }
    Ok(())
}

/// Replaces the file `name` in `dir` (mode 0600) atomically; `durable` adds fsync of file and directory.
pub fn write_atomic(dir: impl AsFd, name: impl AsRef<OsStr>, bytes: &[u8], durable: bool) -> Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    let temporary = temporary_name();
    let fd = crate::root_dir::create_file_at(dir, &temporary, Mode::from(0o600))?;
    let done = write_all(&fd, bytes)
        .and_then(|()| if durable { fsync(&fd) } else { Ok(()) })
        .and_then(|()| rustix::fs::renameat(dir, &temporary, dir, name).map_err(|e| on("renameat", name, e)));
    if done.is_err() {
        let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
    }
    done?;
    if durable { fsync(dir) } else { Ok(()) }
}

/// Replaces the symlink `name` in `dir` atomically; `durable` adds fsync of the directory.
pub fn symlink_atomic(dir: impl AsFd, name: impl AsRef<OsStr>, target: &str, durable: bool) -> Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    let temporary = temporary_name();
    rustix::fs::symlinkat(target, dir, &temporary).map_err(|e| on("symlinkat", name, e))?;
    if let Err(e) = rustix::fs::renameat(dir, &temporary, dir, name) {
        let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
        return Err(on("renameat", name, e));
    }
    if durable { fsync(dir) } else { Ok(()) }
}

/// How [`temporary_name`]s begin.
pub const TEMPORARY: &str = ".tmp-";

/// A name that starts with [`TEMPORARY`] and that no other call of this host gives.
pub fn temporary_name() -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let pid = rustix::process::getpid().as_raw_nonzero();
    format!("{TEMPORARY}{pid}-{}{:09}-{next}", now.tv_sec, now.tv_nsec).into()
}

/// Flushes a file or directory to stable storage.
pub fn fsync(fd: impl AsFd) -> Result<()> {
    rustix::fs::fsync(fd).map_err(|e| Error::new("fsync", e))
}

/// The names and types in the directory `dir`, without `.` and `..`, in no order.
pub fn entries(dir: impl AsFd) -> Result<Vec<(OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(|e| Error::new("getdents64", e))? {
        let entry = entry.map_err(|e| Error::new("getdents64", e))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Removes `name` in `dir` and all below it without following symlinks; what is missing is fine, also when somebody else
/// removes the same meanwhile.
/// The walk keeps its own stack, so that a tree of any depth is removed with one descriptor per level.
pub fn remove_tree(dir: impl AsFd, name: impl AsRef<OsStr>) -> Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(on("unlinkat", name, e)),
    }
    let Some((pending, top)) = open_to_empty(dir, name)? else { return Ok(()) };
    let mut stack = vec![(name.to_owned(), pending, top)];
    while let Some((_, pending, here)) = stack.last_mut() {
        let Some((child, kind)) = pending.pop() else {
            let (done, ..) = stack.pop().unwrap_or_else(|| unreachable!("the loop holds a last element"));
            let parent = stack.last().map_or(dir, |(_, _, fd)| fd.as_fd());
            match rustix::fs::unlinkat(parent, &done, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(e) => return Err(on("unlinkat", &done, e)),
            }
        };
        if kind != FileType::Directory {
            match rustix::fs::unlinkat(&*here, &child, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(e) => return Err(on("unlinkat", &child, e)),
            }
        }
        if let Some((pending, next)) = open_to_empty(here.as_fd(), &child)? {
            stack.push((child, pending, next));
        }
    }
    Ok(())
}

/// A directory's entries, and the directory.
type Level = (Vec<(OsString, FileType)>, OwnedFd);

/// Opens a directory whose entries are to be removed; none when it is gone. One that is removed after it was opened has no
/// entries to read (`ENOENT` of getdents64).
fn open_to_empty(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Level>> {
    let opened = open_dir(dir, name).and_then(|fd| Ok((entries(&fd)?, fd)));
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(e) if e.errno == Errno::NOENT => Ok(None),
        Err(e) => Err(e),
    }
}

fn on(call: &'static str, name: &OsStr, errno: Errno) -> Error {
    Error::on(call, name.to_string_lossy(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_remove_the_same_tree_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        // Nearly empty, so that the one often ends between two calls of the other.
        for round in 0..3000 {
            std::fs::create_dir_all(dir.path().join("top/deep")).unwrap();
            std::thread::scope(|scope| {
                let all = [(); 4].map(|()| scope.spawn(|| remove_tree(&root, "top")));
                all.into_iter().for_each(|one| one.join().unwrap().unwrap());
            });
            assert!(!dir.path().join("top").exists(), "{round}");
        }
    }
}
