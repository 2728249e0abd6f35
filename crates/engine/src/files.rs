//! Our own small documents in a directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::make_dir;
use crate::{Error, Result};

/// Most bytes of one of our documents.
const MAX_DOCUMENT: usize = 16 << 20;

/// Reads a JSON document; none where it, or its directory, is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match linux::tree::read_small(CWD, path, MAX_DOCUMENT) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if bytes.is_empty() {
        return Err(Error::Damaged { path: path.into(), why: "it is empty".into() });
    }
    let damaged = |error: serde_json::Error| Error::Damaged { path: path.into(), why: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Writes a new JSON document into a directory that nobody else sees yet.
pub(crate) fn write_new<T: Serialize>(dir: &Path, name: &str, document: &T) -> Result<()> {
    let bytes = serde_json::to_vec(document)
        .map_err(|error| Error::Damaged { path: dir.join(name), why: error.to_string() })?;
    write_new_bytes(dir, name, &bytes, 0o600)
}

/// [`write_new`] for any content and permissions.
pub(crate) fn write_new_bytes(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = dir.join(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(mode))
        .map_err(|errno| Error::file("create", &path)(errno.into()))?;
    linux::tree::write_all(&file, bytes).map_err(|error| Error::file("write", &path)(error.errno.into()))
}

/// Replaces a JSON document, durably.
pub(crate) fn replace<T: Serialize>(dir: &Path, name: &str, document: &T) -> Result<()> {
    let path = dir.join(name);
    let bytes = serde_json::to_vec(document)
        .map_err(|error| Error::Damaged { path: path.clone(), why: error.to_string() })?;
    linux::tree::write_atomic(open_dir(dir)?, name, &bytes, true)
        .map_err(|error| Error::file("write", &path)(error.errno.into()))
}

/// Makes a private directory, and holds its lock as long as the descriptor is open: what is not locked is a killed
/// maker's, and is swept.
pub(crate) fn make_locked_dir(path: &Path) -> Result<OwnedFd> {
    loop {
        make_dir(path)?;
        // Until it is locked a sweep can take it, too.
        let dir = match open_dir(path) {
            Ok(dir) => dir,
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockExclusive))
            .map_err(|errno| Error::file("lock", path)(errno.into()))?;
        if path.exists() {
            return Ok(dir);
        }
    }
}

/// Whether the maker or remover of the directory `name` in `dir` is gone. Under the lock that is returned it can be
/// removed.
pub(crate) fn abandoned(dir: impl AsFd, name: &OsStr) -> Option<OwnedFd> {
    let held = linux::tree::open_dir(&dir, name).ok()?;
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).ok()?;
    // Only under the name that was looked at: the maker renames it while it holds the lock.
    let named = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let own = rustix::fs::fstat(&held).ok()?;
    (own.st_ino == named.st_ino).then_some(held)
}

/// A directory of ours.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::file("open", path)(errno.into()))
}
