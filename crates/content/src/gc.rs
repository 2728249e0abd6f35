//! Mark from roots given by the caller and the leases, sweep by age.

use std::collections::HashSet;
use std::time::Duration;

use linux::tree;
use rustix::fs::AtFlags;

use crate::refs::digests_in;
use crate::{Digest, Guard, Result, Store};

/// What a sweep removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The blobs, and
    pub blobs: Vec<Digest>,
    /// the bytes they had.
    pub bytes: u64,
}

impl Store {
    /// Removes one blob, of which the caller knows that nothing refers to it. The guard must be the exclusive one.
    pub fn remove(&self, _exclusive: &Guard, digest: Digest) -> Result<()> {
        Ok(tree::remove_tree(&self.blobs, digest.hex())?)
    }

    /// Removes the blobs that are neither in `live`, nor leased, nor younger than `grace`; also what killed writers
    /// left in `ingest/` for longer than an hour. The guard must be the exclusive one.
    ///
    /// The caller gives all of `live`: only it knows what the documents refer to.
    pub fn sweep(&self, _exclusive: &Guard, live: &HashSet<Digest>, grace: Duration) -> Result<Swept> {
        let mut live = live.clone();
        let leases = tree::ensure_dir(&self.root, "leases")?;
        for (lease, _) in tree::entries(&leases)? {
            live.extend(digests_in(tree::open_dir(&leases, lease)?)?);
        }
        let mut swept = Swept::default();
        for digest in digests_in(&self.blobs)?.into_iter().filter(|d| !live.contains(d)) {
            let name = digest.hex();
            let stat = rustix::fs::statat(&self.blobs, &name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| linux::Error::on("statat", &name, e))?;
            if older(stat.st_mtime, grace) {
                tree::remove_tree(&self.blobs, &name)?;
                swept.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                swept.blobs.push(digest);
            }
        }
        let ingest = tree::ensure_dir(&self.root, "ingest")?;
        for (name, _) in tree::entries(&ingest)? {
            if let Ok(stat) = rustix::fs::statat(&ingest, &name, AtFlags::SYMLINK_NOFOLLOW)
                && older(stat.st_mtime, Duration::from_secs(3600))
            {
                tree::remove_tree(&ingest, &name)?;
            }
        }
        Ok(swept)
    }
}

fn older(mtime: i64, age: Duration) -> bool {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    now.saturating_sub(mtime) >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}
