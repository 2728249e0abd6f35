//! `content/host/<key>`: which image was made of which files, as they were then.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use content::Digest;
use linux::tree;
use rustix::fs::{AtFlags, CWD, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::HostImage;
use crate::Result;

/// Bytes of a record; one line per file.
const MAX_RECORD: usize = 64 << 20;

/// What was asked for.
pub(super) struct Key {
    name: String,
    programs: Vec<(String, Option<PathBuf>)>,
}

/// A file as it was: path, device, inode, size, mtime and ctime with nanoseconds. ctime cannot be set back, so a change
/// that keeps size and mtime shows too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known(PathBuf, u64, u64, i64, [i64; 4]);

#[derive(Serialize, Deserialize)]
struct Record {
    image: Digest,
    programs: Vec<(String, Option<PathBuf>)>,
    files: Vec<Known>,
}

impl Key {
    pub(super) fn of(host: &HostImage) -> Self {
        let programs: Vec<_> = host.programs.iter().map(|p| (p.clone(), super::search::program(p))).collect();
        let asked = format!("2\0{:?}\0{:?}\0{:?}", host.programs, host.extra, host.users);
        Self { name: Digest::of(asked.as_bytes()).hex(), programs }
    }
}

impl Known {
    pub(super) fn new(path: &Path, stat: &Stat) -> Self {
        let nanos = |n| i64::try_from(n).unwrap_or(0);
        let times = [stat.st_mtime, nanos(stat.st_mtime_nsec), stat.st_ctime, nanos(stat.st_ctime_nsec)];
        Self(path.to_owned(), stat.st_dev, stat.st_ino, stat.st_size, times)
    }

    fn unchanged(&self) -> bool {
        rustix::fs::statat(CWD, &self.0, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| *self == Self::new(&self.0, &stat))
    }
}

/// The image made for `key`, where all its files are as they were.
pub(super) fn find(dir: &OwnedFd, key: &Key) -> Result<Option<Digest>> {
    let bytes = match tree::read_small(dir, &key.name, MAX_RECORD) {
        Err(e) if e.errno == Errno::NOENT => return Ok(None),
        other => other?,
    };
    // A record is a cache: one that cannot be read is as good as none.
    let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(None) };
    let fresh = record.programs == key.programs && record.files.iter().all(Known::unchanged);
    Ok(fresh.then_some(record.image))
}

pub(super) fn store(dir: &OwnedFd, key: &Key, image: Digest, files: Vec<Known>) -> Result<()> {
    let record = Record { image, programs: key.programs.clone(), files };
    let bytes = serde_json::to_vec(&record)
        .map_err(|e| crate::Error::Document { what: "record", why: e.to_string() })?;
    Ok(tree::write_atomic(dir, &key.name, &bytes, false)?)
}
