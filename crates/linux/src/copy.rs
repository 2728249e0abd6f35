//! Copying what is in one directory into another, both by descriptor: what a tmpfs will hide (`tmpcopyup`), what an image
//! has where a new volume is mounted.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use crate::Result;
use crate::tree::{self, entries};

/// Directories deep; each level holds two descriptors.
const MAX_DEPTH: usize = 64;

/// Copies directories, regular files, symlinks and FIFOs with owner and mode, and the attributes of `from` itself; other
/// nodes have no place among data. `into` is empty; neither needs to be open for reading.
///
/// # Errors
/// The kernel's; `ENAMETOOLONG` for a tree of more than 64 levels. What was copied by then stays.
pub fn directory(from: impl AsFd, into: impl AsFd) -> Result<()> {
    let stat = rustix::fs::fstat(&from).map_err(|e| crate::Error::new("fstat", e))?;
    // A mount's descriptor and the walker's are O_PATH: good for finding things, not for reading or owning them.
    let again = |fd: &dyn AsFd| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(fd.as_fd(), ".", flags, Mode::empty()).map_err(|e| crate::Error::new("openat", e))
    };
    let into = again(&into)?;
    own(&into, &stat)?;
    let mut todo = vec![(again(&from)?, into, 0)];
    while let Some((from, into, depth)) = todo.pop() {
        for (name, kind) in entries(&from)? {
            let at = |call: &'static str, errno: Errno| crate::Error::on(call, name.to_string_lossy(), errno);
            let stat =
                rustix::fs::statat(&from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| at("fstatat", e))?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            match kind {
                FileType::Directory if depth >= MAX_DEPTH => return Err(at("openat", Errno::NAMETOOLONG)),
                FileType::Directory => {
                    rustix::fs::mkdirat(&into, &name, mode).map_err(|e| at("mkdirat", e))?;
                    let to = tree::open_dir(&into, &name)?;
                    own(&to, &stat)?;
                    todo.push((tree::open_dir(&from, &name)?, to, depth + 1));
                }
                FileType::RegularFile => copy_file(&from, &into, &name, &stat)?,
                FileType::Symlink => {
                    let text =
                        rustix::fs::readlinkat(&from, &name, Vec::new()).map_err(|e| at("readlinkat", e))?;
                    rustix::fs::symlinkat(&text, &into, &name).map_err(|e| at("symlinkat", e))?;
                    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    rustix::fs::chownat(&into, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|e| at("fchownat", e))?;
                }
                FileType::Fifo => rustix::fs::mknodat(&into, &name, FileType::Fifo, mode, 0)
                    .map_err(|e| at("mknodat", e))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn copy_file(from: &OwnedFd, into: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<()> {
    let at = |call: &'static str, errno: Errno| crate::Error::on(call, name.to_string_lossy(), errno);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty()).map_err(|e| at("openat", e))?;
    let target = crate::root_dir::create_file_at(into, name, Mode::from_raw_mode(0o600))?;
    let mut chunk = vec![0u8; 64 << 10];
    loop {
        match rustix::io::read(&source, &mut chunk) {
            Ok(0) => break,
            Ok(n) => tree::write_all(&target, &chunk[..n])?,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(at("read", errno)),
        }
    }
    own(&target, stat)
}

/// Owner first: a change of owner clears set-id bits.
fn own(fd: impl AsFd, stat: &Stat) -> Result<()> {
    rustix::fs::fchown(&fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .map_err(|e| crate::Error::new("fchown", e))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|e| crate::Error::new("fchmod", e))
}
