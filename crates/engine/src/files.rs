//! Our own small documents in a directory.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// A directory of ours.
pub(crate) fn open_dir(path: &Path) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::file("open", path)(errno.into()))
}
