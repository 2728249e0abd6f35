//! Names and small operations of a container's two directories.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Held with `flock` by the living monitor.
pub(crate) const LOCK: &str = "lock";
/// Where clients connect.
pub(crate) const SOCKET: &str = "ctl.sock";
/// [`crate::Status`].
pub(crate) const STATUS: &str = "status.json";
/// `runtime::State`.
pub(crate) const STATE: &str = "state.json";
/// [`crate::Task`], in the data directory.
pub(crate) const TASK: &str = "task.json";
/// The OCI configuration, in the data directory.
pub(crate) const CONFIG: &str = "config.json";
/// [`crate::Exit`], in the data directory.
pub(crate) const EXIT: &str = "exit.json";
/// The three pipes of the container.
pub(crate) const PIPES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Most bytes of our own small documents.
const MAX_DOCUMENT: u64 = 256 * 1024;

/// A path to `name` in an open directory that fits where 108 bytes are the limit.
pub(crate) fn in_dir(dir: impl AsFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd())
}

/// Takes the container's lock, making its run directory; the file that holds it must stay open.
///
/// A monitor that ends removes the lock file while it holds it, so a lock counts only while its name still leads to it.
///
/// # Errors
/// [`Error::Locked`] when another process holds it; [`Error::File`].
pub(crate) fn lock(run: &Path, id: &str) -> Result<File> {
    let path = run.join(LOCK);
    let mut refused = 0;
    loop {
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run) {
            Ok(()) => {}
            // It was there, and was removed by its last holder before it could be seen to be a directory.
            Err(error)
                if error.kind() == std::io::ErrorKind::AlreadyExists && (run.is_dir() || !run.exists()) =>
            {
                continue;
            }
            Err(error) => return Err(Error::file("make", run)(error)),
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("open", path)(error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // `is_locked` holds it for a moment, too.
            Err(Errno::WOULDBLOCK) if refused < 5 => {
                refused += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
                continue;
            }
            Err(Errno::WOULDBLOCK) => return Err(Error::Locked { id: id.into() }),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(Error::file("lock", path)(errno.into())),
        }
        let held = file.metadata().map_err(Error::file("stat", &path))?;
        match std::fs::symlink_metadata(&path) {
            Ok(named) if named.ino() == held.ino() && named.dev() == held.dev() => return Ok(file),
            Ok(_) => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::file("stat", path)(error)),
        }
    }
}

/// Marks a container as being made, as long as any copy of this descriptor is open: the monitor may be killed while its
/// creator goes on.
pub(crate) fn mark_making(run: &Path) -> Result<OwnedFd> {
    let dir = File::open(run).map_err(Error::file("open", run))?;
    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared)
        .map_err(|errno| Error::file("lock", run)(errno.into()))?;
    Ok(dir.into())
}

/// Whether a creator is at work, whoever started it.
pub(crate) fn is_being_made(run: &Path) -> Result<bool> {
    let dir = match File::open(run) {
        Ok(dir) => dir,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::file("open", run)(error)),
    };
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(Error::file("lock", run)(errno.into())),
    }
}

/// Whether somebody holds the lock now.
pub(crate) fn is_locked(run: &Path) -> Result<bool> {
    let path = run.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(Error::file("lock", path)(errno.into())),
    }
}

/// Reads one of our own JSON documents.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::file("open", path))?;
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::TooLarge { path: path.into(), limit: MAX_DOCUMENT });
    }
    serde_json::from_slice(&bytes).map_err(|source| Error::Document { path: path.into(), source })
}

/// What a document is called until it is whole.
fn staged(name: &str) -> String {
    format!(".{name}")
}

/// Puts a JSON document in place by rename; `durable` waits for the disk.
pub(crate) fn write_json<T: Serialize>(dir: &Path, name: &str, document: &T, durable: bool) -> Result<()> {
    let path = dir.join(name);
    let bytes =
        serde_json::to_vec(document).map_err(|source| Error::Document { path: path.clone(), source })?;
    let new: PathBuf = dir.join(staged(name));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(Error::file("create", &new))?;
    let written = file
        .write_all(&bytes)
        .and_then(|()| if durable { file.sync_data() } else { Ok(()) })
        .map_err(Error::file("write", &new))
        .and_then(|()| {
            let placed = if durable { rustix::fs::rename(&new, &path) } else { exchange(&new, &path) };
            placed.map_err(|errno| Error::file("rename to", &path)(errno.into()))
        });
    if written.is_err() {
        remove_all(dir, &[&staged(name)]);
    }
    written?;
    if !durable {
        return Ok(());
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::file("sync", dir))
}

/// Puts a file in the place of another, without a moment in which there is none. A rename over the old one would make
/// ext4 write the new one to the disk first (`auto_da_alloc`), which nobody asked for.
fn exchange(new: &Path, path: &Path) -> std::result::Result<(), Errno> {
    use rustix::fs::{CWD, RenameFlags, renameat_with, unlink};
    match renameat_with(CWD, new, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        // A filesystem that knows only the plain rename.
        Err(Errno::INVAL) => return rustix::fs::rename(new, path),
        other => return other,
    }
    renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE)?;
    unlink(new)
}

/// Writes a JSON document over the one that is there, in the room that it has already: on a full disk a document that a
/// crash may tear is better than one that is not true.
pub(crate) fn overwrite_json<T: Serialize>(dir: &Path, name: &str, document: &T) -> Result<()> {
    let path = dir.join(name);
    let bytes =
        serde_json::to_vec(document).map_err(|source| Error::Document { path: path.clone(), source })?;
    let mut file = File::options().write(true).open(&path).map_err(Error::file("open", &path))?;
    file.write_all(&bytes)
        .and_then(|()| file.set_len(bytes.len() as u64))
        .map_err(Error::file("write", &path))
}

/// Removes files of a directory; those that are not there are no error.
pub(crate) fn remove_all(dir: &Path, names: &[&str]) {
    for name in names {
        // What cannot be removed is found again by name by the next start or cleanup.
        let _ = std::fs::remove_file(dir.join(name));
    }
}

/// Removes the run directory and what is in it, the lock last. The caller holds the lock.
pub(crate) fn clear(run: &Path) {
    remove_all(run, &PIPES);
    remove_all(run, &[SOCKET, STATUS, STATE]);
    // Whoever was killed before the rename.
    remove_all(run, &[STATUS, STATE].map(staged).each_ref().map(String::as_str));
    remove_all(run, &[LOCK]);
    let _ = std::fs::remove_dir(run);
}
